# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that describe the GPUs of a host."""

from __future__ import annotations


class ModuleDocFragment:
    """GPUs of the host on which the module runs."""

    DOCUMENTATION = r"""
options:
  gpus:
    description: GPUs of this host that the engine uses, as in C(herd_gpus). Without any, the engine runs on the CPU.
    type: list
    elements: dict
    default: []
"""
