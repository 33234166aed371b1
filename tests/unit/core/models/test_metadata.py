# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a model, from its header and from an inventory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import Header, Tensor, Value
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement.graph.device_graph import is_followed
from tests.engine.generated.model import Model, header_of
from tests.engine.models import models, published

MODELS = {model.name: model for model in (*models(), *published())}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_metadata_survives_an_inventory(model: Model) -> None:
    metadata = metadata_of(header_of(model))
    data = metadata.to_data()
    assert from_data(json.loads(json.dumps(data))) == metadata
    assert from_data(yaml.safe_load(yaml.safe_dump(data))) == metadata
    assert len(json.dumps(data)) < 3000


def test_equal_layers_are_written_once() -> None:
    data = metadata_of(header_of(MODELS["qwen3moe"])).to_data()
    assert data["layers"] == "8*0"
    assert len(data["kinds"]) == 1


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("gemma2", [True, False] * 4),
        ("gemma3", [layer % 6 < 5 for layer in range(13)]),
        ("gpt-oss", [True, False] * 4),
        # Its window is in the header, and the engine does not use it.
        ("phi-window", [False] * 8),
        ("llama", [False] * 9),
    ],
)
def test_windows_are_those_of_the_engine(name: str, windows: list[bool]) -> None:
    assert [layer.window for layer in metadata_of(header_of(MODELS[name])).layers] == windows


def test_pattern_in_the_file_has_priority() -> None:
    header = header_of(MODELS["gemma3"])
    pattern = [layer % 2 == 0 for layer in range(13)]
    given = replace(header, metadata={**header.metadata, "gemma3.attention.sliding_window_pattern": tuple(pattern)})
    assert [layer.window for layer in metadata_of(given).layers] == pattern


@pytest.mark.parametrize(
    ("name", "attending", "recurrent"),
    [
        ("mamba", [], list(range(10))),
        ("jamba", [2, 6], [0, 1, 3, 4, 5, 7, 8]),
        ("falcon-h1", list(range(8)), list(range(8))),
        ("granitehybrid", [3, 8], [0, 1, 2, 4, 5, 6, 7, 9, 10]),
        ("qwen3next", [3, 7], [0, 1, 2, 4, 5, 6]),
        ("nemotron_h", [3, 7, 11], [0, 2, 4, 6, 8, 10]),
        ("lfm2", [2, 5, 8], [0, 1, 3, 4, 6, 7, 9]),
    ],
)
def test_kinds_of_layers_are_detected(name: str, attending: list[int], recurrent: list[int]) -> None:
    layers = metadata_of(header_of(MODELS[name])).layers
    assert [number for number, layer in enumerate(layers) if layer.kv_heads] == attending
    assert [number for number, layer in enumerate(layers) if layer.state] == recurrent


def test_tied_embeddings_are_copied_to_the_device_of_the_output() -> None:
    tied = metadata_of(header_of(MODELS["qwen3"]))
    assert tied.output - tied.local == 512 * 4


def test_latent_cache_has_no_values() -> None:
    latent, full = metadata_of(header_of(MODELS["deepseek2"])), metadata_of(header_of(MODELS["deepseek2-full"]))
    assert {(layer.kv_heads, layer.key, layer.value) for layer in latent.layers} == {(1, 320, 0)}
    assert {(layer.kv_heads, layer.key, layer.value) for layer in full.layers} == {(8, 128, 64)}


def test_prediction_block_is_counted_but_not_loaded() -> None:
    layers = metadata_of(header_of(MODELS["glm4moe"])).layers
    assert [layer.loaded for layer in layers] == [True] * 7 + [False]
    assert layers[-1].weights == layers[-1].kv_heads == 0


def test_graph_of_unmeasured_architecture_is_not_followed() -> None:
    header = header_of(MODELS["llama"])
    renamed = {key.replace("llama.", "novel."): value for key, value in header.metadata.items()}
    metadata = metadata_of(replace(header, metadata={**renamed, "general.architecture": "novel"}))
    assert not is_followed(metadata)
    assert metadata.layers == metadata_of(header).layers


def test_cuda_pads_rows_and_tensors() -> None:
    # A q4_0 matrix of rows of 768 weights: 256 more to the next step of 512, and all to 128 bytes.
    tensor = Tensor("blk.0.ffn_down.weight", "q4_0", (768, 10), 0, 768 * 10 // 32 * 18)
    embeddings = Tensor("token_embd.weight", "f16", (64, 10), 0, 64 * 10 * 2)
    metadata: dict[str, Value] = {
        "general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 64,
        "llama.attention.head_count": 1,
    }  # fmt: skip
    header = Header(3, "little", 32, metadata, (embeddings, tensor), 0, 10000)
    layer = metadata_of(header).layers[0]
    assert layer.weights == 4320
    assert layer.weights_cuda == -(-(4320 + 256 // 32 * 18) // 128) * 128


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"general.architecture": ""}, "none"),
        ({"llama.block_count": None}, "none"),
        ({"llama.block_count": 0}, "block_count of 0"),
        ({"llama.embedding_length": "wide"}, "'wide'"),
    ],
)
def test_incomplete_header_is_an_error(change: dict[str, Value | None], found: str) -> None:
    header = header_of(MODELS["llama"])
    metadata = {key: value for key, value in {**header.metadata, **change}.items() if value is not None}
    with pytest.raises(InvalidInputError) as caught:
        metadata_of(replace(header, metadata=metadata))
    assert found in str(caught.value)


@pytest.mark.parametrize("data", [{}, {"layers": "3*0"}, {"layers": "5", "kinds": [{"weights": 1}]}])
def test_invalid_metadata_is_an_error(data: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=r"lock_models\.yml"):
        from_data(data)


class LazyDict(dict[str, Any]):
    """A double of the dictionaries that Ansible gives a filter: only Ansible can make one."""

    def __init__(self, *values: Any) -> None:
        if values and not isinstance(values[0], dict):
            raise NotImplementedError("Direct construction of lazy containers is not supported.")
        super().__init__(*values)


def test_metadata_from_a_filter_is_written_again() -> None:
    data = in_inventory()
    groups = {name: LazyDict(data[name]) for name in ("latent", "recurrent", "details") if data.get(name)}
    assert groups
    assert from_data({**data, **groups}).to_data() == data


def in_inventory(**changes: object) -> dict[str, Any]:
    return {**metadata_of(header_of(MODELS["llama"])).to_data(), **changes}


def with_kind(**changes: object) -> dict[str, Any]:
    data = in_inventory()
    return {**data, "kinds": [{**data["kinds"][0], **changes}]}


LATENT = dict.fromkeys(("heads", "rank", "key", "value", "rope"), 8)
WRONG_NUMBERS: dict[str, tuple[dict[str, Any], str]] = {
    "negative": (with_kind(kv_heads=-1), "kv_heads (llama.attention.head_count_kv) in the model's metadata as a whole"),
    "too large": (with_kind(heads=1 << 40), "heads (llama.attention.head_count) in the model's metadata as a whole"),
    "boolean": (with_kind(key=True), "found key of True"),
    "fraction": (with_kind(inner=1.5), "found inner of 1.5"),
    "text": (with_kind(weights="8"), "found weights of '8'"),
    "not a number": (in_inventory(width=float("nan")), "width (llama.embedding_length) in the model's metadata as a"),
    "infinite": (in_inventory(context=float("inf")), "found context of inf"),
    "zero": (in_inventory(width=0), "from 1 to 1048576, found width of 0"),
    "negative bytes": (in_inventory(file_size=-1), "file_size in the model's metadata as a whole number from 0 to"),
    "none": (in_inventory(output=None), "found output of None"),
    "a list": (in_inventory(experts=[8]), "found experts of [8]"),
    "many experts": (in_inventory(experts=1025), "from 0 to 1024, found experts of 1025"),
    "uneven heads": (with_kind(heads=8, kv_heads=3), "kv_heads in the model's metadata to divide the heads 8"),
    "number as flag": (with_kind(window=2), "window in the model's metadata as true or false"),
    "no latent rank": (in_inventory(latent={"heads": 8}), "KeyError: 'rank'"),
    "latent text": (in_inventory(latent={**LATENT, "compressed": ""}), "compressed in the model's metadata"),
    "recurrent": (in_inventory(recurrent={"conv": -4, "inner": 8}), "conv (llama.ssm.conv_kernel)"),
    "unknown recurrent": (in_inventory(recurrent={"conv": 4, "inner": 8, "more": 1}), "KeyError: 'state'"),
    "details": (in_inventory(details={"streams": -1}), "streams in the model's metadata as a whole number from 0 to"),
    "details as list": (in_inventory(details=[1]), "AttributeError"),
    "wide architecture": (in_inventory(architecture="a" * 65), "general.architecture as a word"),
    "no architecture": (in_inventory(architecture=3), "architecture in the model's metadata as text"),
    "20000 layers": (in_inventory(layers="20000*0"), "at most 512 layers (block_count) in the model's metadata"),
    "many runs": (in_inventory(layers="512*0 0"), "at most 512 layers"),
    "10^12 layers": (in_inventory(layers=f"{10**12}*0"), "at most 512 layers"),
    "a negative run": (in_inventory(layers="-1*0"), "found a run of -1"),
    "no layers": (in_inventory(layers=""), "at least one layer"),
    "layer of no kind": (in_inventory(layers="9*1"), "of its 1 kinds, found layers of kind 1"),
    "layer before the first kind": (in_inventory(layers="9*-1"), "found layers of kind -1"),
    "layers as words": (in_inventory(layers="all"), "ValueError"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), WRONG_NUMBERS.values(), ids=WRONG_NUMBERS)
def test_number_of_the_inventory_is_in_the_range_of_a_headers(data: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_data(data)
    assert words in str(caught.value)


def test_inventory_and_header_have_the_same_sentence() -> None:
    header = header_of(MODELS["llama"])
    wrong = replace(header, metadata={**header.metadata, "llama.attention.head_count_kv": 1 << 20})
    with pytest.raises(InvalidInputError) as of_header:
        metadata_of(wrong)
    with pytest.raises(InvalidInputError) as of_inventory:
        from_data(with_kind(kv_heads=1 << 20))
    limits = "as a whole number from 0 to 65536"
    assert of_header.value.expected == f"llama.attention.head_count_kv in the file's header {limits}"
    assert of_inventory.value.expected == f"kv_heads (llama.attention.head_count_kv) in the model's metadata {limits}"
