# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_page
short_description: Write the result of a benchmark as an HTML page
version_added: 0.1.0
description:
  - The page has its plots and its style in itself, and needs no network.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description: The result, by the schema of the page on benchmarks.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.file', 'result.json') | from_json | herd.inference.benchmark_page }}"
    dest: result.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.page import report_page


def benchmark_page(document: Mapping[str, Any]) -> str:
    return report_page.page(document)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"benchmark_page": benchmark_page}
