# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the GPUs of this host from nvidia-smi."""

from __future__ import annotations

from ...core.host import nvidia_smi
from . import command


def read(program: str = "nvidia-smi", timeout_s: float = command.TIMEOUT_S) -> nvidia_smi.GpuReport:
    """Read the GPUs once.

    :raises HerdError: if there is no usable GPU, with the cause.
    """
    return nvidia_smi.read(*command.run([program, *nvidia_smi.QUERY], timeout_s))


def read_with_capabilities(program: str = "nvidia-smi", timeout_s: float = command.TIMEOUT_S) -> nvidia_smi.GpuReport:
    """Read the GPUs and their compute capabilities, which are in another query.

    :raises HerdError: if there is no usable GPU, with the cause.
    """
    report = read(program, timeout_s)
    _status, output = command.run([program, *nvidia_smi.CAPABILITY_QUERY], timeout_s)
    return nvidia_smi.with_capabilities(report, output)
