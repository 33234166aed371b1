# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the size of each device's compute buffer: the inputs and intermediate results of the graph.

For a known architecture, C(graph) builds the engine's graph and allocates it, and the result equals the engine's own
number. For any other architecture the result is an upper bound: all inputs, and one and a half times the floats a token
at the widest point of any known kind of layer with these dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.metadata import PADDING, LayerMetadata, ModelMetadata
from .graph import device_graph
from .graph.device_graph import GraphPart
from .graph.operations import Run
from .kv_cache import CacheSettings, layer_cells

_FLOAT = 4
# The bound follows from dimensions only. This factor covers holes in the buffer.
_UNKNOWN_FACTOR = 1.5
# Floats a token of the widest known recurrent layer: factors of width, inner width, and twice groups times state.
_RECURRENT = (16.2, 7.0, 2.0)
# If layers without attention meet at a boundary of devices, the next device computes a part and returns it: copies of
# the inner width on this side, and more on the other.
_SENT, _RECEIVED = 4, 9.1
# Widths that may precede the logits in releases that reserve them; the remaining holes decide.
_BEFORE_LOGITS = 17.0


@dataclass(frozen=True)
class ComputeBufferRules:
    """Differences between releases.

    :param copies: copies of the inputs for a pipeline over several devices.
    :param reserves_logits: whether the output is reserved for a whole micro-batch.
    :param float_masks: whether masks arrive in single precision.
    :param hybrid_bug: whether each slot of a hybrid model allocates the cache of all slots.
    :param copies_local: whether the head copies its own tensors to private memory and loads with two buffers.
    :param release: the release, to find what it refuses; empty if it is unknown.
    """

    copies: int
    reserves_logits: bool
    float_masks: bool
    hybrid_bug: bool
    copies_local: bool
    release: str = ""


NEW = ComputeBufferRules(copies=4, reserves_logits=False, float_masks=False, hybrid_bug=False, copies_local=False)
OLD = ComputeBufferRules(copies=1, reserves_logits=True, float_masks=True, hybrid_bug=True, copies_local=True)


def _attention(metadata: ModelMetadata, layer: LayerMetadata) -> float:
    if metadata.latent:
        heads, rank = metadata.latent["heads"], metadata.latent["rank"]
        key, value, rope = metadata.latent["key"], metadata.latent["value"], metadata.latent["rope"]
        if metadata.latent["compressed"]:
            return heads * (2 * rank + rope + key + value) + 4 * metadata.width + 3 * metadata.experts
        return heads * (4 * key + 2 * value) + 3 * metadata.width
    query = layer.heads * layer.key
    # A gate is as wide as the queries, beside which it is stored.
    return 3 * query + 2 * layer.kv_heads * (layer.key + layer.value) + 3 * metadata.width


def _dense(metadata: ModelMetadata, layer: LayerMetadata) -> float:
    return 3 * layer.inner + 4 * max(metadata.width, layer.heads * layer.key)


def _experts(metadata: ModelMetadata, layer: LayerMetadata) -> float:
    width, query, used = metadata.width, layer.heads * layer.key, layer.experts_used
    inner = layer.expert_inner * used
    entering = 3 * inner + 4 * width + max(query, 1.5 * width)
    leaving = inner + 2 * used * width + 2 * width + max(query - width, 0)
    return max(entering, leaving) + 2 * metadata.experts


def _recurrence(metadata: ModelMetadata) -> float:
    found = metadata.recurrent or {}
    mixed = 2 * found.get("groups", 0) * found.get("state", 0)
    return _RECURRENT[0] * metadata.width + _RECURRENT[1] * found.get("inner", 0) + _RECURRENT[2] * mixed


def _returns(layer: LayerMetadata, following: LayerMetadata) -> bool:
    """Return whether the next device may compute a part of a layer and return it."""
    return not layer.kv_heads and not following.kv_heads


def _returning(metadata: ModelMetadata, place: GraphPart) -> float:
    """Compute the floats a token that a device holds for such a part."""
    if not metadata.recurrent or not place.layers:
        return 0.0
    inner = metadata.recurrent.get("inner", 0)
    sent = _SENT * inner if place.after and _returns(place.layers[-1], place.after[0]) else 0.0
    received = place.before and _returns(place.before[-1], place.layers[0])
    return sent + (_RECEIVED * inner if received else 0.0)


def layer_floats(metadata: ModelMetadata, layer: LayerMetadata, is_several: bool) -> float:
    """Compute the floats a token at the widest point of a layer, without inputs and masks.

    :param is_several: whether there are several slots.
    """
    found = [3.0 * metadata.width]
    if layer.kv_heads:
        found.append(_attention(metadata, layer))
    if layer.state:
        # Several slots hold their states side by side.
        found.append(_recurrence(metadata) + (3 * metadata.width if is_several else 0))
    if layer.inner:
        found.append(_dense(metadata, layer))
    if layer.expert_inner:
        found.append(_experts(metadata, layer))
    return max(found)


def mask_cells(
    metadata: ModelMetadata, layers: Sequence[LayerMetadata], settings: CacheSettings, rules: ComputeBufferRules
) -> dict[bool, int]:
    """Compute the cells of each kind of mask of these layers: of the whole context, and True for the window."""
    bug = rules.hybrid_bug
    return {layer.window: layer_cells(metadata, layer, settings, bug) for layer in layers if layer.kv_heads}


def _inputs(
    metadata: ModelMetadata, kinds: int, settings: CacheSettings, rules: ComputeBufferRules, flash: bool
) -> int:
    """Compute the bytes of all inputs but the masks: embeddings, positions, indices, requested outputs, rotations."""
    per_kind = 8 if metadata.latent and metadata.latent["compressed"] else 16
    if not flash:
        # Values are transposed then, and each element has an index.
        per_kind += 8 * max((layer.kv_heads * layer.value for layer in metadata.layers), default=0)
    positions = 16 if "vl" in metadata.architecture else 4
    per_token = metadata.width * _FLOAT + positions + kinds * per_kind
    return settings.tokens * per_token + 512 + 128 * settings.slots + _rotations(metadata, settings, rules)


def _rotations(metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules) -> int:
    """Compute the bytes of the matrices that rotate quantised caches."""
    if rules.float_masks or settings.type_k.endswith(("f16", "f32")):
        return 0
    return 4 * 64 * 64 * _FLOAT + sum(
        2 * width * width * _FLOAT for width in {layer.key for layer in metadata.layers if layer.kv_heads}
    )


def _followed(
    metadata: ModelMetadata,
    place: GraphPart,
    settings: CacheSettings,
    rules: ComputeBufferRules,
    copies: int,
    flash: bool,
    alignment: int,
) -> int:
    """Build the graph and allocate its tensors as the engine does."""
    # The slots share the micro-batch equally.
    tokens = -(-settings.tokens // settings.slots) * settings.slots
    cells = mask_cells(metadata, metadata.layers, settings, rules)
    run = Run(
        tokens=tokens,
        outputs=tokens if rules.reserves_logits else min(settings.outputs, tokens),
        slots=settings.slots,
        streams=settings.streams,
        cells=(cells.get(False, 0), cells.get(True, 0)),
        flash=flash,
        old=rules.float_masks,
        rotated=_rotations(metadata, settings, rules) > 0,
        cache_type=settings.type_k,
    )
    return device_graph.buffer_bytes(metadata, run, place, copies, alignment)


def device_bytes(
    metadata: ModelMetadata,
    place: GraphPart,
    settings: CacheSettings,
    rules: ComputeBufferRules,
    copies: int,
    flash: bool = True,
    alignment: int = PADDING,
) -> int:
    """Compute the bytes of a device's compute buffer.

    :param copies: copies of the inputs: C(ComputeBufferRules.copies) in a pipeline over several devices, otherwise 1.
    :param alignment: alignment of tensors in the device's buffers.
    """
    if not place.layers and not place.has_output:
        return 0
    if device_graph.is_followed(metadata):
        return _followed(metadata, place, settings, rules, copies, flash, alignment)
    tokens = settings.tokens
    trunk = [layer for layer in place.layers if layer.loaded]
    kinds = mask_cells(metadata, trunk, settings, rules)
    element = 2 if flash else _FLOAT
    halves = sum(kinds.values()) * tokens * element
    widest = max((layer_floats(metadata, layer, settings.slots > 1) for layer in trunk), default=0.0)
    if copies > 1:
        widest += _returning(metadata, place)
    if rules.float_masks and trunk and not trunk[0].kv_heads and place.before:
        # This device adds up the results of the former experts. Each arrives with the gaps between its rows.
        widest = max(widest, (place.before[-1].experts_used ** 2 + 2.0) * metadata.width)
    widest *= _UNKNOWN_FACTOR
    work = widest * tokens * _FLOAT
    if not flash and trunk:
        heads = max((layer.heads for layer in trunk), default=0)
        work += heads * max(kinds.values(), default=0) * tokens * _FLOAT
    # A recurrence writes new states beside the old ones, whatever the size of the micro-batch.
    work += 3 * max((layer.state for layer in trunk), default=0) * settings.slots * _FLOAT
    inputs = _inputs(metadata, len(kinds), settings, rules, flash)
    if rules.float_masks:
        return _old_device(metadata, place, settings, halves, work, inputs)
    logits = metadata.vocabulary * settings.outputs * _FLOAT if place.has_output else 0
    if not trunk:
        # Only tokens with a requested output get here.
        return int(logits + copies * 8 * metadata.width * settings.outputs * _FLOAT) + (1 << 18)
    return int(copies * (inputs + halves) + max(work, logits + 3 * metadata.width * settings.outputs * _FLOAT)) + 4096


def _old_device(
    metadata: ModelMetadata, place: GraphPart, settings: CacheSettings, halves: int, work: float, inputs: int
) -> int:
    """Compute the buffer in older releases: masks arrive in single precision and are freed after their conversion."""
    tokens = settings.tokens
    width = metadata.width * tokens * _FLOAT
    trunk = [layer for layer in place.layers if layer.loaded]
    begun = [layer for layer in trunk if layer.window in place.begins]
    masks = [cells * tokens * _FLOAT for cells in mask_cells(metadata, begun, settings, OLD).values()]
    singles = sum(masks)
    before = singles + max((_attention(metadata, layer) for layer in trunk), default=0.0) * tokens * _FLOAT
    if metadata.recurrent:
        before += 6 * width
    row = max((max(layer.inner, layer.expert_inner * layer.experts_used) for layer in trunk), default=0)
    if metadata.latent:
        row = max(row, metadata.latent["heads"] * (metadata.latent["rank"] + metadata.latent["rope"]))
    row *= tokens * _FLOAT
    wasted = float(sum(mask - min(3, mask // row) * row if row else mask for mask in masks))
    if metadata.recurrent:
        wasted += width
    logits = 0.0
    if place.has_output:
        # On a single device the masks may still be allocated.
        logits = (metadata.vocabulary + _BEFORE_LOGITS * metadata.width) * tokens * _FLOAT
        logits += singles + (halves if singles else 0)
    return int(max(max(before, work + wasted) + halves + inputs, logits)) + 4096


def head_bytes(
    metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules, copies: int, flash: bool = True
) -> int:
    """Compute the bytes of the head process's own part, which creates the inputs and looks up the embeddings."""
    kinds = mask_cells(metadata, metadata.layers, settings, rules)
    embedded = metadata.width * settings.tokens * _FLOAT
    masks = sum(kinds.values()) * settings.tokens * (2 if flash and not rules.float_masks else _FLOAT)
    inputs = masks + _inputs(metadata, len(kinds), settings, rules, flash)
    return copies * inputs + embedded + (1 << 16)
