# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fabric_problems
short_description: Return the problems of a host's fabric address, interface and MTU
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Compares a host's gathered facts with the inventory's fabric address, interface and MTU.
positional: _input
options:
  _input:
    description: The host's facts with the network subset, usually C(ansible_facts).
    type: dict
    required: true
  address:
    description: Required IPv4 address of the host on the fabric.
    type: str
    required: true
  interface:
    description: Interface that must have the address, such as V(ib0).
    type: str
    required: true
  mtu:
    description: Required MTU of the interface in bytes.
    type: int
"""

EXAMPLES = r"""
- name: Stop if the fabric differs from the inventory
  ansible.builtin.assert:
    that: >-
      ansible_facts | herd.inference.fabric_problems(address='10.100.0.31', interface='ib0', mtu=2044)
      | length == 0
"""

RETURN = r"""
_value:
  description: The problems, one sentence each.
  type: list
  elements: str
  sample:
    - "expected an MTU of 2044 bytes on ib0 (herd_fabric_mtu), found 1500: set the interface's MTU, or the
      fact if the network has changed."
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.operations import inventory_checks


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"fabric_problems": inventory_checks.host_problems}
