# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import toolchain

DOCUMENTATION = r"""
name: cuda_packages
short_description: Return the packages of a CUDA toolkit that a build needs
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Returns only the packages that a build of the engine needs instead of the whole toolkit.
  - Fails if the toolkit does not support the GPUs or the compiler, or if NVIDIA's repository for the distribution does
    not contain it.
positional: platform, capabilities, gcc_version, official
options:
  _input:
    description: Major and minor version of the toolkit.
    type: str
    required: true
  platform:
    description: NVIDIA's name of the distribution, for example V(rhel8).
    type: str
    required: true
  capabilities:
    description: Compute capability of every GPU, for example V(7.0).
    type: list
    elements: str
    required: true
  gcc_version:
    description: Major version of gcc.
    type: int
    required: true
  official:
    description: Whether the packages come from NVIDIA's repository, whose contents are known.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show the packages for V100 cards on EL8
  ansible.builtin.debug:
    msg: "{{ '12.2' | herd.inference.cuda_packages('rhel8', ['7.0'], 12) }}"
"""

RETURN = r"""
_value:
  description: Names of packages.
  type: list
  elements: str
"""


def cuda_packages(
    version: str, platform: str, capabilities: Iterable[str], gcc_version: int, official: bool = True
) -> list[str]:
    """Return the packages of a toolkit that a build needs."""
    return toolchain.cuda_packages(str(version), platform, capabilities, int(gcc_version), official)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"cuda_packages": cuda_packages}
