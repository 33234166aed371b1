# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: router_placement
short_description: Plan whether the largest models of a router fit beside each other
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Computes the bytes of each model that C(fast_router_models) names, and whether the largest ones that may be in
    memory at the same time fit on the host's GPUs and in its memory, beside the head's model on the same GPUs.
  - No host is asked for anything. So files that only the router's folder has are not in the plan; it says how much
    memory they may take. M(herd.inference.router_plan) reads the folder.
positional: _input
options:
  _input:
    description: Options of the models by their keys in C(herd_models), as in C(fast_router_models).
    type: dict
    required: true
  entries:
    description: C(herd_models).
    type: dict
    required: true
  name:
    description: Host of the router.
    type: str
    required: true
  release:
    description: The engine's release, whose rules of allocation are used.
    type: str
    required: true
  settings:
    description: Settings of all models.
    type: dict
    default: {}
  models_max:
    description: Models that may be in memory at the same time.
    type: int
    default: 2
  scan:
    description: Whether the router also offers other files of its folder.
    type: bool
    default: true
  gpus:
    description: GPUs of the models, as in C(herd_gpus).
    type: list
    elements: dict
    default: []
  booked_mib:
    description: MiB of each GPU that the layers of the head's model take.
    type: list
    elements: float
    default: []
  reserve_mib:
    description: MiB that stay free on each GPU.
    type: int
    default: 0
  memory_gib:
    description: GiB of the host's memory.
    type: float
    default: 0
  memory_max:
    description: Memory limit of the service, such as V(64G), empty for none.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Say whether the largest models fit together
  ansible.builtin.debug:
    msg: "{{ plan.table }}"
  vars:
    plan: >-
      {{ fast_router_models | herd.inference.router_placement(
           entries=herd_models, name=inventory_hostname, release=herd_release, gpus=herd_gpus) }}
"""

RETURN = r"""
_value:
  description:
    - C(fits), C(problems), C(remedies) and C(warnings) in words, C(models) with the bytes of each (C(totals) by
      device), C(models_max), C(largest) (the models that are counted), C(together) and C(free) in bytes by device,
      C(memory) of the processes, and C(table) as text. With invalid input there are only C(fits), C(problems) and
      C(table).
  type: dict
  sample: {fits: true, models_max: 2, largest: [strand-rust-coder-14b-q8_0]}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_fit, router_inventory


def router_placement(
    models: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    name: str,
    release: str,
    settings: Mapping[str, Any] | None = None,
    models_max: int = 2,
    scan: bool = True,
    gpus: Sequence[Mapping[str, Any]] = (),
    booked_mib: Sequence[float] = (),
    reserve_mib: int = 0,
    memory_gib: float = 0,
    memory_max: str = "",
) -> dict[str, Any]:
    router = router_inventory.InventoryRouter(models or {}, entries, settings or {}, int(models_max), bool(scan))
    machine = router_fit.RouterHost(
        name,
        gpus or (),
        float(memory_gib or 0),
        reserve_mib=int(reserve_mib),
        memory_max=str(memory_max),
        booked_mib=tuple(booked_mib),
    )
    try:
        return router_inventory.plan(router, machine, str(release))
    except HerdError as error:
        # The task shows one sentence. Ansible would wrap an exception in several.
        return {"fits": False, "problems": [str(error)], "table": str(error)}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"router_placement": router_placement}
