# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a model: the facts that placement needs, from the header of its file.

Metadata holds bytes and dimensions by layer, so that placement needs neither the file nor its host. It is small enough
for an inventory: equal layers are written once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from typing import Any

from ..errors import InvalidInputError
from . import header_check, header_keys, layer_kinds
from .gguf import Header, Tensor
from .gguf_types import padded
from .header_keys import MAX_LAYERS, KeyRange
from .layer_kinds import Keys

#: Alignment of tensors in the engine's buffers, in bytes; CUDA's is coarser.
PADDING = 32
CUDA_PADDING = 128
#: CUDA computes quantised rows in steps of this many weights, and allocates the last step in full.
CUDA_ROW = 512
# The beginning of the name of a layer's tensor; a model may have an encoder and a decoder.
_BLOCK = re.compile(r"(?:enc\.|dec\.)?blk\.([0-9]{1,6})\.")
_OPTIONAL = ("experts", "cells_window", "latent", "recurrent", "details", "purpose", "predictors")
_UNQUANTISED = ("f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64")
# Tensors without a number that lie on the device of the first layer. Files of lfm2 use token_embd_norm for the output.
_FIRST_LAYER = ("per_layer_model_proj", "per_layer_proj_norm", "token_embd_norm", "hrm.")
# Tensors that are looked up for each token by the head's CPU, and stay there.
_INPUTS = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")

_WRITE_AGAIN = "write it again with playbooks/lock_models.yml"
# The ranges of numbers that no key of a header holds; empty for bytes and elements.
_RANGES: Mapping[str, KeyRange] = {
    "": KeyRange(0, (1 << 63) - 1), "tokens": header_keys.TOKENS, "detail": KeyRange(),
}  # fmt: skip
# The key of a header, or the name above, whose range a number has.
_NUMBERS: Mapping[str, str] = {
    "width": "embedding_length", "vocabulary": "tokens", "context": "context_length", "experts": "expert_count",
    "cells_window": "attention.sliding_window", "file_size": "", "parameters": "", "output": "", "output_cuda": "",
    "shared": "", "shared_cuda": "", "local": "", "header": "", "largest": "", "matrix": "",
}  # fmt: skip
_LAYER_NUMBERS: Mapping[str, str] = {
    "weights": "", "weights_cuda": "", "expert_weights": "", "state": "", "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv", "key": "attention.key_length", "value": "attention.value_length",
    "inner": "feed_forward_length", "expert_inner": "expert_feed_forward_length", "shared_inner": "feed_forward_length",
    "experts_used": "expert_used_count", "indexer": "attention.indexer.key_length",
    "indexer_value": "attention.value_length",
}  # fmt: skip
_LATENT: Mapping[str, str] = {
    "heads": "attention.head_count", "rank": "attention.kv_lora_rank", "key": "attention.key_length",
    "value": "attention.value_length", "rope": "rope.dimension_count", "compressed": "detail",
}  # fmt: skip
_SHORT: Mapping[str, str] = {"conv": "ssm.conv_kernel", "inner": "ssm.inner_size"}
_RECURRENT: Mapping[str, str] = {
    **_SHORT, "state": "ssm.state_size", "groups": "ssm.group_count", "rank": "ssm.time_step_rank",
}  # fmt: skip
_DETAILS: Mapping[str, str] = {
    "deepstack": "n_deepstack_layers", "index_heads": "attention.indexer.head_count",
    "query_rank": "attention.q_lora_rank", "expert_groups": "expert_group_count",
}  # fmt: skip


@dataclass(frozen=True)
class LayerMetadata:
    """One layer: bytes of its weights, and the dimensions that determine its cache and buffers.

    :param weights: bytes on a device, each tensor padded; weights_cuda: the same by CUDA's rules.
    :param key: width of a key head, value: width of a value head, in elements. A layer with kv_heads 0 has no
        attention.
    :param window: whether the cache keeps only a window of the context.
    :param state: floats of recurrent state that one slot keeps, 0 for none.
    :param inner: width of the dense feed-forward block, 0 for none; expert_inner: width of one expert.
    :param shared_inner: width of the expert that all tokens use, 0 for none.
    :param expert_weights: bytes of all experts that a token is routed to, 0 for none or if unknown.
    :param shares_cache: whether the layer attends to the cache of an earlier one instead of its own.
    :param indexer: width of the key that an indexer keeps beside them, C(indexer_value) of its value; 0 for none.
    :param loaded: whether the engine loads the layer. Blocks that predict further tokens are not loaded, but counted.
    """

    weights: int
    weights_cuda: int
    heads: int = 0
    kv_heads: int = 0
    key: int = 0
    value: int = 0
    window: bool = False
    state: int = 0
    inner: int = 0
    expert_inner: int = 0
    experts_used: int = 0
    loaded: bool = True
    expert_weights: int = 0
    shared_inner: int = 0
    shares_cache: bool = False
    indexer: int = 0
    indexer_value: int = 0


@dataclass(frozen=True)
class ModelMetadata:
    """Bytes and dimensions of a model.

    :param quantisation: ggml's name of the type of most weights.
    :param output: bytes of the output layer on its device, output_cuda by CUDA's rules. For tied embeddings,
        it is a second copy of them.
    :param shared: bytes of small tensors that are copied to every device with layers.
    :param local: bytes of the tensors that stay with the head process.
    :param header: bytes before the first tensor, most of them the vocabulary.
    :param largest: bytes of the largest tensor.
    :param matrix: weights in the largest matrix of a layer, or of one expert.
    :param cells_window: length of the window in tokens, 0 for none.
    :param latent: ranks and heads of multi-head latent attention, empty for none.
    :param recurrent: dimensions of the recurrence, empty for none.
    :param details: further facts from which the engine builds the graph; None if unknown.
    :param purpose: what the model is for if it does not generate text.
    :param predictors: the blocks that predict further tokens, as draft-mtp loads them.
    """

    architecture: str
    name: str
    quantisation: str
    width: int
    vocabulary: int
    context: int
    file_size: int
    parameters: int
    output: int
    output_cuda: int
    shared: int
    shared_cuda: int
    local: int
    header: int
    largest: int
    matrix: int
    layers: tuple[LayerMetadata, ...]
    experts: int = 0
    cells_window: int = 0
    latent: Mapping[str, int] | None = None
    recurrent: Mapping[str, int] | None = None
    details: Mapping[str, int] | None = None
    purpose: str = ""
    predictors: tuple[LayerMetadata, ...] = ()

    def detail(self, name: str) -> int:
        """Return one of the details; 0 if it is unknown."""
        return (self.details or {}).get(name, 0)

    @property
    def bits_per_weight(self) -> float:
        """Average over all tensors."""
        return self.file_size * 8 / max(self.parameters, 1)

    def to_data(self) -> dict[str, Any]:
        """Convert to plain data: equal layers once, and their order as C(times*kind)."""
        kinds = list(dict.fromkeys(self.layers))
        data = asdict(self)
        data["layers"] = _runs([kinds.index(layer) for layer in self.layers])
        data["kinds"] = [_sparse(layer) for layer in kinds]
        data["predictors"] = [_sparse(layer) for layer in self.predictors]
        return {key: value for key, value in data.items() if value or key not in _OPTIONAL}


def from_data(data: Mapping[str, Any]) -> ModelMetadata:
    """Convert the result of C(to_data) back, after YAML or JSON."""
    try:
        given = dict(data)
        kinds = [LayerMetadata(**kind) for kind in given.pop("kinds")]
        given["layers"] = tuple(kinds[number] for number in _unroll(str(given["layers"]), len(kinds)))
        blocks = list(given.get("predictors") or ())[: MAX_LAYERS + 1]
        given["predictors"] = tuple(LayerMetadata(**block) for block in blocks)
        # Plain ones: asdict cannot copy the dictionaries that Ansible gives a filter.
        groups = {name: given.get(name) for name in ("latent", "recurrent", "details")}
        given.update({name: dict(group) for name, group in groups.items() if isinstance(group, Mapping)})
        found = ModelMetadata(**given)
        _check(found, [*kinds, *found.predictors])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            "a model's metadata as lock_models.yml writes it", f"{type(error).__name__}: {error}", _WRITE_AGAIN
        ) from error
    return found


def _check(found: ModelMetadata, kinds: Sequence[LayerMetadata]) -> None:
    """Check types and ranges as those of a header."""
    for name in ("architecture", "name", "quantisation", "purpose"):
        if not isinstance(getattr(found, name), str):
            raise InvalidInputError(f"{name} in the model's metadata as text", repr(getattr(found, name)), _WRITE_AGAIN)
    error = header_check.architecture_error(found.architecture)
    if error:
        raise error
    _check_numbers(found, vars(found), _NUMBERS)
    unloaded = sum(not layer.loaded for layer in found.layers)
    if found.predictors and len(found.predictors) != unloaded:
        raise InvalidInputError(
            f"predictors in the model's metadata for its {unloaded} blocks that predict further tokens",
            str(len(found.predictors)),
            _WRITE_AGAIN,
        )
    for kind in kinds:
        _check_numbers(found, vars(kind), _LAYER_NUMBERS)
        for flag in ("window", "loaded", "shares_cache"):
            if not isinstance(getattr(kind, flag), bool):
                raise InvalidInputError(
                    f"{flag} in the model's metadata as true or false", repr(getattr(kind, flag)), _WRITE_AGAIN
                )
        if kind.heads and kind.kv_heads and kind.heads % kind.kv_heads:
            raise InvalidInputError(
                f"kv_heads in the model's metadata to divide the heads {kind.heads}",
                f"kv_heads of {kind.kv_heads}",
                _WRITE_AGAIN,
            )
    recurrent = _SHORT if set(found.recurrent or ()) == set(_SHORT) else _RECURRENT
    for group, keys in ((found.latent, _LATENT), (found.recurrent, recurrent)):
        if group:
            _check_numbers(found, group, {**dict.fromkeys(group, "detail"), **keys})
    for name, value in (found.details or {}).items():
        _check_number(found, name, _DETAILS.get(name, "detail"), value)


def _check_numbers(found: ModelMetadata, values: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    for name, key in keys.items():
        _check_number(found, name, key, values[name])


def _check_number(found: ModelMetadata, name: str, key: str, value: object) -> None:
    """Check one number by its range."""
    limits = _RANGES.get(key) or header_keys.KEYS[key]
    if not limits.holds(value):
        source = "" if key in _RANGES else f" ({found.architecture}.{key})"
        raise limits.error(f"{name}{source} in the model's metadata", name, value, _WRITE_AGAIN)


def _sparse(layer: LayerMetadata) -> dict[str, Any]:
    """Return the fields that differ from the defaults."""
    defaults = {field.name: field.default for field in fields(LayerMetadata)}
    return {key: value for key, value in asdict(layer).items() if value != defaults[key]}


def _runs(numbers: Sequence[int]) -> str:
    runs = ((number, len(list(run))) for number, run in groupby(numbers))
    return " ".join(f"{times}*{number}" if times > 1 else str(number) for number, times in runs)


def _unroll(text: str, kinds: int) -> list[int]:
    """Read the order of the layers, at most as many as the engine has.

    :param kinds: the number of kinds of layers.
    """
    found: list[int] = []
    for run in text.split(maxsplit=MAX_LAYERS):
        times, _sign, number = run.rpartition("*")
        count, kind = int(times or 1), int(number)
        if not 0 <= kind < kinds:
            raise InvalidInputError(
                f"layers in the model's metadata of its {kinds} kinds", f"layers of kind {kind}", _WRITE_AGAIN
            )
        if not 0 < count <= MAX_LAYERS - len(found):
            raise InvalidInputError(
                f"at most {MAX_LAYERS} layers (block_count) in the model's metadata", f"a run of {count}", _WRITE_AGAIN
            )
        found += [kind] * count
    if not found:
        raise InvalidInputError("at least one layer in the model's metadata", "none", _WRITE_AGAIN)
    return found


def device_bytes(tensor: Tensor) -> int:
    """Compute the bytes of a tensor in a CPU buffer, as on an RPC worker without a GPU."""
    return padded(tensor.size, PADDING)


def cuda_bytes(tensor: Tensor) -> int:
    """Compute the bytes of a tensor in a CUDA buffer (from the source of ggml-cuda, not measured)."""
    size, row = tensor.size, tensor.shape[0]
    if tensor.type not in _UNQUANTISED and row % CUDA_ROW:
        size += -(-(CUDA_ROW - row % CUDA_ROW) * tensor.size // tensor.elements)
    return padded(size, CUDA_PADDING)


def metadata_of(header: Header) -> ModelMetadata:
    """Derive the metadata from a header.

    :raises InvalidInputError: if the header lacks something, contradicts itself, or is of no language model.
    """
    header_check.require(header)
    keys = Keys(header.metadata)
    count = keys.number("block_count")
    by_layer: list[list[Tensor]] = [[] for _each in range(count)]
    rest: dict[str, Tensor] = {}
    first: list[Tensor] = []
    for tensor in header.tensors:
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) < count:
            by_layer[int(block[1])].append(tensor)
        elif tensor.name.startswith(_FIRST_LAYER) and not keys.architecture.startswith("lfm2"):
            first.append(tensor)
        else:
            rest[tensor.name] = tensor
    layers = tuple(_layer(keys, number, tensors, () if number else first) for number, tensors in enumerate(by_layer))
    predicting = range(layer_kinds.trunk_layers(keys), count)
    embeddings = rest["token_embd.weight"]
    local = [rest.pop(name) for name in _INPUTS if name in rest]
    shared = [rest.pop(name) for name in list(rest) if name.startswith(("rope_freqs", "rope_factors"))]
    output = [*rest.values(), *([] if "output.weight" in rest else [embeddings])]
    types: dict[str, int] = {}
    for tensor in header.tensors:
        types[tensor.type] = types.get(tensor.type, 0) + tensor.size
    return ModelMetadata(
        architecture=keys.architecture,
        name=str(header.metadata.get("general.name", "")),
        quantisation=max(types, key=lambda name: types[name]),
        width=keys.number("embedding_length"),
        vocabulary=embeddings.shape[1],
        context=keys.number("context_length", 0),
        file_size=header.file_size,
        parameters=sum(tensor.elements for tensor in header.tensors),
        output=sum(map(device_bytes, output)),
        output_cuda=sum(map(cuda_bytes, output)),
        shared=sum(map(device_bytes, shared)),
        shared_cuda=sum(map(cuda_bytes, shared)),
        local=sum(map(device_bytes, local)),
        header=header.data_start,
        largest=max(tensor.size for tensor in header.tensors),
        matrix=max((t.shape[0] * t.shape[1] for each in by_layer for t in each if len(t.shape) > 1), default=0),
        layers=layers,
        experts=keys.number("expert_count", 0),
        cells_window=layer_kinds.window_length(keys),
        latent=layer_kinds.latent(keys),
        recurrent=layer_kinds.recurrent(keys),
        purpose=header_check.purpose(header.metadata),
        predictors=tuple(_layer(keys, number, by_layer[number], (), predicts=True) for number in predicting),
        details=layer_kinds.details(keys, {_BLOCK.sub("", tensor.name) for each in by_layer for tensor in each}),
    )


def _layer(
    keys: Keys, number: int, tensors: Sequence[Tensor], beside: Sequence[Tensor], predicts: bool = False
) -> LayerMetadata:
    """Derive a layer.

    :param beside: tensors of the whole model that lie on the layer's device.
    :param predicts: whether a block that predicts further tokens is loaded.
    """
    shapes = {_BLOCK.sub("", tensor.name): tuple(tensor.shape) for tensor in tensors}
    facts = layer_kinds.layer_facts(keys, number, shapes, predicts)
    kept = [*(tensors if facts["loaded"] else ()), *beside]
    return LayerMetadata(
        weights=sum(map(device_bytes, kept)),
        weights_cuda=sum(map(cuda_bytes, kept)),
        expert_weights=sum(device_bytes(tensor) for tensor in kept if "_exps." in tensor.name),
        **facts,
    )
