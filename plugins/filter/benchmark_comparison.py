# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_comparison
short_description: Say what changed between two benchmarks beyond noise
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Compares each metric of each case that both have, by Welch's test at 95 %.
positional: _input, after
options:
  _input:
    description: The former document, or the text of its file.
    type: raw
    required: true
  after:
    description: The later document, or the text of its file.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show what changed
  ansible.builtin.debug:
    msg: "{{ (before | herd.inference.benchmark_comparison(after)).text }}"
"""

RETURN = r"""
_value:
  description:
    - C(rows) with the verdict of each metric, C(conditions) that differ, C(only_before) and C(only_after) with the
      cases that one of them lacks, and C(text) as a table of the changes.
  type: dict
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import comparison, tables


def benchmark_comparison(before: Any, after: Any) -> dict[str, Any]:
    found = comparison.compare(before, after)
    return {**found, "text": tables.changes(found)}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"benchmark_comparison": benchmark_comparison}
