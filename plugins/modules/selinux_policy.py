#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: selinux_policy
short_description: Allow a service its actions and ports in the SELinux policy
version_added: 0.1.0
description:
  - Installs a module of rules in the policy, and gives ports a type that allows the service to listen on them. Does
    nothing if SELinux is disabled.
  - With O(state=absent), removes the module and restores the former types of the ports. O(record) lists the ports whose
    type this module has set; it does not change other parts of the policy.
  - Needs C(semodule) and C(semanage) of the packages C(policycoreutils) and C(policycoreutils-python-utils).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  name:
    description: Name of the policy module.
    type: str
    required: true
  content:
    description: Rules in SELinux's Common Intermediate Language. Ignored with O(state=absent).
    type: str
    default: ""
  ports:
    description: TCP ports on which the service listens. They get the type C(http_port_t).
    type: list
    elements: int
    default: []
  good_types:
    description: Further types that allow the service to listen. A port of such a type keeps it.
    type: list
    elements: str
    default: []
  record:
    description: File that lists the ports whose type this module has set.
    type: path
    required: true
  state:
    description: Whether the policy holds the rules and the types.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Allow nginx to listen on port 8081
  herd.inference.selinux_policy:
    name: herd_gateway
    content: "{{ lookup('ansible.builtin.file', 'herd_gateway.cil') }}"
    ports: [8080, 8081]
    good_types: [http_cache_port_t]
    record: /etc/herd/gateway/selinux.json
"""

RETURN = r"""
enabled:
  description: Whether SELinux is enforcing or permissive.
  returned: always
  type: bool
module:
  description: Action on the policy module, V(install) or V(remove), or empty.
  returned: always
  type: str
  sample: install
commands:
  description: Arguments of C(semanage port) for each changed port.
  returned: always
  type: list
  elements: list
  sample: [[-m, -t, http_port_t, -p, tcp, "8081"]]
"""

from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import selinux as rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import run_module
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import selinux


def read_policy(name: str, ours: tuple[int, ...]) -> rules.PolicyState:
    """Read the policy module and the types of the ports."""
    is_there = name in rules.read_modules(selinux.modules())
    return rules.PolicyState(
        module=selinux.module_text(name, rules.PRIORITY) if is_there else "",
        local=rules.read_ports(selinux.ports(True)),
        every=rules.read_ports(selinux.ports(False)),
        ours=ours,
    )


def apply(plan: rules.PolicyPlan, params: dict[str, Any], record: Path) -> None:
    """Apply a plan. The record lists a port before its type is set, and until its type is restored."""
    known = set(plan.ours) | set(rules.read_record(files.read_text(record)))
    if known and (plan.commands or not record.exists()):
        files.atomic_write(record, rules.format_record(known), 0o644, 0)
    for command in plan.commands:
        selinux.change_port(command)
    if plan.module == "install":
        selinux.install_module(params["name"], params["content"])
    elif plan.module == "remove":
        selinux.remove_module(params["name"])
    if known != set(plan.ours):
        files.atomic_write(record, rules.format_record(plan.ours), 0o644, 0)


def reconcile(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Apply the difference to the policy, and return the module's result."""
    if not selinux.enabled():
        return {"changed": False, "enabled": False, "module": "", "commands": []}
    record, is_present = Path(params["record"]), params["state"] == "present"
    wanted = rules.PolicySpec(params["content"], tuple(params["ports"]), tuple(params["good_types"]))
    # In check mode, the programs may not be installed yet. Without them, the policy holds none of these rules.
    can_look = selinux.has_tools() or (is_present and not check_mode)
    found = read_policy(params["name"], rules.read_record(files.read_text(record))) if can_look else rules.PolicyState()
    plan = rules.plan(found, wanted, is_present)
    if not check_mode:
        apply(plan, params, record)
    return {
        "changed": bool(plan.module or plan.commands),
        "diff": {"before": plan.before, "after": plan.after},
        "enabled": True,
        "module": plan.module,
        "commands": [list(command) for command in plan.commands],
    }


def main() -> None:
    run_module(
        lambda module: reconcile(module.params, module.check_mode),
        name={"type": "str", "required": True},
        content={"type": "str", "default": ""},
        ports={"type": "list", "elements": "int", "default": []},
        good_types={"type": "list", "elements": "str", "default": []},
        record={"type": "path", "required": True},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    )


if __name__ == "__main__":
    main()
