# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter C(bootstrap_plan): what a machine needs before Ansible's modules can run on it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bootstrap_plan
short_description: Says what a host needs before modules can run on it
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Reads what the probe of role C(node) printed with nothing but a shell, and finds the Python that is
    missing, the ansible-core that cannot manage such a host, or the disk that is too small for a release.
positional: _input
options:
  _input:
    description: What the probe printed.
    type: str
    required: true
  host:
    description: Name of the host, for the message.
    type: str
    required: true
  ansible_version:
    description: Version of ansible-core on the controller.
    type: str
    required: true
  package:
    description: The package that brings a current Python to EL8.
    type: str
    required: true
  release_mib:
    description: MiB that must be free where no release is installed yet.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Show what the host needs
  ansible.builtin.debug:
    msg: "{{ probe.stdout | herd.inference.bootstrap_plan(
      host=inventory_hostname, ansible_version=ansible_version.full, package='python3.12') }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem) is why the host cannot be a node, or empty.
    - C(command) is the shell command that brings Python, or empty.
  type: dict
  sample: {problem: "", command: "dnf -y install python3.12"}
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host.bootstrap import plan


def bootstrap_plan(probe: str, host: str, ansible_version: str, package: str, release_mib: int = 0) -> dict[str, str]:
    return asdict(plan(host, probe, ansible_version, package, int(release_mib)))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"bootstrap_plan": bootstrap_plan}
