# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_id
short_description: Name the id of a model at a tier
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Returns the id under which clients ask a tier for a model. A router names a model by its file, any other engine by
    the name that it was given.
positional: _input
options:
  _input:
    description: The model's entry in C(herd_models).
    type: dict
    required: true
  kind:
    description: Kind of the tier, as in C(herd_tiers).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the ids of a tier's models
  ansible.builtin.debug:
    msg: "{{ tier.models | map('extract', herd_models) | map('herd.inference.model_id', kind=tier.kind) | list }}"
"""

RETURN = r"""
_value:
  description: The id.
  type: str
  sample: strand-rust-coder-14b-q8_0
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models import ids


def model_id(model: Mapping[str, Any], kind: str) -> str:
    return ids.api_id(kind, model)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"model_id": model_id}
