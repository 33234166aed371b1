# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: placement
short_description: Plan where a model's layers go, and whether they fit
version_added: 0.1.0
author: herd.inference contributors (@herd-inference)
description:
  - Computes the bytes of weights, caches, compute buffers and overhead on each device for an entry of
    C(herd_models) that has a C(metadata), and the split that leaves the fullest device the most free memory.
  - No host is asked for anything. A GPU's free memory is C(herd_gpu_free_mib) of its host where that is known,
    and otherwise what such a GPU has free when nothing else runs on it.
  - Weights, caches and layers are the engine's own numbers, compute buffers are upper bounds, and what CUDA adds
    is modelled. See the reference page on the accuracy of placement.
positional: _input
options:
  _input:
    description: The model's entry in C(herd_models).
    type: dict
    required: true
  workers:
    description: Hosts of the workers in the engine's order.
    type: list
    elements: str
    required: true
  head:
    description: Host of the head.
    type: str
    required: true
  hosts:
    description:
      - Variables by host name, usually C(hostvars). C(herd_gpus) (with C(memory_mib), and perhaps C(free_mib),
        C(reserved_mib), C(bandwidth_gbs)), C(herd_gpu_free_mib), C(herd_memory_gib), C(herd_fabric_address) and
        C(herd_rpc_port) are read.
    type: dict
    required: true
  release:
    description: The engine's release, whose rules of allocation are used.
    type: str
    required: true
  profiles:
    description: Settings of the head by profile name.
    type: dict
    default: {}
  profile:
    description: Name of the profile in use, empty for none.
    type: str
    default: ''
  settings:
    description: Settings merged over the profile.
    type: dict
    default: {}
  split:
    description: Layers by host name; empty lets the plan choose.
    type: dict
    default: {}
  use_head_gpus:
    description: Whether the head's own GPUs hold layers.
    type: bool
    default: true
  reserve_mib:
    description: MiB that stay free on each GPU.
    type: int
    default: 0
  memory_max:
    description: Memory limit of the head's service, such as V(200G), or V(infinity). Empty for the plan's.
    type: str
    default: ''
  routers:
    description:
      - Hosts of the router. Its named models (C(fast_router_models), C(fast_router_settings),
        C(fast_router_models_max)) book memory of the same GPUs. With C(fast_router_scan), a warning says how much files
        of its folder that are not named may take on top.
    type: list
    elements: str
    default: []
  environment:
    description: Variables of the head's unit. One that changes the engine's memory is an error.
    type: dict
    default: {}
  models:
    description: All of C(herd_models); other entries of the same model are compared and named as remedies.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say whether the model fits
  ansible.builtin.debug:
    msg: "{{ plan.table }}"
  vars:
    plan: >-
      {{ herd_models[herd_model] | herd.inference.placement(
           workers=groups['rpc_worker'], head='vllm-node1', hosts=hostvars, release=herd_release,
           settings={'context': 4096, 'slots': 1}) }}
"""

RETURN = r"""
_value:
  description:
    - C(known), whether there is a plan. Without metadata, or with invalid input, there are only C(fits), C(split) as
      given, and C(table) with the reason.
    - C(summary), what the model needs and what the devices have. C(split_replaced), whether the given split has another
      number of layers than the model and was planned anew, and C(split_models), the entries with that number.
    - C(fits), C(problems), C(remedies) and C(warnings) in words, C(devices) with bytes, C(split) by host,
      C(tensor_split) for the engine, C(head) with the bytes of its process (C(least) and C(comfortable) as a memory
      limit), C(memory_max), the limit of the head's service, C(largest_context) in tokens for each slot,
      C(rate_empty) and C(rate_full) in tokens per second as upper bounds, C(comparison) of entries of the same model,
      and C(table) as text.
  type: dict
  sample: {known: true, fits: true, split: {vllm-node1: 26, vllm-node2: 27, vllm-node3: 27}}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import memory_flags
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_fit, router_inventory

#: Only these variables are read, because others may hold templates that cannot be resolved here.
READ = {
    "gpus": "herd_gpus",
    "free_mib": "herd_gpu_free_mib",
    "memory_gib": "herd_memory_gib",
    "address": "herd_fabric_address",
    "port": "herd_rpc_port",
}


def known(host: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the facts of a host from the inventory or its fact cache."""
    cached = host.get("ansible_facts") or {}
    found = {key: host.get(fact, cached.get(fact)) for key, fact in READ.items()}
    return {key: value for key, value in found.items() if value is not None}


def router_facts(
    name: str,
    host: Mapping[str, Any],
    facts: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    release: str,
) -> dict[str, Any]:
    """Compute what the router on a host takes of each GPU, by its named models, and how many models it may hold."""
    router = router_inventory.InventoryRouter(
        host.get("fast_router_models") or {},
        models,
        host.get("fast_router_settings") or {},
        int(host.get("fast_router_models_max", 2)),
        bool(host.get("fast_router_scan", True)),
    )
    gpus = host.get("fast_router_gpus", facts.get("gpus")) or ()
    machine = router_fit.RouterHost(name, gpus, float(facts.get("memory_gib") or 0))
    return {
        "booked_mib": router_inventory.booked_mib(router, machine, release),
        "router_scan_max": router.models_max if router.has_scan else 0,
    }


def with_limit(plan: Mapping[str, Any], given: str) -> dict[str, Any]:
    """Add the memory limit of the head's service: the given one, or the plan's."""
    if not plan["known"]:
        return {**plan, "memory_max": given}
    limit, source = (given, "as given") if given else (plan["memory_max"], "from the plan")
    return {
        **plan,
        "memory_max": limit,
        "table": f"{plan['table']}\nMemoryMax of the head's service: {limit}, {source}",
    }


def placement(
    entry: Mapping[str, Any],
    workers: Sequence[str],
    head: str,
    hosts: Mapping[str, Mapping[str, Any]],
    release: str,
    profiles: Mapping[str, Mapping[str, Any]] | None = None,
    profile: str = "",
    settings: Mapping[str, Any] | None = None,
    split: Mapping[str, int] | None = None,
    use_head_gpus: bool = True,
    reserve_mib: int = 0,
    memory_max: str = "",
    models: Mapping[str, Mapping[str, Any]] | None = None,
    environment: Mapping[str, Any] | None = None,
    routers: Sequence[str] = (),
) -> dict[str, Any]:
    facts = {name: known(hosts[name]) for name in dict.fromkeys([*workers, head]) if name in hosts}
    try:
        memory_flags.require_planned_variables(environment or {})
        for name in set(routers) & set(facts):
            facts[name].update(router_facts(name, hosts[name], facts[name], models or {}, str(release)))
        merged = engine_arguments.merged(engine_arguments.profile_named(profiles or {}, profile), settings or {})
        group = inventory_placement.InventoryGroup(
            list(workers), head, facts, use_head_gpus, int(reserve_mib), memory_max
        )
        plan = inventory_placement.plan_for(entry, group, merged, str(release), split or {}, models or {})
    except HerdError as error:
        # The task shows one sentence. Ansible would wrap an exception in several.
        told = str(error)
        return {"known": False, "fits": False, "split": dict(split or {}), "problems": [told], "table": told}
    return with_limit(plan, memory_max)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"placement": placement}
