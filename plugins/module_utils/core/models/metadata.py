# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of a model: the facts that placement needs, from the header of its file.

Metadata holds bytes and dimensions by layer, so that placement needs neither the file nor its host. It is small enough
for an inventory: equal layers are written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from typing import Any

from ..errors import InvalidInputError
from . import header_check, layer_kinds
from .gguf import Header, Tensor
from .gguf_types import padded
from .layer_kinds import Keys

#: Alignment of tensors in the engine's buffers, in bytes; CUDA's is coarser.
PADDING = 32
CUDA_PADDING = 128
#: CUDA computes quantised rows in steps of this many weights, and allocates the last step in full.
CUDA_ROW = 512
_OPTIONAL = ("experts", "cells_window", "latent", "recurrent", "details", "purpose")
_UNQUANTISED = ("f32", "f16", "bf16", "f64", "i8", "i16", "i32", "i64")
# Tensors without a number that lie on the device of the first layer. Files of lfm2 use token_embd_norm for the output.
_FIRST_LAYER = ("per_layer_model_proj", "per_layer_proj_norm", "token_embd_norm", "hrm.")
# Tensors that are looked up for each token by the head's CPU, and stay there.
_INPUTS = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")


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
        return {key: value for key, value in data.items() if value or key not in _OPTIONAL}


def from_data(data: Mapping[str, Any]) -> ModelMetadata:
    """Convert the result of C(to_data) back, after YAML or JSON."""
    try:
        given = dict(data)
        kinds = [LayerMetadata(**kind) for kind in given.pop("kinds")]
        given["layers"] = tuple(kinds[number] for number in _unroll(str(given["layers"])))
        return ModelMetadata(**given)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInputError(
            "a model's metadata as lock_models.yml writes it",
            f"{type(error).__name__}: {error}",
            "write it again with playbooks/lock_models.yml",
        ) from error


def _sparse(layer: LayerMetadata) -> dict[str, Any]:
    """Return the fields that differ from the defaults."""
    defaults = {field.name: field.default for field in fields(LayerMetadata)}
    return {key: value for key, value in asdict(layer).items() if value != defaults[key]}


def _runs(numbers: Sequence[int]) -> str:
    runs = ((number, len(list(run))) for number, run in groupby(numbers))
    return " ".join(f"{times}*{number}" if times > 1 else str(number) for number, times in runs)


def _unroll(text: str) -> list[int]:
    found: list[int] = []
    for run in text.split():
        times, _sign, number = run.rpartition("*")
        found += [int(number)] * int(times or 1)
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
        prefix, number, _name = (*tensor.name.split(".", 2), "", "")[:3]
        if prefix == "blk" and number.isdigit() and int(number) < count:
            by_layer[int(number)].append(tensor)
        elif tensor.name.startswith(_FIRST_LAYER) and not keys.architecture.startswith("lfm2"):
            first.append(tensor)
        else:
            rest[tensor.name] = tensor
    layers = tuple(_layer(keys, number, tensors, () if number else first) for number, tensors in enumerate(by_layer))
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
        details=layer_kinds.details(keys, {tensor.name.split(".", 2)[-1] for each in by_layer for tensor in each}),
    )


def _layer(keys: Keys, number: int, tensors: Sequence[Tensor], beside: Sequence[Tensor]) -> LayerMetadata:
    """Derive a layer.

    :param beside: tensors of the whole model that lie on the layer's device.
    """
    facts = layer_kinds.layer_facts(keys, number, {t.name.split(".", 2)[2]: tuple(t.shape) for t in tensors})
    kept = [*(tensors if facts["loaded"] else ()), *beside]
    return LayerMetadata(
        weights=sum(map(device_bytes, kept)),
        weights_cuda=sum(map(cuda_bytes, kept)),
        expert_weights=sum(device_bytes(tensor) for tensor in kept if "_exps." in tensor.name),
        **facts,
    )
