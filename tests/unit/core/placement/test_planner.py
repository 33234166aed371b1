# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for the cluster of the documents and for others: what fits, what does not, and what would."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import ModelMetadata, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import host_memory
from ansible_collections.herd.inference.plugins.module_utils.core.placement.context_search import largest_context
from ansible_collections.herd.inference.plugins.module_utils.core.placement.from_inventory import (
    InventoryGroup,
    limit_bytes,
    metadata_in,
    plan_for,
)
from ansible_collections.herd.inference.plugins.module_utils.core.placement.kv_cache import CacheSettings
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import (
    DeviceCapacity,
    PlacementGroup,
    PlacementHost,
    PlacementRequest,
    Planner,
    rules_of,
)
from tests.engine.generated.attention import llama, qwen2
from tests.engine.generated.model import Q4_K, Q8_0, Dense, header_of

GIB, MIB = 1 << 30, 1 << 20
V100S = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
WORKERS, HEAD = ["vllm-node2", "vllm-node3"], "vllm-node1"
FACTS = {name: {"gpus": [V100S], "memory_gib": 376} for name in (*WORKERS, HEAD)}
Q8_4K = {"context": 4096, "load_mode": "lock"}
Q4_128K = {
    "context": 131072, "batch": 512, "cache_type_k": "q4_0", "cache_type_v": "q4_0", "flash_attention": "on",
}  # fmt: skip


@cache
def model_72b(kinds: tuple[str, str, str]) -> ModelMetadata:
    """The model of the documents: 80 layers of 8192, eight key heads, 152064 words."""
    return metadata_of(header_of(qwen2("72b", Dense(80, 8192, 64, 8, 128, 29568, 152064, kinds))))


def entry(kinds: tuple[str, str, str]) -> dict[str, Any]:
    return {"name": "72b", "layers": 80, "metadata": model_72b(kinds).to_data()}


def plan(
    kinds: tuple[str, str, str], settings: dict[str, Any], split: dict[str, int] | None = None, **site: Any
) -> dict[str, Any]:
    given = {"workers": WORKERS, "head": HEAD, "facts": FACTS, "reserve_mib": 1024, **site}
    models = {"q8": entry(Q8_0), "q4": entry(Q4_K)}
    return plan_for(
        entry(kinds), InventoryGroup(**given), engine_arguments.merged(settings), "0c1e57098", split or {}, models
    )


@pytest.mark.parametrize(("kinds", "settings"), [(Q8_0, Q8_4K), (Q4_K, Q4_128K)])
def test_documented_choice_fits(kinds: tuple[str, str, str], settings: dict[str, Any]) -> None:
    found = plan(kinds, settings)
    assert found["fits"]
    assert found["split"] == {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27}
    assert found["tensor_split"] == [27, 27, 27]
    assert [device["name"] for device in found["devices"]] == ["RPC0", "RPC1", "CUDA0"]
    assert all(device["left"] > 2 * GIB and device["modelled"] for device in found["devices"])


def test_eight_bits_with_long_context_get_remedies() -> None:
    found = plan(Q8_0, {"context": 131072})
    assert not found["fits"]
    assert all(device["left"] < 0 for device in found["devices"])
    assert "device RPC0 on vllm-node2: expected room for " in found["problems"][0]
    words = " ".join(found["remedies"])
    for remedy in ("A context of", "q4_0 for keys and values", "The quantisation Q4_K_M", "One more node like"):
        assert remedy in words
    context = found["largest_context"]
    assert 40000 < context < 131072
    assert plan(Q8_0, {"context": context}, found["split"])["fits"]
    assert not plan(Q8_0, {"context": context + 256}, found["split"])["fits"]


def test_fitting_entry_of_same_model_is_a_remedy() -> None:
    found = plan(Q8_0, {"context": 65536})
    assert not found["fits"]
    assert any(remedy.startswith("The entry q4 of herd_models fits") for remedy in found["remedies"])
    assert plan(Q4_K, {"context": 65536})["fits"]


def test_plan_compares_entries_of_same_model() -> None:
    found = plan(Q8_0, Q8_4K)
    small, large = sorted(found["comparison"], key=lambda other: other["bytes_per_token"])
    assert (small["model"], large["model"]) == ("q4", "q8")
    # 75.9 GB a token over 1134 GB/s.
    assert large["bytes_per_token"] == pytest.approx(75.9e9, rel=0.01)
    assert large["tokens_per_second_at_most"] == pytest.approx(14.9, abs=0.1)
    assert "only a benchmark says what is reached" in found["table"]


def test_explicit_split_is_checked() -> None:
    found = plan(Q8_0, Q8_4K, {"vllm-node1": 10, "vllm-node2": 60, "vllm-node3": 10})
    assert [device["layers"] for device in found["devices"]] == [60, 10, 10]
    assert not found["fits"] and not found["split_replaced"]
    with pytest.raises(InvalidInputError, match="a number of layers for each host"):
        plan(Q8_0, Q8_4K, {"vllm-node1": 40, "vllm-node2": 40})


def test_split_of_another_model_is_planned_anew() -> None:
    metadata = metadata_of(header_of(llama("small", Dense(48, vocabulary=1000))))
    small = {"name": "small", "layers": 48, "metadata": metadata.to_data()}
    split = {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27}
    site = InventoryGroup(WORKERS, HEAD, FACTS)
    found = plan_for(small, site, engine_arguments.merged({}), "0c1e57098", split, {"q8": entry(Q8_0), "s": small})
    assert found["fits"] and found["split_replaced"] and found["split_models"] == ["q8"]
    assert sum(found["split"].values()) == 48
    assert "the given split has 80 layers and this model has 48" in found["warnings"][0]
    # A sum that no model has is planned too, and is told apart.
    typo = {**split, "vllm-node1": 25}
    found = plan_for(small, site, engine_arguments.merged({}), "0c1e57098", typo, {"q8": entry(Q8_0)})
    assert found["split_replaced"] and found["split_models"] == []


def test_first_line_tells_need_and_room() -> None:
    fitting, large = plan(Q8_0, Q8_4K), plan(Q8_0, {"context": 131072})
    assert fitting["table"].splitlines()[0] == fitting["summary"]
    # The sums of the table: 25938 + 25938 + 26295 MiB, and 3 * 32276 MiB without the reserve of 1 GiB on each GPU.
    assert fitting["summary"] == "fits: needs 76.3 GiB on 3 devices, has 91.6 GiB"
    assert sum(device["total"] for device in fitting["devices"]) / 2**30 == pytest.approx(76.3, abs=0.05)
    assert large["summary"] == "does not fit: needs 116.5 GiB on 3 devices, has 91.6 GiB"
    assert sum(device["total"] for device in large["devices"]) / 2**30 == pytest.approx(116.5, abs=0.05)


@pytest.mark.parametrize("memory_gib", [64, 376])
def test_processor_beside_gpus_gets_the_least_layers(memory_gib: float) -> None:
    facts = {**FACTS, "vllm-node2": {"memory_gib": memory_gib}}
    found = plan(Q4_K, {"context": 4096}, facts=facts)
    assert found["fits"] and found["split"] == {"vllm-node2": 1, "vllm-node3": 40, "vllm-node1": 39}
    assert found["remedies"] == []


def test_smaller_gpu_gets_fewer_layers() -> None:
    facts = {**FACTS, "vllm-node2": {"gpus": [{"name": "T4", "memory_mib": 16384}], "memory_gib": 64}}
    found = plan(Q4_K, {"context": 4096}, facts=facts)
    assert found["fits"]
    # Its memory is slower, and the two others hold nearly all.
    assert found["split"] == {"vllm-node2": 1, "vllm-node3": 40, "vllm-node1": 39}


@pytest.mark.parametrize(
    "change",
    [
        {"free_mib": [20000]},
        {"gpus": [{**V100S, "free_mib": 20000}]},
        {"gpus": [{**V100S, "reserved_mib": 12276}]},
    ],
)
def test_used_or_reserved_gpu_gets_fewer_layers(change: dict[str, Any]) -> None:
    found = plan(Q4_K, {"context": 4096}, facts={**FACTS, "vllm-node3": {**FACTS["vllm-node3"], **change}})
    assert found["fits"]
    assert found["split"]["vllm-node3"] < found["split"]["vllm-node2"] - 5


def test_gpus_of_worker_share_its_layers() -> None:
    facts = {**FACTS, "vllm-node2": {"gpus": [V100S, V100S], "memory_gib": 376}}
    found = plan(Q8_0, Q8_4K, facts=facts)
    assert [(device["name"], device["host"]) for device in found["devices"]] == [
        ("RPC0", "vllm-node2"), ("RPC1", "vllm-node2"), ("RPC2", "vllm-node3"), ("CUDA0", "vllm-node1"),
    ]  # fmt: skip
    assert found["split"]["vllm-node2"] in (40, 41)


def test_cpu_workers_use_host_memory() -> None:
    facts = {name: {"gpus": [], "memory_gib": 4} for name in (*WORKERS, HEAD)}
    metadata = metadata_of(header_of(llama("small", Dense(8, vocabulary=1000))))
    found = plan_for(
        {"name": "small", "layers": 8, "metadata": metadata.to_data()},
        InventoryGroup(WORKERS, HEAD, facts),
        engine_arguments.merged({"context": 2048, "slots": 2}),
        "0c1e57098",
        {},
        {},
    )
    assert found["fits"] and found["split"] == {"vllm-node2": 4, "vllm-node3": 4}
    assert not any(device["modelled"] or device["overhead"] for device in found["devices"])
    assert "CUDA is modelled" not in found["table"]


@pytest.mark.parametrize(
    ("limit", "fits"), [("", True), ("infinity", True), ("200G", True), ("64G", True), ("1G", False)]
)
def test_memory_limit_of_head_is_checked(limit: str, fits: bool) -> None:
    found = plan(Q8_0, Q8_4K, memory_max=limit)
    assert found["fits"] == fits
    # The file is larger than 64 GiB: under that limit its pages do not stay, under 200 they do.
    assert 64 * GIB < found["head"]["comfortable"] < 200 * GIB
    assert found["head"]["least"] < 8 * GIB
    if not fits:
        assert "raise head_server_memory_max" in found["problems"][0]


def test_limit_of_the_head_covers_file_context_and_prompts() -> None:
    found = plan(Q8_0, Q8_4K)
    context = sum(device["cache"] + device["state"] for device in found["devices"])
    need = (found["head"]["comfortable"] + context) / GIB
    # 74.1 GiB with the file, 1.3 GiB of context, and a quarter more.
    assert (round(need, 1), found["memory_max"]) == (75.3, "95G")


@pytest.mark.parametrize(
    ("need", "least", "memory", "gib"),
    [
        (58 * GIB, 3 * GIB, 0, 73),
        (58 * GIB, 3 * GIB, 376 * GIB, 73),
        # Within 90 % of the host's memory, and never below what the process needs.
        (58 * GIB, 3 * GIB, 64 * GIB, 57),
        (58 * GIB, 62 * GIB, 64 * GIB, 62),
        (0, 1, 0, 1),
    ],
)
def test_limit_of_a_service_is_within_its_host(need: int, least: int, memory: int, gib: int) -> None:
    assert host_memory.service_limit_gib(need, least, memory) == gib


@pytest.mark.parametrize(("text", "size"), [("200G", 200 * GIB), ("512M", 512 * MIB), ("1024", 1024), ("", 0)])
def test_systemd_memory_limits_are_parsed(text: str, size: int) -> None:
    assert limit_bytes(text) == size


def test_invalid_memory_limit_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="200G"):
        limit_bytes("80%")


def test_model_without_metadata_is_not_planned() -> None:
    site = InventoryGroup(WORKERS, HEAD, FACTS)
    split = {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27}
    found = plan_for({"name": "x", "layers": 80}, site, engine_arguments.merged({}), "0c1e57098", split, {})
    assert (found["known"], found["fits"], found["split"]) == (False, True, split)
    assert "lock_models.yml" in found["table"]


def test_layers_of_entry_and_file_must_agree() -> None:
    with pytest.raises(InvalidInputError, match="80 layers"):
        metadata_in({**entry(Q8_0), "layers": 79})


def test_unknown_architecture_gets_bound_and_warning() -> None:
    known = model_72b(Q4_K)
    host = PlacementHost("a", (DeviceCapacity(64 * GIB, 64 * GIB, False),), "a:1")
    group = PlacementGroup((host, replace(host, name="b")), PlacementHost("h", ()))
    request = PlacementRequest(CacheSettings(8192))
    plans = [
        Planner(metadata, request, group, rules_of("0c1e57098"))
        for metadata in (known, replace(known, architecture="novel"))
    ]
    first, second = (planner.plan() for planner in plans)
    assert all(b.compute > a.compute for a, b in zip(first.devices, second.devices, strict=True))
    assert not first.warnings
    assert "was not measured" in second.warnings[0]


def test_context_beyond_training_is_a_warning() -> None:
    found = plan(Q4_K, {**Q4_128K, "context": 262144})
    assert any("trained" in text for text in found["warnings"])


@pytest.mark.parametrize(("release", "is_old"), [("b7760", True), ("b7836", True), ("0c1e57098", False)])
def test_rules_depend_on_release(release: str, is_old: bool) -> None:
    assert rules_of(release).reserves_logits == is_old


def test_no_context_fits_without_room_for_weights() -> None:
    host = PlacementHost("a", (DeviceCapacity(8 * GIB, 8 * GIB, False),), "a:1")
    planner = Planner(
        model_72b(Q4_K),
        PlacementRequest(CacheSettings(4096)),
        PlacementGroup((host,), PlacementHost("h", ())),
        rules_of("0c1e57098"),
    )
    assert largest_context(planner) == 0


def test_host_without_facts_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="herd_gpus or herd_memory_gib for vllm-node2"):
        plan(Q8_0, Q8_4K, facts={HEAD: FACTS[HEAD]})
