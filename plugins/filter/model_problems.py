# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_problems
short_description: List the problems of model entries before a download
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Each problem is one sentence with the expected value, the found value and the next step.
  - No server is asked, so the filter does not know whether a server has the files.
positional: _input
options:
  _input:
    description: Entries as in the inventory's C(herd_models).
    type: list
    elements: dict
    required: true
  has_token:
    description: Whether a token for gated models is set.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop if a model cannot be fetched
  ansible.builtin.assert:
    that: model_store_models | herd.inference.model_problems | length == 0
"""

RETURN = r"""
_value:
  description: The problems; empty if there are none.
  type: list
  elements: str
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.lock import problems


def model_problems(entries: Sequence[Mapping[str, Any]], has_token: bool = False) -> list[str]:
    found: list[str] = []
    for entry in entries:
        name = str(entry.get("name") or "without a name")
        found += problems(name, entry)
        if entry.get("token_required") and not has_token:
            error = InvalidInputError("a token for a gated model", "none", "set model_store_token in a vault")
            found.append(f"model {name}: {error}")
    return found


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"model_problems": model_problems}
