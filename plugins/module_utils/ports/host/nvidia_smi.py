# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run nvidia-smi, and read the NUMA node of a GPU from the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import commands

PCI_DEVICES = Path("/sys/bus/pci/devices")


def run(arguments: Sequence[str], timeout: float, program: str = "nvidia-smi") -> tuple[int, str]:
    """Return the exit status and both outputs of nvidia-smi, which prints errors to either."""
    answer = commands.run([program, *arguments], timeout=timeout)
    return answer.rc, answer.out + answer.err


def numa_node(name: str, devices: Path = PCI_DEVICES) -> str:
    """Return what the kernel writes as the NUMA node of a device; empty if there is no such device."""
    try:
        return (devices / name / "numa_node").read_text(encoding="ascii")
    except OSError:
        return ""
