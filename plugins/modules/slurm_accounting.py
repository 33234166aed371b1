#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See that Slurm's accounting is what preemptible inference needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slurm_accounting
short_description: Verify, or set up, QoS, account and users in Slurm's accounting
version_added: 0.2.0
description:
  - Holds the accounting against what is wanted, and slurm.conf and the partitions against what preemption needs.
  - Only verifies unless O(set_up) is true. It then calls sacctmgr for what differs, and for nothing else. What a site
    has besides is left alone. A user keeps every other QoS, and nothing is ever removed.
  - slurm.conf and the partitions in it are only looked at. They belong to whoever runs the cluster.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes]
options:
  set_up:
    description: Whether what is missing is set up.
    type: bool
    default: false
  cluster:
    description: Name of the cluster in the accounting; the one of slurm.conf when empty.
    type: str
    default: ''
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
        description: Its Priority.
        type: int
        required: true
      preempts:
        description: Names of those that it preempts.
        type: list
        elements: str
        default: []
      preempt_mode:
        description: How its jobs are preempted, such as V(REQUEUE). The cluster's mode when empty.
        type: str
        default: ''
      grace:
        description: Seconds that its jobs have when they are preempted.
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
        description: QoS that the user may use there, besides what is allowed already.
        type: list
        elements: str
        default: []
      default_qos:
        description: QoS of jobs that name none. Left as it is when empty.
        type: str
        default: ''
  partitions:
    description: Partitions that must be there and up, each with the QoS of the jobs that will be submitted to it.
    type: dict
    default: {}
  configuration:
    description: Whether slurm.conf and the version of Slurm are held against what preemption needs.
    type: bool
    default: true
  graces:
    description:
      - Seconds that jobs of a QoS count on when they are preempted, by its name. A QoS that gives less is an error.
      - A C(KillWait) in slurm.conf that is shorter than the longest of them is warned of.
    type: dict
    default: {}
  viewer:
    description: User that should see the jobs of all others. C(PrivateData) that hides them is warned of.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Verify that VASP comes first
  herd.inference.slurm_accounting:
    qos:
      - {name: ai_opportunistic, priority: 100, preempt_mode: REQUEUE, grace: 30}
      - {name: vasp_priority, priority: 1000, preempts: [ai_opportunistic]}
    accounts: [ai]
    users:
      - {name: llama, account: ai, qos: [ai_opportunistic], default_qos: ai_opportunistic}
    partitions: {gpu_ai: [ai_opportunistic], gpu_vasp: [vasp_priority]}
    graces: {ai_opportunistic: 30}
    viewer: llama
"""

RETURN = r"""
commands:
  description: Calls of sacctmgr that were made, or that would be.
  returned: always
  type: list
  elements: str
  sample: ["sacctmgr -i add qos ai_opportunistic set Priority=100 PreemptMode=REQUEUE GraceTime=30"]
problems:
  description: What only those can change whose cluster it is; always empty when the module succeeds.
  returned: always
  type: list
  elements: str
  sample: []
version:
  description: Version of Slurm.
  returned: always
  type: str
  sample: 22.05.8
"""

import shlex
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import accounting as slurm_accounting
from ansible_collections.herd.inference.plugins.module_utils.ports.slurm import commands as slurm_commands


def wanted_by(given: dict[str, Any]) -> slurm_accounting.Accounting:
    """What is asked for."""
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
    """What is wrong with slurm.conf and its partitions."""
    partitions = slurm_accounting.parse_partitions(slurm_commands.run("scontrol", "--oneliner", "show", "partition"))
    found = []
    if given["configuration"]:
        found += slurm_accounting.configuration_problems(configuration)
        found += slurm_accounting.version_problems(configuration)
    return found + slurm_accounting.partition_problems(partitions, sorted(given["partitions"]), given["partitions"])


def warnings_of(given: dict[str, Any], configuration: dict[str, str], graces: dict[str, int]) -> list[str]:
    """What should be known of slurm.conf and does not stop."""
    if not given["configuration"]:
        return []
    level = ""
    if given["viewer"] and "jobs" in configuration.get("PrivateData", ""):
        levels = slurm_accounting.parse_levels(slurm_commands.show("user", slurm_accounting.USER_FIELDS))
        level = levels.get(given["viewer"], "")
    return slurm_accounting.configuration_warnings(configuration, graces, given["viewer"], level)


def require_set_up(steps: list[slurm_accounting.SacctmgrCall], commands: list[str]) -> None:
    """Stop where the accounting is only to be verified."""
    if steps:
        found = "".join(step.before or "nothing\n" for step in steps).replace("\n", "; ").rstrip("; ")
        raise MismatchError(
            f"{'; '.join(step.after.strip() for step in steps)} in Slurm's accounting",
            found,
            f"ask whoever runs the cluster to run: {' && '.join(commands)} (or let the role do it with "
            "slurm_tiers_accounting_set_up: true)",
        )


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "set_up": {"type": "bool", "default": False},
            "cluster": {"type": "str", "default": ""},
            "qos": {
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
            "accounts": {"type": "list", "elements": "str", "default": []},
            "users": {
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
            "partitions": {"type": "dict", "default": {}},
            "configuration": {"type": "bool", "default": True},
            "graces": {"type": "dict", "default": {}},
            "viewer": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        configuration = slurm_accounting.parse_configuration(slurm_commands.run("scontrol", "show", "config"))
        cluster = given["cluster"] or configuration.get("ClusterName", "")
        found = slurm_accounting.parse_accounting(
            slurm_commands.show("qos", slurm_accounting.QOS_FIELDS),
            slurm_commands.show("assoc", slurm_accounting.ASSOC_FIELDS),
            cluster,
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
    except HerdError as error:
        module.fail_json(msg=str(error))
    if problems:
        module.fail_json(msg=" ".join(problems), problems=problems, commands=commands)
    diff = [{"before": step.before, "after": step.after} for step in steps]
    version = configuration.get("SLURM_VERSION", "")
    module.exit_json(changed=bool(steps), commands=commands, problems=problems, version=version, diff=diff)


if __name__ == "__main__":
    main()
