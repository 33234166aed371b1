#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_client_firewall
short_description: Let only the head's own user reach the RPC workers from this host
version_added: 0.1.0
description:
  - A worker identifies its head by the address, so it cannot distinguish the head from other programs on the same host.
    The protocol has no authentication, and a worker serves one client at a time.
  - Loads the nftables table C(inet herd_rpc_client), which rejects connections to a worker from every other user of
    this host, including root. Writes a unit that loads it at boot. Other tables are neither read nor changed.
  - Compares with the kernel's rules, so a flushed table is loaded again.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
attributes:
  check_mode:
    details: A user who does not exist yet counts as a change.
options:
  workers:
    description: Fabric addresses of the workers.
    type: list
    elements: str
    required: true
  port:
    description: TCP port of the workers.
    type: int
    required: true
  user:
    description: User of the head.
    type: str
    required: true
  unit:
    description: Text of the unit that loads the ruleset from O(path) at boot.
    type: str
    required: true
  path:
    description: Path of the ruleset.
    type: path
    default: /etc/herd/rpc-client.nft
"""

EXAMPLES = r"""
- name: Let only the head's user reach the workers
  herd.inference.rpc_client_firewall:
    workers: [10.100.0.32, 10.100.0.33]
    port: 50052
    user: llama
    unit: "{{ lookup('ansible.builtin.template', 'herd-rpc-client.service.j2') }}"
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


def result(module: HerdModule) -> dict[str, Any]:
    """Load the table if it differs, and return the module's result."""
    given = module.params
    user_id = files.user_id(given["user"])
    if user_id is None and not module.check_mode:
        raise NotFoundError(f"the user {given['user']}", "none on this host", "run the role node first")
    # In check mode on a bare host the user may not exist; no user has this number.
    inside = rpc_firewall.head_rules(given["workers"], given["port"], 2**32 - 2 if user_id is None else user_id)
    end = rpc_firewall.HEAD
    ruleset = rpc_firewall.ruleset(end, inside)
    table = firewall.NftTable(end.table, rpc_firewall.marker(inside), end.unit, given["path"], ruleset, given["unit"])
    return firewall.install_table(table, module.check_mode)


def main() -> None:
    run_module(
        result,
        workers={"type": "list", "elements": "str", "required": True},
        port={"type": "int", "required": True},
        user={"type": "str", "required": True},
        path={"type": "path", "default": "/etc/herd/rpc-client.nft"},
        unit={"type": "str", "required": True},
    )


if __name__ == "__main__":
    main()
