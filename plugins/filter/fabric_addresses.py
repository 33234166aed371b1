# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fabric_addresses
short_description: Look up the fabric addresses of hosts
version_added: 0.1.0
description:
  - Returns C(herd_fabric_address) of each host. It fails for a host without one, unless a default is given.
author: herd.inference contributors (@herd-inference)
positional: _input, hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts by host name, C(hostvars).
    type: dict
    required: true
  default:
    description: The address of a host without C(herd_fabric_address).
    type: str
"""

EXAMPLES = r"""
- name: Show the addresses of the workers
  ansible.builtin.debug:
    msg: "{{ groups['rpc_worker'] | herd.inference.fabric_addresses(hostvars) }}"
"""

RETURN = r"""
_value:
  description: The addresses by host name.
  type: dict
  sample: {vllm-node2: 10.100.0.32, vllm-node3: 10.100.0.33}
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError


def fabric_addresses(
    hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]], default: str | None = None
) -> dict[str, str]:
    addresses = {host: hostvars[host].get("herd_fabric_address", default) for host in hosts}
    missing = [host for host, address in addresses.items() if address is None]
    if missing:
        raise NotFoundError(
            f"herd_fabric_address of {', '.join(missing)}", "none", "add the host's fabric address to its host_vars"
        )
    return {host: str(address) for host, address in addresses.items()}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"fabric_addresses": fabric_addresses}
