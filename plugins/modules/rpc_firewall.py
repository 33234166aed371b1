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
  - If firewalld runs, it must open the port too, as M(herd.inference.firewalld_port) does.
  - Where systemd cannot limit the addresses of a unit, because the host has cgroup v1, the table also lets O(user) open
    connections to O(allowed) only.
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
    description: Interface of the fabric. Packets from other interfaces are rejected, whatever their source address.
    type: str
    default: ''
  user:
    description: User of the worker, if nothing else on this host opens connections as this user.
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
    user: llama
    unit: "{{ lookup('ansible.builtin.template', 'herd-rpc-firewall.service.j2') }}"
"""

RETURN = r"""
loaded:
  description: Whether the kernel had these rules before.
  returned: always
  type: bool
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.host import rpc_firewall
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import firewall


def limited_user(user: str, check_mode: bool) -> int | None:
    """Return the number of the user whose connections the table limits; None if systemd limits them, or for no user."""
    if not user or firewall.limits_units():
        return None
    found = files.user_id(user)
    if found is None and not check_mode:
        raise NotFoundError(f"the user {user}", "none on this host", "run the role node first")
    # In check mode on a bare host the user may not exist; no user has this number.
    return 2**32 - 2 if found is None else found


def result(module: HerdModule) -> dict[str, Any]:
    """Load the table if it differs, and return the module's result."""
    given = module.params
    limited = limited_user(given["user"], module.check_mode)
    inside = rpc_firewall.worker_rules(given["address"], given["port"], given["allowed"], given["interface"], limited)
    end = rpc_firewall.WORKER
    ruleset = rpc_firewall.ruleset(end, inside)
    table = firewall.NftTable(end.table, rpc_firewall.marker(inside), end.unit, given["path"], ruleset, given["unit"])
    return firewall.install_table(table, module.check_mode)


def main() -> None:
    run_module(
        result,
        address={"type": "str", "required": True},
        port={"type": "int", "required": True},
        allowed={"type": "list", "elements": "str", "required": True},
        interface={"type": "str", "default": ""},
        user={"type": "str", "default": ""},
        path={"type": "path", "default": "/etc/herd/rpc-firewall.nft"},
        unit={"type": "str", "required": True},
    )


if __name__ == "__main__":
    main()
