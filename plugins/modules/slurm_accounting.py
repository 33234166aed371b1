#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_accounting
short_description: Verify, or set up, QoS, account and users in Slurm's accounting
version_added: 0.1.0
description:
  - Compares the accounting with the options, and slurm.conf and the partitions with the requirements of preemption.
  - Only verifies unless O(set_up) is true. Then it calls sacctmgr for each difference. Other settings of the site stay.
    A user keeps every other QoS, and nothing is removed.
  - Never changes slurm.conf and its partitions, which belong to the cluster's administrators.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  set_up:
    description: Whether to set up missing accounting.
    type: bool
    default: false
  qos:
    description: Qualities of service.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      priority:
        description: Priority of the QoS.
        type: int
        required: true
      preempts:
        description: Names of the QoS that it preempts.
        type: list
        elements: str
        default: []
      preempt_mode:
        description: How its jobs are preempted, such as V(REQUEUE); if empty, the cluster's mode.
        type: str
        default: ''
      grace:
        description: Seconds that its preempted jobs have.
        type: int
        default: 0
  accounts:
    description: Accounts.
    type: list
    elements: str
    default: []
  users:
    description: Users in accounts.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user on the hosts.
        type: str
        required: true
      account:
        description: Account of the user.
        type: str
        required: true
      qos:
        description: QoS to allow for the user there, besides the present ones.
        type: list
        elements: str
        default: []
      default_qos:
        description: QoS of jobs that name none. If empty, it stays unchanged.
        type: str
        default: ''
  partitions:
    description: Required partitions, each with the QoS of its jobs.
    type: dict
    default: {}
  graces:
    description:
      - Seconds of grace that jobs of a QoS need, by its name. A QoS with a shorter grace is an error.
      - A C(KillWait) in slurm.conf that is shorter than the longest of them gets a warning.
    type: dict
    default: {}
  bindings:
    description:
      - Tiers whose jobs ask for processors of their GPU's sockets only, by name, with C(cpus), C(nodes) and C(hosts).
      - A job that asks for more than these sockets have never starts. That is an error, if gres.conf has C(Cores=).
    type: dict
    default: {}
  viewer:
    description: User that must see the jobs of all users. A C(PrivateData) that hides them gets a warning.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Verify that VASP jobs preempt inference
  herd.inference.slurm_accounting:
    qos:
      - {name: ai_opportunistic, priority: 100, preempt_mode: REQUEUE, grace: 30}
      - {name: vasp_priority, priority: 1000, preempts: [ai_opportunistic]}
    accounts: [ai]
    users:
      - {name: llama, account: ai, qos: [ai_opportunistic], default_qos: ai_opportunistic}
    partitions: {gpu_ai: [ai_opportunistic], gpu_vasp: [vasp_priority]}
    graces: {ai_opportunistic: 30}
    bindings: {fast: {cpus: 16, nodes: 1, hosts: [vasp-02]}}
    viewer: llama
"""

RETURN = r"""
commands:
  description: Calls of sacctmgr, or in check mode those that would be made.
  returned: always
  type: list
  elements: str
  sample: ["sacctmgr -i add qos ai_opportunistic set Priority=100 PreemptMode=REQUEUE GraceTime=30"]
problems:
  description: Problems that only the cluster's administrators can solve; empty if the module succeeds.
  returned: always
  type: list
  elements: str
"""

import shlex
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import accounting as slurm_accounting
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.slurm import commands as slurm_commands


def wanted_by(given: dict[str, Any]) -> slurm_accounting.Accounting:
    """Read the required accounting from the module's options."""
    qos = {
        one["name"]: slurm_accounting.Qos(
            one["name"], one["priority"], frozenset(one["preempts"]), one["preempt_mode"].upper(), one["grace"]
        )
        for one in given["qos"]
    }
    users = {
        (one["name"], one["account"]): slurm_accounting.User(
            one["name"], one["account"], frozenset(one["qos"]), one["default_qos"]
        )
        for one in given["users"]
    }
    return slurm_accounting.Accounting(qos, frozenset(given["accounts"]), users)


def problems_of(given: dict[str, Any], configuration: dict[str, str]) -> list[str]:
    """List what is wrong with slurm.conf and its partitions."""
    partitions = slurm_accounting.parse_partitions(slurm_commands.run("scontrol", "--oneliner", "show", "partition"))
    nodes = slurm_commands.run("scontrol", "--oneliner", "show", "node") if given["bindings"] else ""
    bindings = {
        str(name): {**tier, "cpus": int(tier["cpus"]), "nodes": int(tier["nodes"])}
        for name, tier in given["bindings"].items()
    }
    return [
        *slurm_accounting.configuration_problems(configuration),
        *slurm_accounting.version_problems(configuration),
        *slurm_accounting.partition_problems(partitions, given["partitions"]),
        *slurm_accounting.binding_problems(slurm_accounting.parse_gpu_processors(nodes), bindings),
    ]


def warnings_of(given: dict[str, Any], configuration: dict[str, str], graces: dict[str, int]) -> list[str]:
    """List warnings about slurm.conf."""
    level = ""
    if given["viewer"] and "jobs" in configuration.get("PrivateData", ""):
        levels = slurm_accounting.parse_levels(slurm_commands.show("user", slurm_accounting.USER_FIELDS))
        level = levels.get(given["viewer"], "")
    return slurm_accounting.configuration_warnings(configuration, graces, given["viewer"], level)


def require_set_up(steps: list[slurm_accounting.SacctmgrCall], commands: list[str]) -> None:
    """Stop if the accounting differs and must only be verified."""
    if steps:
        found = "".join(step.before or "nothing\n" for step in steps).replace("\n", "; ").rstrip("; ")
        raise MismatchError(
            f"{'; '.join(step.after.strip() for step in steps)} in Slurm's accounting",
            found,
            f"ask the cluster's administrators to run: {' && '.join(commands)} (or let the role do it with "
            "slurm_tiers_accounting_set_up: true)",
        )


def result(module: HerdModule) -> dict[str, Any]:
    """Compare the accounting, set it up if asked to, and return the module's result."""
    given = module.params
    configuration = slurm_accounting.parse_configuration(slurm_commands.run("scontrol", "show", "config"))
    found = slurm_accounting.parse_accounting(
        slurm_commands.show("qos", slurm_accounting.QOS_FIELDS),
        slurm_commands.show("assoc", slurm_accounting.ASSOC_FIELDS),
        configuration.get("ClusterName", ""),
    )
    wanted = wanted_by(given)
    steps = slurm_accounting.steps(wanted, found)
    argvs = [["sacctmgr", "-i", *step.argv] for step in steps]
    commands = [shlex.join(argv) for argv in argvs]
    graces = {str(name): int(seconds) for name, seconds in given["graces"].items()}
    problems = problems_of(given, configuration) + slurm_accounting.grace_problems(graces, wanted, found)
    for text in warnings_of(given, configuration, graces):
        module.warn(text)
    if not given["set_up"]:
        require_set_up(steps, commands)
    for argv in [] if module.check_mode else argvs:
        slurm_commands.run(*argv)
    if problems:
        module.fail_json(msg=" ".join(problems), problems=problems, commands=commands)
    return {
        "changed": bool(steps),
        "commands": commands,
        "problems": problems,
        "diff": [{"before": step.before, "after": step.after} for step in steps],
    }


def main() -> None:
    run_module(
        result,
        set_up={"type": "bool", "default": False},
        qos={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "priority": {"type": "int", "required": True},
                "preempts": {"type": "list", "elements": "str", "default": []},
                "preempt_mode": {"type": "str", "default": ""},
                "grace": {"type": "int", "default": 0},
            },
        },
        accounts={"type": "list", "elements": "str", "default": []},
        users={
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "account": {"type": "str", "required": True},
                "qos": {"type": "list", "elements": "str", "default": []},
                "default_qos": {"type": "str", "default": ""},
            },
        },
        partitions={"type": "dict", "default": {}},
        graces={"type": "dict", "default": {}},
        bindings={"type": "dict", "default": {}},
        viewer={"type": "str", "default": ""},
    )


if __name__ == "__main__":
    main()
