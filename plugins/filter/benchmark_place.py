# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_place
short_description: Find an endpoint of the cluster and the file of its key
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Derives the address of a head, a router, a tier, the gateway or vLLM from the variables of its host.
positional: _input
options:
  _input:
    description: Variables of the host, usually C(hostvars[inventory_hostname]).
    type: dict
    required: true
  kind:
    description: V(head), V(router), V(tier), V(gateway), V(vllm), or empty for the first one that the inventory has.
    type: str
    required: true
  groups:
    description: The inventory's groups.
    type: dict
    required: true
  tier:
    description: Name of the tier, or empty for the first one.
    type: str
    default: ""
  report:
    description: Output of C(herdctl tiers --json) or C(herdctl vllm status --json) on the host.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the address of the head
  ansible.builtin.debug:
    msg: "{{ (hostvars[inventory_hostname] | herd.inference.benchmark_place(kind='head', groups=groups)).url }}"
"""

RETURN = r"""
_value:
  description:
    - C(kind), C(url), C(key_file) and C(certificate_file) on the host, and C(model).
  type: dict
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import endpoints


def benchmark_place(
    facts: Mapping[str, Any], kind: str, groups: Mapping[str, Sequence[str]], tier: str = "", report: str = ""
) -> dict[str, str]:
    try:
        said = json.loads(report) if report else {}
    except ValueError:
        said = {}
    found = endpoints.kind_of(kind, groups)
    return {"kind": found, **endpoints.place(found, facts, tier, said if isinstance(said, Mapping) else {})}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"benchmark_place": benchmark_place}
