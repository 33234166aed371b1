#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Close a worker's port to all but its head."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rpc_firewall
short_description: Close an RPC worker's port to everybody but the head
version_added: 0.1.0
description:
  - Loads an nftables table of its own, C(inet herd_rpc), and a unit that loads it at boot before the worker.
    Nobody else's rules are read or changed. A refused client gets a TCP reset.
  - Where firewalld runs, the head is also let through it, in the zone of the fabric's interface, now and for
    good; rules for former heads are removed.
  - What the kernel really has loaded is looked at, so a table that somebody flushed comes back.
author: herd.inference contributors (@herd-inference)
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
    description: Addresses that may connect.
    type: list
    elements: str
    required: true
  interface:
    description: Interface of the fabric, for firewalld's zone.
    type: str
    default: ''
  zone:
    description: firewalld's zone; the one of O(interface) if empty.
    type: str
    default: ''
  path:
    description: Where the ruleset is kept.
    type: path
    default: /etc/herd/rpc-firewall.nft
attributes:
  check_mode:
    description: Compares files and the kernel's rules.
    support: full
  diff_mode:
    description: Shows the ruleset and the unit.
    support: full
"""

EXAMPLES = r"""
- name: Let only the head reach this worker
  herd.inference.rpc_firewall:
    address: 10.100.0.32
    port: 50052
    allowed: [10.100.0.31]
    interface: ib0
"""

RETURN = r"""
loaded:
  description: Whether the kernel had these rules before.
  returned: always
  type: bool
  sample: true
firewalld:
  description: Whether firewalld runs on this host.
  returned: always
  type: bool
  sample: false
zone:
  description: firewalld's zone in which the head is let through, empty where firewalld does not run.
  returned: always
  type: str
  sample: public
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core import firewalld_rules, rpc_firewall
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.ports import firewall, systemd


def apply(paths: dict[str, str], stale: list[str], is_loaded: bool, state: systemd.UnitState) -> None:
    """Put the files in place and the rules into the kernel."""
    ruleset_path, unit_path = paths
    if ruleset_path in stale:
        firewall.check(paths[ruleset_path])
    for path in stale:
        systemd.write_file(Path(path), paths[path])
    if unit_path in stale:
        systemd.reload()
    # Loaded by hand and not by restarting the unit: the worker requires that unit and would stop with it.
    if stale or not is_loaded:
        firewall.load(Path(ruleset_path))
    if not state.enabled:
        systemd.enable(rpc_firewall.UNIT)
    if state.active_state != "active":
        systemd.start(rpc_firewall.UNIT)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "allowed": {"type": "list", "elements": "str", "required": True},
            "interface": {"type": "str", "default": ""},
            "zone": {"type": "str", "default": ""},
            "path": {"type": "path", "default": "/etc/herd/rpc-firewall.nft"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        program = firewall.nft_program()
        if not program and not module.check_mode:
            raise NotFoundError("the program nft", "none on this host", "install the package nftables")
        text = rpc_firewall.ruleset(given["address"], given["port"], given["allowed"])
        chain = rpc_firewall.marker(given["address"], given["port"], given["allowed"])
        unit = rpc_firewall.unit(program or "/usr/sbin/nft", given["path"])
        paths = {given["path"]: text, str(systemd.UNIT_DIRECTORY / rpc_firewall.UNIT): unit}
        before = {p: Path(p).read_text(encoding="utf-8") if Path(p).exists() else "" for p in paths}
        stale = [p for p in paths if before[p] != paths[p]]
        is_loaded = firewall.has_chain(rpc_firewall.TABLE, chain)
        state = systemd.show(rpc_firewall.UNIT)
        has_firewalld = firewall.firewalld_runs()
        zone = (given["zone"] or firewall.firewalld_zone(given["interface"])) if has_firewalld else ""
        rules = firewalld_rules.rules(given["port"], given["allowed"])
        listed = firewall.firewalld_rules(zone) if has_firewalld else {}
        todo = {mode: firewalld_rules.change(rules, lines, given["port"]) for mode, lines in listed.items()}
        is_through = not any(change.add or change.remove for change in todo.values())
        if not module.check_mode:
            apply(paths, stale, is_loaded, state)
            for permanent, change in todo.items():
                firewall.firewalld_change(zone, permanent, change.remove, change.add)
    except HerdError as error:
        module.fail_json(msg=str(error))
    diff = [{"before_header": p, "after_header": p, "before": before[p], "after": paths[p]} for p in stale]
    was = {"kernel": is_loaded, "unit": state.active_state == "active" and state.enabled, "firewalld": is_through}
    if not all(was.values()):
        names = {
            "kernel": "rules loaded",
            "unit": "loaded at boot",
            "firewalld": "firewalld lets the head and nobody else through",
        }
        shown = "".join(f"{names[key]}: {'yes' if value else 'no'}\n" for key, value in was.items())
        diff.append({"before": shown, "after": shown.replace(": no", ": yes")})
    changed = bool(stale) or not all(was.values())
    module.exit_json(changed=changed, loaded=is_loaded, firewalld=has_firewalld, zone=zone, diff=diff)


if __name__ == "__main__":
    main()
