# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: engine_bench_rows
short_description: Read the results of llama-bench
version_added: 0.1.0
description:
  - Reads what C(llama-bench -o json) printed.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description: The output.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what the engine alone does
  ansible.builtin.debug:
    msg: "{{ measured.stdout | herd.inference.engine_bench_rows }}"
"""

RETURN = r"""
_value:
  description: One row for each test.
  type: list
  elements: dict
  sample:
    - {test: pp512 @ d4096, prompt_tokens: 512, output_tokens: 0, depth: 4096,
       tokens_per_second: 812.5, deviation: 3.2, repetitions: 3}
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import engine_bench


def engine_bench_rows(output: str) -> list[dict[str, Any]]:
    return engine_bench.rows(output)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"engine_bench_rows": engine_bench_rows}
