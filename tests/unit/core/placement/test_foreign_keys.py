# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers with keys of another kind of model, which the engine accepts: each is planned or refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import Header
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory
from tests.engine.generated.model import header_of
from tests.engine.models import models

MODELS = {model.name: model for model in models()}
GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
FACTS = {"w1": {"gpus": [GPU], "memory_gib": 64, "port": 50052}, "head": {"gpus": [GPU], "memory_gib": 64}}
RECURRENT = ("jamba", "falcon-h1", "granitehybrid", "qwen3next", "nemotron_h", "mamba", "mamba2")


def changed(name: str, without: str = "", **keys: int) -> Header:
    """Remove keys with a prefix, and add others."""
    header = header_of(MODELS[name])
    kept = {key: value for key, value in header.metadata.items() if not without or f".{without}" not in key}
    added = {f"{MODELS[name].architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    return replace(header, metadata={**kept, **added})


def planned(header: Header, release: str) -> Any:
    group = from_inventory.InventoryGroup(["w1"], "head", FACTS).group()
    settings = engine_arguments.merged({"context": 4096})
    return from_inventory.planner_of(metadata_of(header), settings, group, release).plan()


@pytest.mark.parametrize("release", ["b7836", "0c1e57098"])
@pytest.mark.parametrize("name", MODELS)
def test_short_convolution_of_another_architecture_is_planned(name: str, release: str) -> None:
    """The engine reads the key of lfm2 only, so that the plan has no less than without it."""
    without, with_key = planned(changed(name), release), planned(changed(name, shortconv__l_cache=3), release)
    for less, more in zip(without.devices, with_key.devices, strict=True):
        assert more.total >= less.total


@pytest.mark.parametrize("name", RECURRENT)
def test_short_convolution_does_not_replace_the_keys_of_a_recurrence(name: str) -> None:
    """The first run of the fuzzer ended here in a KeyError."""
    try:
        plan = planned(changed(name, without="ssm.", shortconv__l_cache=3), "0c1e57098")
    except InvalidInputError as error:
        assert "ssm." in str(error)
    else:
        assert all(device.total > 0 for device in plan.devices if device.layers)


@pytest.mark.parametrize("release", ["b7836", "0c1e57098"])
def test_layer_without_a_matrix_of_its_experts_is_planned(release: str) -> None:
    """Plan gpt-oss by the bound if a layer lacks experts. The fuzzer found an IndexError here."""
    header = header_of(MODELS["gpt-oss"])
    tensors = tuple(tensor for tensor in header.tensors if tensor.name != "blk.4.ffn_down_exps.weight")
    plan = planned(replace(header, tensors=tensors), release)
    assert all(device.compute > 0 for device in plan.devices if device.layers)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if "expert_count" in model.metadata])
def test_metadata_without_the_number_of_used_experts_is_planned(name: str) -> None:
    """Plan the inventory's metadata by the bound where the graph lacks a number."""
    metadata = metadata_of(header_of(MODELS[name]))
    layers = tuple(replace(layer, experts_used=0) for layer in metadata.layers)
    group = from_inventory.InventoryGroup(["w1"], "head", FACTS).group()
    settings = engine_arguments.merged({"context": 4096})
    given = from_data(replace(metadata, layers=layers).to_data())
    plan = from_inventory.planner_of(given, settings, group, "0c1e57098").plan()
    assert all(device.compute > 0 for device in plan.devices if device.layers)
