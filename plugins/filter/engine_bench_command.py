# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: engine_bench_command
short_description: Derive the command line of llama-bench from that of the head
version_added: 0.1.0
description:
  - Takes over the model, the workers, the devices, their split, the batches, the threads and the cache types.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description: The words of the head's command line.
    type: list
    elements: str
    required: true
  settings:
    description: The values prompt_tokens, output_tokens, depths and repetitions of the measurement.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show how the engine alone is measured
  ansible.builtin.debug:
    msg: "{{ head_words | herd.inference.engine_bench_command(settings) }}"
"""

RETURN = r"""
_value:
  description: The words of the command line.
  type: list
  elements: str
  sample: [/opt/llama.cpp/releases/b7836-cpu-1a2b3c4d/bin/llama-bench, -m, model.gguf, -o, json]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import engine_bench


def engine_bench_command(words: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    return engine_bench.command([str(word) for word in words], settings)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"engine_bench_command": engine_bench_command}
