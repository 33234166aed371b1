# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: task_table
short_description: Make the gateway's task table
version_added: 0.1.0
description:
  - Converts the inventory's task types, each with its suitable models, to a table with one tier and one model id for
    each type. It takes the best model that an enabled tier serves.
author: herd.inference contributors (@herd-inference)
positional: _input
options:
  _input:
    description:
      - The table of the inventory. C(types) has each task type by its name. C(default) is for all other types; without
        it they are refused.
      - Each entry has C(models), a list of keys of C(models), best first. Optionally it has C(tier), the only allowed
        tier, and C(reason), a sentence for people.
    type: dict
    required: true
  tiers:
    description: The tiers, as in C(herd_tiers).
    type: list
    elements: dict
    required: true
  models:
    description: The models, as in C(herd_models).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where tasks go
  ansible.builtin.debug:
    msg: "{{ herd_tasks | herd.inference.task_table(tiers=herd_tiers, models=herd_models) }}"
"""

RETURN = r"""
_value:
  description: The table, with C(tier), C(model) and C(why) for each of C(types), and for C(default) or null.
  type: dict
  sample:
    schema: 1
    types:
      fix: {tier: fast, model: strand-rust-coder-14b-q8_0, why: Compiles most often.}
    default: null
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import task_routing


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"task_table": task_routing.publish}
