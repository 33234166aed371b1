# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise a model from its header, for C(herd.inference.gguf_info)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Optional, Union

from ..download import parts
from ..errors import InvalidInputError
from . import header_check
from .gguf import MAX_SHARDS, ArraySummary, Header, Scalar, Tensor

_LAYER = re.compile(r"blk\.(\d+)\.")

Plain = Optional[Union[str, int, float, bool, list[Scalar]]]


def shard_names(name: str) -> list[str]:
    """List the names of all shards of a model, or the name itself if the model is one file.

    :param name: name of the first shard, without folder.
    """
    found = parts.SHARD.fullmatch(name)
    if not found or int(found["count"]) < 2:
        return [name]
    if int(found["number"]) != 1:
        raise InvalidInputError(
            "the first shard, which the engine opens",
            name,
            f"name {found['stem']}-00001-of-{found['count']}.gguf",
        )
    if int(found["count"]) > MAX_SHARDS:
        raise InvalidInputError(f"a model of at most {MAX_SHARDS} shards", name, "name a model's first shard")
    return parts.shard_names(found["stem"], int(found["count"]))


def _plain(value: object) -> Plain:
    """Convert a value to one of JSON."""
    if isinstance(value, tuple):
        # An array by layer has mostly equal values.
        return value[0] if len(set(value)) == 1 else list(value)
    return value if isinstance(value, (str, int, float, bool)) else None


def _by_type(tensors: Sequence[Tensor]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        entry = found.setdefault(tensor.type, {"tensors": 0, "parameters": 0, "bytes": 0})
        entry["tensors"] += 1
        entry["parameters"] += tensor.elements
        entry["bytes"] += tensor.size
    return dict(sorted(found.items(), key=lambda pair: -pair[1]["bytes"]))


def _layer_bytes(tensors: Sequence[Tensor]) -> list[int]:
    found: dict[int, int] = {}
    for tensor in tensors:
        layer = _LAYER.match(tensor.name)
        # Names are untrusted: layer 999999999 must not lead to a list of that length.
        if layer and len(layer[1]) < 7 and int(layer[1]) < len(tensors):
            found[int(layer[1])] = found.get(int(layer[1]), 0) + tensor.size
    return [found.get(number, 0) for number in range(max(found, default=-1) + 1)]


def describe(headers: Sequence[Header], joined: Header) -> dict[str, Any]:
    """Build the return values of the module.

    :param headers: one for each file, in order.
    :param joined: all of them joined.
    """
    metadata = joined.metadata
    architecture = _plain(metadata.get("general.architecture"))

    def of_model(key: str) -> Plain:
        return _plain(metadata.get(f"{architecture}.{key}"))

    tokens = metadata.get("tokenizer.ggml.tokens")
    vocabulary = (
        tokens.length if isinstance(tokens, ArraySummary) else len(tokens) if isinstance(tokens, tuple) else None
    )
    tensors = joined.tensors
    in_layers = _layer_bytes(tensors)
    total = sum(tensor.size for tensor in tensors)
    parameters = sum(tensor.elements for tensor in tensors)
    return {
        "architecture": architecture,
        "name": _plain(metadata.get("general.name")),
        "version": joined.version,
        "byte_order": joined.byte_order,
        "layers": of_model("block_count"),
        "context": of_model("context_length"),
        "embedding": of_model("embedding_length"),
        "feed_forward": of_model("feed_forward_length"),
        "heads": of_model("attention.head_count"),
        "kv_heads": of_model("attention.head_count_kv"),
        "experts": of_model("expert_count"),
        "experts_used": of_model("expert_used_count"),
        "tokenizer": _plain(metadata.get("tokenizer.ggml.model")),
        "vocabulary": vocabulary,
        "parameters": parameters,
        "types": _by_type(tensors),
        "bits_per_weight": round(total * 8 / parameters, 2) if parameters else None,
        "layer_bytes": in_layers,
        "other_bytes": total - sum(in_layers),
        "size": joined.file_size,
        "shards": len(headers),
        "tensors": len(tensors),
        "whole": all(header.is_whole for header in headers),
        "missing_bytes": sum(max(0, header.data_end - header.file_size) for header in headers),
        "spare_bytes": sum(map(header_check.spare_bytes, headers)),
        "purpose": header_check.companion(metadata, len(tensors)) or header_check.purpose(metadata),
        "problems": problems(headers, joined),
    }


def problems(headers: Sequence[Header], joined: Header) -> list[str]:
    """List everything in a model's headers and files that cannot be, as sentences; parameters as in C(describe)."""
    spare = sum(map(header_check.spare_bytes, headers))
    behind = (
        f"expected the end of the file after the last tensor, found {spare} more bytes: compare its checksum, and "
        f"fetch it again."
    )
    return [*header_check.problems(joined), *([behind] if spare else [])]
