# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each named remedy works, the least is named, and a plan takes a bounded number of steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.placement import compute_buffer, remedies
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.core.placement.from_inventory import InventoryGroup
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import (
    DeviceCapacity,
    PlacementGroup,
    PlacementHost,
    Planner,
)

ROOT = Path(__file__).parents[4]
COMPUTED = json.loads((ROOT / "inventory/beefcake2/group_vars/all/models_computed.json").read_text(encoding="utf-8"))
MODELS = COMPUTED["herd_models_computed"]
V100 = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
HEAD, *WORKERS = ("vllm-node1", "vllm-node2", "vllm-node3")
FACTS: dict[str, Any] = {name: {"gpus": [V100], "memory_gib": 376} for name in (HEAD, *WORKERS)}
LARGEST = max(MODELS, key=lambda key: MODELS[key]["metadata"]["file_size"])
GIB = 1 << 30


def plan(key: str, facts: dict[str, Any] | None = None, memory_max: str = "", **settings: Any) -> dict[str, Any]:
    group = InventoryGroup(WORKERS, HEAD, facts or FACTS, True, 1024, memory_max)
    entry = {"name": key, **MODELS[key]}
    return inventory_placement.plan_for(entry, group, engine_arguments.merged(settings), "0c1e57098", {}, MODELS)


def with_nodes(key: str, count: int) -> Planner:
    metadata = inventory_placement.metadata_in(MODELS[key])
    assert metadata is not None
    group = InventoryGroup(WORKERS, HEAD, FACTS, True, 1024).group()
    fresh = tuple(replace(memory, free=memory.total) for memory in group.head.devices)
    more = tuple(PlacementHost(f"n{number}", fresh, f"n{number}:0") for number in range(count))
    settings = engine_arguments.merged({})
    return inventory_placement.planner_of(
        metadata, settings, PlacementGroup((*group.workers, *more), group.head), "0c1e57098"
    )


def test_least_number_of_nodes_is_named() -> None:
    found = plan(LARGEST)
    assert found["summary"].startswith("does not fit: needs 6")
    (remedy,) = found["remedies"]
    count = int(remedy.split()[0])
    assert with_nodes(LARGEST, count).plan().fits
    assert not with_nodes(LARGEST, count - 1).fits()


def test_planning_the_largest_model_takes_few_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = []
    original = compute_buffer.device_bytes

    def counted(*given: Any, **named: Any) -> int:
        followed.append(given)
        return original(*given, **named)

    monkeypatch.setattr(compute_buffer, "device_bytes", counted)
    plan(LARGEST)
    # A graph takes some milliseconds: these are a second at most.
    assert len(followed) < 200


def test_memory_of_the_head_gets_a_remedy_that_works() -> None:
    settings: dict[str, Any] = {"context": 4096, "load_mode": "lock", "cache_ram_mib": 8192}
    found = plan("or1-behemoth-q4_k_m", memory_max="4G", **settings)
    assert not found["fits"]
    assert "A prompt cache of 0 (cache_ram_mib) fits." in found["remedies"]
    assert not any("context" in remedy for remedy in found["remedies"])
    assert plan("or1-behemoth-q4_k_m", memory_max="4G", **{**settings, "cache_ram_mib": 0})["fits"]


def test_no_remedy_is_said() -> None:
    found = plan("or1-behemoth-q4_k_m", memory_max="64M")
    assert found["remedies"] == [remedies.NONE]
    assert f"remedy: {remedies.NONE}" in found["table"]


@pytest.mark.parametrize(
    ("host", "how"), [("vllm-node3", "take it out of the group rpc_worker"), (HEAD, "head_server_use_own_gpus: false")]
)
def test_full_gpu_is_left_out(host: str, how: str) -> None:
    facts = {**FACTS, host: {**FACTS[host], "free_mib": [0]}}
    found = plan("strand-rust-coder-14b-q8_0", facts, context=4096)
    assert not found["fits"]
    assert f"Without the devices of {host} it fits: {how}." in found["remedies"]


def test_named_context_fits_with_the_head() -> None:
    found = plan("or1-behemoth-q8_0", context=131072)
    context = int(next(text for text in found["remedies"] if text.startswith("A context of")).split()[3])
    assert plan("or1-behemoth-q8_0", context=context)["fits"]
    assert not plan("or1-behemoth-q8_0", context=context + 256)["fits"]


def test_devices_without_memory_end_the_search() -> None:
    metadata = inventory_placement.metadata_in(MODELS["strand-rust-coder-14b-q8_0"])
    assert metadata is not None
    host = PlacementHost("a", (DeviceCapacity(0, 0, True),), "a:1")
    settings = engine_arguments.merged({})
    planner = inventory_placement.planner_of(metadata, settings, PlacementGroup((host,), PlacementHost("h", ())), "0c")
    assert remedies.find(planner, {}) == [remedies.NONE]
