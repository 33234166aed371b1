# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: site_problems
short_description: Return the problems of an inventory
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Compares the groups and the facts of all hosts with the requirements of the roles.
  - Each problem is a sentence with the expected value, the value found, and the next step.
positional: _input
options:
  _input:
    description: The variables of all hosts by host name, usually C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's groups, usually C(groups).
    type: dict
    required: true
  ansible_version:
    description: Version of ansible-core on the controller, usually C(ansible_version.full).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop if the inventory has a problem
  ansible.builtin.assert:
    that: >-
      hostvars | herd.inference.site_problems(groups=groups, ansible_version=ansible_version.full)
      | length == 0
"""

RETURN = r"""
_value:
  description: The problems, in the order in which to fix them.
  type: list
  elements: str
  sample:
    - "group head_server: expected exactly one host (the machine that serves the API; a model has one head),
      found 2 (vllm-node1, vllm-node2): leave one host in the group head_server of the inventory."
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import service_tiers
from ansible_collections.herd.inference.plugins.module_utils.core.operations.inventory_checks import (
    SHARED_FACTS,
    Inventory,
    problems,
)

#: Variables to read. Other variables may contain templates that cannot be resolved here.
READ = (*SHARED_FACTS, "herd_fabric_address", "herd_fabric_interface", "ansible_facts", *service_tiers.FACTS)


def site_problems(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], ansible_version: str
) -> list[str]:
    hosts = {name: {key: hostvars[name][key] for key in READ if key in hostvars[name]} for name in hostvars}
    return problems(Inventory(groups=groups, hosts=hosts), ansible_version)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"site_problems": site_problems}
