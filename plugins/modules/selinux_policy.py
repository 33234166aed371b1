#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell SELinux what a service does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: selinux_policy
short_description: Tell SELinux's policy what a service does, and at which ports
version_added: 0.2.0
description:
  - Where SELinux is on, enforcing or permissive, puts a module of rules into the policy, and gives ports a type that a
    service may listen at. Where it is off, nothing is done.
  - With O(state=absent) the module is taken out, and ports get back the types that they had. What others have put into
    the policy stays; which types are ours is remembered in O(record).
  - Works with C(semodule) and C(semanage), packages C(policycoreutils) and C(policycoreutils-python-utils).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  name:
    description: Name of the module of rules.
    type: str
    required: true
  content:
    description: Its rules, in SELinux's Common Intermediate Language. With O(state=absent) they do not matter.
    type: str
    default: ""
  ports:
    description: TCP ports at which the service listens.
    type: list
    elements: int
    default: []
  port_type:
    description: The type that they get.
    type: str
    default: http_port_t
  good_types:
    description: Types that they may have as well, and keep.
    type: list
    elements: str
    default: []
  record:
    description: File in which is remembered which ports got their type from here.
    type: path
    required: true
  state:
    description: Whether the policy has them.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let nginx listen at 8081
  herd.inference.selinux_policy:
    name: herd_gateway
    content: "{{ lookup('ansible.builtin.file', 'herd_gateway.cil') }}"
    ports: [8080, 8081]
    good_types: [http_cache_port_t]
    record: /etc/herd/gateway/selinux.json
"""

RETURN = r"""
enabled:
  description: Whether SELinux is on.
  returned: always
  type: bool
  sample: true
module:
  description: What was done with the module, or would be; V(install), V(remove) or empty.
  returned: always
  type: str
  sample: install
commands:
  description: What was run, or would be, after C(semanage port).
  returned: always
  type: list
  elements: list
  sample: [[-m, -t, http_port_t, -p, tcp, "8081"]]
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import selinux as rules
from ansible_collections.herd.inference.plugins.module_utils.ports import files
from ansible_collections.herd.inference.plugins.module_utils.ports.host import selinux


def look(name: str, ours: tuple[int, ...]) -> rules.PolicyState:
    """See what the policy has."""
    is_there = name in rules.read_modules(selinux.modules())
    return rules.PolicyState(
        module=selinux.module_text(name, rules.PRIORITY) if is_there else "",
        local=rules.read_ports(selinux.ports(True)),
        every=rules.read_ports(selinux.ports(False)),
        ours=ours,
    )


def act(plan: rules.PolicyPlan, params: dict[str, Any], record: Path) -> None:
    """Do what is planned. What is ours is written before it is, and struck out after it was."""
    known = set(plan.ours) | set(rules.read_ours(read(record)))
    if known and (plan.commands or not record.exists()):
        files.atomic_write(record, rules.write_ours(known), 0o644, 0)
    for command in plan.commands:
        selinux.change_port(command)
    if plan.module == "install":
        selinux.install_module(params["name"], params["content"])
    elif plan.module == "remove":
        selinux.remove_module(params["name"])
    if known != set(plan.ours):
        files.atomic_write(record, rules.write_ours(plan.ours), 0o644, 0)


def read(path: Path) -> str:
    """Read a file that may not be there."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def reconcile(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Look, plan and act."""
    if not selinux.enabled():
        return {"changed": False, "enabled": False, "module": "", "commands": []}
    record, is_present = Path(params["record"]), params["state"] == "present"
    wanted = rules.PolicySpec(
        params["content"], tuple(params["ports"]), params["port_type"], tuple(params["good_types"])
    )
    # A bare host gets the programs in this very run; one that never had them was never told anything.
    can_look = selinux.has_tools() or (is_present and not check_mode)
    found = look(params["name"], rules.read_ours(read(record))) if can_look else rules.PolicyState()
    plan = rules.plan(found, wanted, is_present)
    if not check_mode:
        act(plan, params, record)
    return {
        "changed": bool(plan.module or plan.commands),
        "diff": {"before": plan.before, "after": plan.after},
        "enabled": True,
        "module": plan.module,
        "commands": [list(command) for command in plan.commands],
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "content": {"type": "str", "default": ""},
            "ports": {"type": "list", "elements": "int", "default": []},
            "port_type": {"type": "str", "default": "http_port_t"},
            "good_types": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = reconcile(module.params, module.check_mode)
    except HerdError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
