# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that change memory change the plan, or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.engine.device_order import PlacedDevice
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement.from_inventory import (
    InventoryGroup,
    plan_for,
)
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense, header_of
from tests.engine.models import models
from tests.unit.core.engine.flags.flag_lines import NEW, OLD

MIB = 1 << 20
MODELS = {model.name: model for model in models()}
WORKERS = ["a", "b"]
FACTS = {name: {"memory_gib": 16} for name in (*WORKERS, "h")}
GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
#: The draft of 2 layers that was measured beside a model of 12.
DRAFT = metadata_of(header_of(llama("d2", Dense(2, 256, 8, 4, 32, 768, 32000))))
MODEL_OF_DRAFT: dict[str, Any] = {"speculation": {"types": ["draft-simple"], "file": "/opt/models/d2.gguf"}}
ENTRIES = {"d2": {"name": "d2", "file": "d2.gguf", "layers": 2, "metadata": DRAFT.to_data()}}


def plan(name: str, facts: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    metadata = metadata_of(header_of(MODELS[name]))
    entry = {"name": name, "layers": len(metadata.layers), "metadata": metadata.to_data()}
    merged = engine_arguments.merged({"context": 8192, **settings})
    return plan_for(entry, InventoryGroup(WORKERS, "h", facts or FACTS), merged, "0c1e57098", {}, ENTRIES)


def totals(found: dict[str, Any], key: str = "total") -> list[int]:
    return [device[key] for device in found["devices"]]


def test_full_window_takes_the_whole_context_in_every_layer() -> None:
    windowed, full = plan("gemma3"), plan("gemma3", full_window=True)
    assert sum(totals(full, "cache")) > 2 * sum(totals(windowed, "cache"))
    layers = [device["layers"] for device in full["devices"]]
    # All layers are equal then.
    assert full["devices"][0]["cache"] * layers[1] == full["devices"][1]["cache"] * layers[0]
    assert full["head"]["caches"] < windowed["head"]["caches"]


def test_unified_cache_has_one_stream() -> None:
    separate, unified = plan("llama", context=1000, slots=3), plan("llama", context=1000, slots=3, unified_cache=True)
    # Three streams of 1024 cells; one of 3072, with masks three times as wide.
    assert totals(separate, "cache") == totals(unified, "cache")
    assert totals(unified, "compute") > totals(separate, "compute")


def test_projector_is_on_the_first_device() -> None:
    plain = plan("llama")
    found = plan("llama", projector={"file": "/opt/models/p.gguf", "mib": 800, "compute_mib": 300})
    assert totals(found, "further") == [1100 * MIB, 0]
    assert sum(totals(found)) == pytest.approx(sum(totals(plain)) + 1100 * MIB, abs=64 * MIB)
    assert "1100 MiB of the total for projector, adapters and speculation" in found["table"]


def test_adapters_are_charged_to_every_device() -> None:
    found = plan("llama", adapters=[{"file": "/a.gguf", "mib": 5}, {"file": "/b.gguf", "mib": 7}])
    assert all(size >= 12 * MIB for size in totals(found, "further"))
    # The measured adapter of 0.37 MiB took 0.28 and 0.09 of weights and 0.016 of compute: far below its bound.
    assert max(totals(found, "further")) < 64 * MIB


def test_draft_on_a_gpu_takes_its_weights_cache_and_buffer() -> None:
    facts = {**FACTS, "h": {"gpus": [GPU], "memory_gib": 16}}
    plain, found = plan("llama", facts, context=4096), plan("llama", facts, context=4096, **MODEL_OF_DRAFT)
    assert totals(plain, "further") == [0, 0, 0]
    first, second, own = totals(found, "further")
    assert (first, second) == (0, 0)
    # Measured on one worker: weights 18.63 MiB, cache 4, compute 10.01. CUDA's own share is on top.
    assert (18.63 + 4 + 10.01) * MIB < own < 200 * MIB


def test_draft_without_a_gpu_is_in_the_memory_of_the_head() -> None:
    plain, found = plan("llama", context=4096), plan("llama", context=4096, **MODEL_OF_DRAFT)
    assert totals(found, "further") == [0, 0]
    # Measured: cache 4 MiB, compute 10.51, mapped weights 34.25 of which 15.62 are the embeddings.
    assert found["head"]["own"] - plain["head"]["own"] > (4 + 10.51) * MIB
    assert found["head"]["mapped"] - plain["head"]["mapped"] == DRAFT.file_size
    locked = plan("llama", context=4096, load_mode="lock", **MODEL_OF_DRAFT)
    assert locked["head"]["own"] - plain["head"]["own"] > (4 + 10.51 + 34) * MIB


def test_draft_without_metadata_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"an entry of herd_models with the file x\.gguf of the draft"):
        plan("llama", speculation={"types": ["draft-simple"], "file": "/opt/models/x.gguf"})


def test_layers_on_the_processor_are_refused() -> None:
    layers = MODELS["llama"].layers
    with pytest.raises(InvalidInputError, match=f"gpu_layers of at least {layers + 1}"):
        plan("llama", gpu_layers=layers)
    assert plan("llama", gpu_layers=layers + 1)["fits"]


def words(accepted: frozenset[str], last: str = "", **settings: Any) -> list[str]:
    devices = [PlacedDevice("RPC0", "a", "a:1", 4), PlacedDevice("CUDA0" if not last else "RPC1", "b", last, 5)]
    merged = engine_arguments.merged(settings)
    return engine_arguments.head_arguments(merged, devices, accepted, "/m", "m", ("10.0.0.1", 80), "/k")


@pytest.mark.parametrize("accepted", [NEW, OLD], ids=["new", "old"])
def test_settings_are_written_as_flags(accepted: frozenset[str]) -> None:
    argv = words(accepted, unified_cache=True, full_window=True, adapters=[{"file": "/a", "mib": 1}])
    assert "--kv-unified" in argv and "--swa-full" in argv
    assert argv[argv.index("--lora") + 1] == "/a"
    assert not {"--kv-unified", "--swa-full", "--lora", "--mmproj", "--spec-type"} & set(words(accepted))


def test_projector_and_draft_name_their_devices() -> None:
    projector = {"file": "/p", "mib": 1, "compute_mib": 1}
    argv = words(NEW, projector=projector, **MODEL_OF_DRAFT)
    for flag, value in (
        ("--mmproj", "/p"), ("--mmproj-device", "RPC0"), ("--spec-type", "draft-simple"),
        ("--spec-draft-model", "/opt/models/d2.gguf"), ("--spec-draft-n-max", "3"), ("--spec-draft-device", "CUDA0"),
    ):  # fmt: skip
        assert argv[argv.index(flag) + 1] == value
        assert flag in NEW
    on_worker = words(NEW, last="b:1", **MODEL_OF_DRAFT)
    assert on_worker[on_worker.index("--spec-draft-device") + 1] == "none"


@pytest.mark.parametrize(
    "settings", [MODEL_OF_DRAFT, {"projector": {"file": "/p", "mib": 1, "compute_mib": 1}}], ids=["draft", "projector"]
)
def test_release_without_a_device_for_it_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="use 0c1e57098"):
        words(OLD, **settings)
    with pytest.raises(InvalidInputError, match="gpu_layers of at least 10"):
        words(NEW, gpu_layers=9)
