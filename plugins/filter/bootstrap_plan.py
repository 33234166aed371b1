# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: bootstrap_plan
short_description: Plan the bootstrap of a host
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Reads the output of the shell probe of the role C(node). Finds a missing Python, an ansible-core that does not
    support the host, a disk that is too small for a release, and a kernel without user namespaces.
positional: _input
options:
  _input:
    description: Output of the probe.
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
    description: Package of a supported Python on EL8.
    type: str
    required: true
  release_mib:
    description: Free MiB that a host without a release needs.
    type: int
    default: 0
  private_users:
    description: Units of the host that have C(PrivateUsers=yes).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the plan of a host
  ansible.builtin.debug:
    msg: "{{ probe.stdout | herd.inference.bootstrap_plan(
      host=inventory_hostname, ansible_version=ansible_version.full, package='python3.12') }}"
"""

RETURN = r"""
_value:
  description:
    - C(problem) is the sentence about a problem, or empty.
    - C(command) is the shell command that installs Python, or empty.
    - C(interpreter) is the Python that modules must run with, or empty if Ansible may choose one.
  type: dict
  sample: {problem: "", command: "dnf -y install python3.12", interpreter: "/usr/bin/python3.12"}
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host.bootstrap import plan


def bootstrap_plan(
    probe: str,
    host: str,
    ansible_version: str,
    package: str,
    release_mib: int = 0,
    private_users: Sequence[str] = (),
) -> dict[str, str]:
    return asdict(plan(host, probe, ansible_version, package, int(release_mib), private_users))


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"bootstrap_plan": bootstrap_plan}
