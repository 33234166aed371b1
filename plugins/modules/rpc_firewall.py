#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_firewall
short_description: Close an RPC worker's port to all hosts but the head
version_added: 0.1.0
description:
  - Loads the nftables table C(inet herd_rpc), and writes a unit that loads it at boot before the worker. A rejected
    client gets a TCP reset. Other tables are neither read nor changed.
  - If firewalld runs, it also opens the port for the head in the zone of the fabric's interface, permanently and at
    runtime, and removes rules for former heads.
  - Compares with the kernel's rules, so a flushed table is loaded again.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  address:
    description: Fabric address that the worker listens on.
    type: str
    required: true
  port:
    description: Port of the worker.
    type: int
    required: true
  allowed:
    description: Addresses of the allowed clients.
    type: list
    elements: str
    required: true
  interface:
    description:
      - Interface of the fabric. Packets from other interfaces are rejected, whatever their source address.
      - It also determines firewalld's zone.
    type: str
    default: ''
  zone:
    description: Zone of firewalld. If empty, the zone of O(interface).
    type: str
    default: ''
  unit:
    description: Text of the unit that loads the ruleset from O(path) at boot.
    type: str
    required: true
  path:
    description: Path of the ruleset.
    type: path
    default: /etc/herd/rpc-firewall.nft
"""

EXAMPLES = r"""
- name: Let only the head reach this worker
  herd.inference.rpc_firewall:
    address: 10.100.0.32
    port: 50052
    allowed: [10.100.0.31]
    interface: ib0
    unit: "{{ lookup('ansible.builtin.template', 'herd-rpc-firewall.service.j2') }}"
"""

RETURN = r"""
loaded:
  description: Whether the kernel had these rules before.
  returned: always
  type: bool
firewalld:
  description: Whether firewalld runs on this host.
  returned: always
  type: bool
zone:
  description: firewalld's zone in which the head is let through, empty where firewalld does not run.
  returned: always
  type: str
  sample: public
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import firewalld as firewalld_rules
from ansible_collections.herd.inference.plugins.module_utils.core.host import rpc_firewall
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall


def result(module: HerdModule) -> dict[str, Any]:
    """Load the table and change firewalld's rules if they differ, and return the module's result."""
    given = module.params
    inside = rpc_firewall.worker_rules(given["address"], given["port"], given["allowed"], given["interface"])
    end = rpc_firewall.WORKER
    ruleset = rpc_firewall.ruleset(end, inside)
    table = firewall.NftTable(end.table, rpc_firewall.marker(inside), end.unit, given["path"], ruleset, given["unit"])
    found = firewall.read_state(table)
    has_firewalld = firewall.firewalld_runs()
    zone = (given["zone"] or firewall.firewalld_zone(given["interface"])) if has_firewalld else ""
    rules = firewalld_rules.rules(given["port"], given["allowed"])
    listed = firewall.firewalld_rules(zone) if has_firewalld else {}
    todo = {mode: firewalld_rules.change(rules, lines, given["port"]) for mode, lines in listed.items()}
    is_through = not any(change.add or change.remove for change in todo.values())
    if not module.check_mode:
        firewall.apply(table, found)
        for permanent, change in todo.items():
            firewall.firewalld_change(zone, permanent, change.remove, change.add)
    diff = firewall.difference(table, found)
    if not is_through:
        said = "firewalld accepts the head only"
        diff.append({"before": f"{said}: no\n", "after": f"{said}: yes\n"})
    return {
        "changed": not (found.is_right and is_through),
        "loaded": found.is_loaded,
        "firewalld": has_firewalld,
        "zone": zone,
        "diff": diff,
    }


def main() -> None:
    run_module(
        result,
        address={"type": "str", "required": True},
        port={"type": "int", "required": True},
        allowed={"type": "list", "elements": "str", "required": True},
        interface={"type": "str", "default": ""},
        zone={"type": "str", "default": ""},
        path={"type": "path", "default": "/etc/herd/rpc-firewall.nft"},
        unit={"type": "str", "required": True},
    )


if __name__ == "__main__":
    main()
