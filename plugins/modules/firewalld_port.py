#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewalld_port
short_description: Open a TCP port in firewalld, if it runs
version_added: 0.1.0
description:
  - Keeps one rich rule for each source, permanently and at runtime. Former rules of the same form for the same port are
    removed; all other rules of the zone stay.
  - Does nothing on a host without firewalld. It uses C(firewall-cmd), because on EL8 the Python bindings belong to
    another Python.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  port:
    description: TCP port.
    type: int
    required: true
  sources:
    description: IPv4 addresses or networks of the clients. If empty, all clients.
    type: list
    elements: str
    default: []
  address:
    description: Address of this host that clients connect to. Its interface determines the zone.
    type: str
    required: true
  zone:
    description: Zone of firewalld. If empty, the zone of the interface with O(address).
    type: str
    default: ''
  seconds:
    description: Time in seconds after which firewalld removes the rules again. V(0) keeps them permanently.
    type: int
    default: 0
  state:
    description: Whether the rules exist.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let the office reach the API
  herd.inference.firewalld_port:
    address: 10.0.0.31
    port: 8000
    sources: [10.0.0.0/24]
"""

RETURN = r"""
firewalld:
  description: Whether firewalld runs on this host.
  returned: always
  type: bool
zone:
  description: Zone of the rules, empty if firewalld does not run.
  returned: always
  type: str
  sample: public
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import firewalld as firewalld_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, file_diff, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall, processes


def shown(todo: dict[bool, firewalld_rules.RuleChange], zone: str) -> list[dict[str, str]]:
    """Return the module's diff."""
    return [
        file_diff(
            f"zone {zone}, {'permanent' if permanent else 'in force'}",
            "".join(f"{rule}\n" for rule in change.remove),
            "".join(f"{rule}\n" for rule in change.add),
        )
        for permanent, change in todo.items()
        if change.add or change.remove
    ]


def result(module: HerdModule) -> dict[str, Any]:
    """Change the rules that differ, and return the module's result."""
    given = module.params
    todo: dict[bool, firewalld_rules.RuleChange] = {}
    zone = ""
    rules = firewalld_rules.rules(given["port"], given["sources"])
    has_firewalld = firewall.firewalld_runs()
    if has_firewalld:
        zone = given["zone"] or firewall.firewalld_zone(processes.interface_of(given["address"]))
        for permanent, listed in firewall.firewalld_rules(zone).items():
            is_kept = given["state"] == "present" and not (permanent and given["seconds"])
            todo[permanent] = firewalld_rules.change(rules if is_kept else [], listed, given["port"])
    if not module.check_mode:
        for permanent, change in todo.items():
            firewall.firewalld_change(zone, permanent, change.remove, change.add, given["seconds"])
    diff = shown(todo, zone)
    return {"changed": bool(diff), "firewalld": has_firewalld, "zone": zone, "diff": diff}


def main() -> None:
    run_module(
        result,
        port={"type": "int", "required": True},
        sources={"type": "list", "elements": "str", "default": []},
        address={"type": "str", "required": True},
        zone={"type": "str", "default": ""},
        seconds={"type": "int", "default": 0},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    )


if __name__ == "__main__":
    main()
