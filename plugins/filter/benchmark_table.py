# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: benchmark_table
short_description: Set the document of a benchmark as tables
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Shows rates, times, verdicts and errors for people.
options:
  _input:
    description: A document of P(herd.inference.benchmark_document#filter).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the results
  ansible.builtin.debug:
    msg: "{{ document | herd.inference.benchmark_table }}"
"""

RETURN = r"""
_value:
  description: The tables.
  type: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import tables


def benchmark_table(document: Mapping[str, Any]) -> str:
    return tables.table(document)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"benchmark_table": benchmark_table}
