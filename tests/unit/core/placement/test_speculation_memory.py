# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of speculation equals the bytes that workers of 0c1e57098 allocated for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import (
    settings as speculation_settings,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import (
    LayerMetadata,
    ModelMetadata,
    from_data,
    metadata_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.placement import speculation
from ansible_collections.herd.inference.plugins.module_utils.core.placement.from_inventory import (
    InventoryGroup,
    planner_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.placement.kv_cache import state_bytes
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import PlacementPlan
from tests.engine.generated.attention import glm4_moe, llama
from tests.engine.generated.model import Q8_0, Dense, header_of

MIB = 1 << 20
#: What the workers allocated for the draft of two layers: weights, cache and compute buffer.
D2_WEIGHTS, D2_CACHE, D2_CACHE_Q8, D2_COMPUTE = 19534848, 4194304, 2228224, 10496032
#: The block of glm4moe: weights, cache, and its compute buffer on two devices.
BLOCK, BLOCK_CACHE, BLOCK_COMPUTE = 8401984, 2097152, 34644096


@cache
def model(name: str) -> ModelMetadata:
    made = {
        "t12": llama("t12", Dense(12, 1024, 16, 8, 64, 2816)),
        "d2": llama("d2", Dense(2, 256, 8, 4, 32, 768)),
        "small4": llama("small4", Dense(4, 512, 8, 4, 64, 1536)),
        "glm4moe": glm4_moe("glm4moe", Dense(8, 512, 8, 2, 64, 1536, kinds=Q8_0), 16),
        "other": llama("other", Dense(2, 256, 8, 4, 32, 768, 31000)),
    }
    return metadata_of(header_of(made[name]))


def entries() -> dict[str, Any]:
    return {name: {"file": f"{name}.gguf", "metadata": model(name).to_data()} for name in ("d2", "other")}


def plan(
    name: str, given: dict[str, Any] | None, workers: int = 2, release: str = "0c1e57098", **more: Any
) -> PlacementPlan:
    names = [f"w{number}" for number in range(workers)]
    settings = engine_arguments.merged({"context": 4096, "batch": 512, **more, "speculation": given})
    group = InventoryGroup(names, "h", {name: {"memory_gib": 16} for name in (*names, "h")}).group()
    metadata = model(name)
    planner = planner_of(metadata, settings, group, release, entries())
    half = -(-(len(metadata.layers) + 1) // 2)
    split = {"w0": half, "w1": len(metadata.layers) - half} if workers == 2 else {"w0": len(metadata.layers)}
    return planner.plan(split)


def draft(**more: Any) -> dict[str, Any]:
    return {"types": ["draft-simple"], "file": "/opt/models/d2.gguf", **more}


def further(found: PlacementPlan) -> list[int]:
    return [device.further for device in found.devices]


def computes(found: PlacementPlan) -> list[int]:
    return [device.compute for device in found.devices]


@pytest.mark.parametrize(("cache_type", "cache"), [("f16", D2_CACHE), ("q8_0", D2_CACHE_Q8)])
def test_draft_on_a_worker_equals_the_measured_bytes(cache_type: str, cache: int) -> None:
    found = plan("t12", draft(device="RPC0", cache_type_k=cache_type, cache_type_v=cache_type))
    assert further(found) == [D2_WEIGHTS + cache + D2_COMPUTE, 0]
    assert [round(size / MIB, 2) for size in (D2_WEIGHTS, D2_CACHE, D2_COMPUTE)] == [18.63, 4.0, 10.01]
    assert computes(found) == [48799744, 48799872]


def test_draft_keeps_f16_beside_a_quantised_model() -> None:
    found = plan("t12", draft(device="RPC1"), cache_type_k="q8_0", cache_type_v="q8_0")
    assert further(found) == [0, D2_WEIGHTS + D2_CACHE + D2_COMPUTE]


def test_draft_has_the_whole_context_of_all_slots() -> None:
    found = plan("t12", draft(device="RPC0"), context=1024, slots=4, unified_cache=True)
    assert further(found)[0] - D2_WEIGHTS - D2_COMPUTE == D2_CACHE


def test_draft_on_the_processor_is_in_the_memory_of_the_head_only() -> None:
    plain, found = plan("t12", None), plan("t12", draft(device="none"))
    assert further(found) == [0, 0]
    # Measured: a cache of 4 MiB and a compute buffer of 10.51 MiB. The rest is a vocabulary, and four rows of logits.
    vocabulary = 12 * model("d2").header + 4 * 4 * 32000
    assert round((found.head.own - plain.head.own - vocabulary) / MIB, 2) == 4 + 10.51
    assert found.head.mapped - plain.head.mapped == model("d2").file_size


@pytest.mark.parametrize(
    ("given", "rows", "compute"),
    [
        (None, 1, 15769728),
        ({"types": ["ngram-simple"]}, 49, 19097472),
        ({"types": ["ngram-mod"]}, 65, 21211264),
        ({"types": ["ngram-mod"], "ngram_min": 2, "ngram_max": 48}, 49, 19097472),
    ],
)
def test_rows_of_logits_equal_the_measured_bytes(given: dict[str, Any] | None, rows: int, compute: int) -> None:
    settings = engine_arguments.merged({"context": 2048, "speculation": given})
    group = InventoryGroup(["w0", "w1"], "h", {name: {"memory_gib": 16} for name in ("w0", "w1", "h")}).group()
    planner = planner_of(model("small4"), settings, group, "0c1e57098")
    assert planner.request.cache.outputs == rows
    # Three layers and one: the engine's split by equal shares.
    assert [device.compute for device in planner.place({"w0": 3, "w1": 1})] == [25206784, compute]


def test_table_of_ngram_mod_is_in_the_memory_of_the_head() -> None:
    simple, mod = plan("t12", {"types": ["ngram-simple"]}), plan("t12", {"types": ["ngram-mod"], "ngram_max": 48})
    assert mod.head.own - simple.head.own == 16 * MIB


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, BLOCK + BLOCK_CACHE + BLOCK_COMPUTE),
        ({"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, BLOCK + 1114112 + 33824896),
    ],
    ids=["f16", "q8_0"],
)
def test_block_equals_the_measured_bytes(given: dict[str, Any], expected: int) -> None:
    plain, found = plan("glm4moe", None), plan("glm4moe", {"types": ["draft-mtp"], **given})
    assert further(found) == [0, expected]
    assert [round(size / MIB, 2) for size in (BLOCK, BLOCK_CACHE, BLOCK_COMPUTE)] == [8.01, 2.0, 33.04]
    assert computes(found) == computes(plain) == [32546816, 29499520]
    assert found.head.own > plain.head.own + 21.05 * MIB


def test_block_on_one_worker_has_one_copy_of_its_inputs() -> None:
    assert further(plan("glm4moe", {"types": ["draft-mtp"]}, workers=1)) == [BLOCK + BLOCK_CACHE + 14690336]


def test_unknown_block_gets_an_upper_bound() -> None:
    known = model("glm4moe")
    data = known.to_data()
    del data["details"]
    settings = engine_arguments.merged({"context": 4096, "speculation": {"types": ["draft-mtp"]}})
    group = InventoryGroup(["w0", "w1"], "h", {name: {"memory_gib": 16} for name in ("w0", "w1", "h")}).group()
    found = planner_of(from_data(data), settings, group, "0c1e57098").place({"w0": 4, "w1": 4})
    assert BLOCK + BLOCK_CACHE + BLOCK_COMPUTE < found[1].further < 3 * (BLOCK + BLOCK_CACHE + BLOCK_COMPUTE)


def test_metadata_keeps_the_block() -> None:
    known = model("glm4moe")
    (block,) = known.predictors
    assert (block.weights, block.kv_heads, block.experts_used) == (BLOCK, 2, 4)
    assert from_data(known.to_data()) == known
    with pytest.raises(InvalidInputError, match="for its 1 blocks that predict further tokens"):
        from_data({**known.to_data(), "predictors": [{"weights": 1, "weights_cuda": 1}] * 2})


def test_states_of_recurrent_layers_grow_with_the_tokens_of_blocks() -> None:
    cache = engine_cache()
    layer = LayerMetadata(0, 0, state=1000)
    assert state_bytes(layer, cache) == 4000
    assert state_bytes(layer, replace(cache, rollbacks=3, slots=2)) == 4 * 4000 * 2
    assert speculation_settings.rollbacks({"types": ["draft-mtp"], "n_max": 3}) == 3
    assert speculation_settings.rollbacks({"types": ["draft-simple"], "n_max": 3}) == 0


@pytest.mark.parametrize(
    ("name", "given", "release", "says"),
    [
        ("t12", {"types": ["draft-mtp"]}, "0c1e57098", "blocks that predict further tokens"),
        ("t12", {"types": ["draft-simple"], "file": "/m/other.gguf"}, "0c1e57098", "31000 tokens in other"),
        ("t12", {"types": ["ngram-mod"]}, "b7836", "b7836, which does not know the setting speculation"),
        ("t12", draft(device="RPC7"), "0c1e57098", "the draft's device among RPC0, RPC1 and none"),
    ],
)
def test_plan_refuses_what_would_be_off(name: str, given: dict[str, Any], release: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        plan(name, given, release=release)


def test_kept_context_counts_draft_and_block() -> None:
    cache = engine_cache()
    of_draft = speculation.Speculation(draft=model("d2"))
    assert speculation.context_bytes(model("t12"), of_draft, cache) == D2_CACHE
    assert speculation.context_bytes(model("glm4moe"), speculation.Speculation(predicts=True), cache) == BLOCK_CACHE
    assert speculation.context_bytes(model("t12"), speculation.Speculation(), cache) == 0


def engine_cache() -> Any:
    settings = engine_arguments.merged({"context": 4096})
    group = InventoryGroup(["w0"], "h", {name: {"memory_gib": 16} for name in ("w0", "h")}).group()
    return planner_of(model("d2"), settings, group, "0c1e57098").request.cache
