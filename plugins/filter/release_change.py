# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as rules
from ansible_collections.herd.inference.plugins.module_utils.core.release import units

DOCUMENTATION = r"""
name: release_change
short_description: Plan a switch to another release, or a rollback
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Reads the results of M(herd.inference.release_info) of the head and of each node in the group C(llama_release).
  - The record of an unfinished switch names the release of a rollback. Without a record, the link C(previous) does.
positional: groups, register
options:
  _input:
    description: The variables of all hosts by host name, usually C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's groups, usually C(groups).
    type: dict
    required: true
  register:
    description: Name of the variable with the result of M(herd.inference.release_info).
    type: str
    required: true
  wanted:
    description: Id of the release to switch to. Empty plans a rollback.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the release of a rollback
  ansible.builtin.debug:
    msg: "{{ (hostvars | herd.inference.release_change(groups, 'releases')).to }}"
"""

RETURN = r"""
_value:
  description:
    - C(to) is the release to switch to, and C(from) the one to return to after a failure. Both may be empty.
    - C(needed) is false only if C(to) is the current release of each node, no switch is unfinished, and head, workers
      and routers run from C(to).
    - C(behind) lists the hosts that do not run C(to), or that are unreachable.
  type: dict
  sample: {to: 0c1e57098-cpu-5f1c20ab, from: b7836-cpu-11aa22bb, needed: true, behind: [vllm-node3]}
"""


def release_change(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], register: str, wanted: str = ""
) -> dict[str, Any]:
    """Return target, origin and need of a switch, and the outdated hosts."""
    hosts = dict.fromkeys([*groups.get("head_server", ()), *groups["llama_release"]])
    nodes = {
        host: rules.NodeRelease(
            # An unreachable host has no result.
            hostvars[host].get(register) or {},
            [unit for group, unit in units.BY_GROUP.items() if host in groups.get(group, ())],
        )
        for host in hosts
    }
    change = rules.plan(list(nodes.values()), wanted)
    return {**change, "behind": rules.outdated_nodes(nodes, change["to"])}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"release_change": release_change}
