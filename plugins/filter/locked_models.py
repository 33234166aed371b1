# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: locked_models
short_description: Add the model lock to the models of an inventory
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - M(herd.inference.model_lock#module) writes the facts of a hub about each model to a separate file. This filter adds
    commit, sizes, checksums and metadata to the entries.
  - A lock of other files, another repository or another commit than those of the entry is ignored. So is a lock without
    an entry.
positional: _input, lock
options:
  _input:
    description: The models as written by hand, by key.
    type: dict
    required: true
  lock:
    description: The variable C(herd_models_lock) that the module writes.
    type: dict
    required: true
"""

EXAMPLES = r"""
herd_models: "{{ herd_model_entries | herd.inference.locked_models(herd_models_lock | default({})) }}"
"""

RETURN = r"""
_value:
  description: The models, as C(herd_models).
  type: dict
"""

from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.models import lock as model_lock


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"locked_models": model_lock.merge}
