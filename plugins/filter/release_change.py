# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter release_change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.release import switch as rules

DOCUMENTATION = r"""
name: release_change
short_description: Where a change of release goes and comes from, also after one that was killed
version_added: 0.2.0
author:
  - herd.inference contributors (@herd-inference)
description:
  - Reads what M(herd.inference.release_info) has said of every node in the group C(llama_release).
  - A change that has begun and is not proved yet is noted on the nodes; while it is, the note says where to go back to
    and not the links.
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
    description: Name of the variable that holds the answer of M(herd.inference.release_info).
    type: str
    required: true
  wanted:
    description: Id of the release to change to; if empty, the one that a rollback goes to.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Say where a rollback goes
  ansible.builtin.debug:
    msg: "{{ (hostvars | herd.inference.release_change(groups, 'releases')).to }}"
"""

RETURN = r"""
_value:
  description:
    - C(to) is the release that the nodes change to, and C(from) the one to go back to if that fails; empty if there is
      none.
    - C(needed) is false only if every node has C(to) as its current release, nothing is left of a change that was
      killed, and head, workers and routers run from it.
    - C(behind) names the hosts that do not run C(to), or have not said so.
    - C(behind) names the hosts that do not run C(to), or have not said so.
  type: dict
  sample: {to: 0c1e57098-cpu-5f1c20ab, from: b7836-cpu-11aa22bb, needed: true, behind: [vllm-node3]}
"""


def release_change(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], register: str, wanted: str = ""
) -> dict[str, Any]:
    """Where a change goes and comes from."""
    hosts = dict.fromkeys([*groups.get("head_server", ()), *groups["llama_release"]])
    nodes = {
        host: rules.NodeRelease(
            # A host that could not be reached has said nothing.
            hostvars[host].get(register) or {},
            [unit for group, unit in rules.SERVICES.items() if host in groups.get(group, ())],
        )
        for host in hosts
    }
    change = rules.plan(list(nodes.values()), wanted)
    return {**change, "behind": rules.outdated_nodes(nodes, change["to"])}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"release_change": release_change}
