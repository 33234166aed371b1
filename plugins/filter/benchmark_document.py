# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_document
short_description: Make the document of a benchmark
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Joins what M(herd.inference.benchmark) measured with the conditions and with what the nodes did meanwhile.
  - Judges each target.
options:
  _input:
    description: Result of M(herd.inference.benchmark).
    type: dict
    required: true
  conditions:
    description: What the result depends on, such as the release and the driver.
    type: dict
    default: {}
  nodes:
    description: Summaries of the nodes' samples by host.
    type: dict
    default: {}
  gpus:
    description: Results of M(herd.inference.gpu_memory) in a loop over the hosts, for the conditions.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Write the document
  ansible.builtin.copy:
    content: "{{ measured | herd.inference.benchmark_document(conditions={'release': 'b7836'}) | to_nice_json }}"
    dest: benchmark.json
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The document, as C(docs/reference/benchmark.schema.json) describes it.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import document, endpoints, targets


def benchmark_document(
    found: Mapping[str, Any],
    conditions: Mapping[str, Any] | None = None,
    nodes: Mapping[str, Any] | None = None,
    gpus: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    limits = {name: targets.Target(**target) for name, target in found["limits"].items()}
    known = {**(conditions or {}), "nodes": endpoints.node_conditions(gpus)}
    return document.document(found["measured"], known, nodes or {}, limits)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"benchmark_document": benchmark_document}
