# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that each device needs for the graph itself: its inputs and what lies between its operations.

For an architecture whose layers are known the engine's graph is built and given its places (C(graph_memory)):
what comes out is the engine's own number. For any other this is an upper bound: all inputs, and one and a half
times what is alive at the widest place of any known kind of layer with these dimensions, in floats a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.metadata import PADDING, LayerMetadata, ModelMetadata
from .graph import device_graph
from .graph.operations import Run
from .kv_cache import CacheSettings, layer_cells

_FLOAT = 4
# What lies between operations is told from the dimensions only; holes that nothing fits come on top.
_UNKNOWN_FACTOR = 1.5
# Floats a token of a recurrent layer, the widest of all known ones: times width, inner width, and twice groups
# times state.
_RECURRENT = (16.2, 7.0, 2.0)
# Where a layer without attention ends a device and another begins the next, part of the work is done on the
# next one and goes to and fro: copies of its inner width on this side, and more on the other.
_SENT, _RECEIVED = 4, 9.1
# Widths that may lie before the logits where older releases reserve them; the holes that are left decide it.
_BEFORE_LOGITS = 17.0


@dataclass(frozen=True)
class ComputeBufferRules:
    """What differs between releases.

    :param copies: copies of the inputs where work is pipelined over several devices.
    :param reserves_logits: whether the output is reserved for a whole micro-batch.
    :param float_masks: whether masks are made in single precision on the way.
    :param hybrid_bug: whether the cache of hybrid models is allocated once too often for each slot.
    :param copies_local: whether the head has its own tensors in memory of its own, and loads with two buffers.
    """

    copies: int
    reserves_logits: bool
    float_masks: bool
    hybrid_bug: bool
    copies_local: bool


NEW = ComputeBufferRules(copies=4, reserves_logits=False, float_masks=False, hybrid_bug=False, copies_local=False)
OLD = ComputeBufferRules(copies=1, reserves_logits=True, float_masks=True, hybrid_bug=True, copies_local=True)


@dataclass(frozen=True)
class GraphPart:
    """One device's part of the graph.

    :param layers: its layers; has_output whether it ends the graph; has_last_layer whether the last layer
        that is computed is here.
    :param begins: the kinds of mask that are first needed here, True for windows.
    :param first: how many layers are before its first one.
    :param before: the few layers before its first one, after those that follow its last one.
    """

    layers: Sequence[LayerMetadata]
    has_output: bool
    has_last_layer: bool
    begins: frozenset[bool] = frozenset()
    first: int = 0
    before: Sequence[LayerMetadata] = ()
    after: Sequence[LayerMetadata] = ()


def _attention(metadata: ModelMetadata, layer: LayerMetadata) -> float:
    if metadata.latent:
        heads, rank = metadata.latent["heads"], metadata.latent["rank"]
        key, value, rope = metadata.latent["key"], metadata.latent["value"], metadata.latent["rope"]
        if metadata.latent["compressed"]:
            return heads * (2 * rank + rope + key + value) + 4 * metadata.width + 3 * metadata.experts
        return heads * (4 * key + 2 * value) + 3 * metadata.width
    query = layer.heads * layer.key
    # A gate is as wide as the queries, and lies beside them.
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
    """Whether work of a layer may go to the device of the following one and come back."""
    return not layer.kv_heads and not following.kv_heads


def _returning(metadata: ModelMetadata, place: GraphPart) -> float:
    """Floats a token that lie on a device because of that."""
    if not metadata.recurrent or not place.layers:
        return 0.0
    inner = metadata.recurrent.get("inner", 0)
    sent = _SENT * inner if place.after and _returns(place.layers[-1], place.after[0]) else 0.0
    received = place.before and _returns(place.before[-1], place.layers[0])
    return sent + (_RECEIVED * inner if received else 0.0)


def layer_floats(metadata: ModelMetadata, layer: LayerMetadata, is_several: bool) -> float:
    """Floats a token that are alive at the widest place of a layer, without inputs and masks.

    :param is_several: whether there are several slots.
    """
    found = [3.0 * metadata.width]
    if layer.kv_heads:
        found.append(_attention(metadata, layer))
    if layer.state:
        # Several slots have their states side by side.
        found.append(_recurrence(metadata) + (3 * metadata.width if is_several else 0))
    if layer.inner:
        found.append(_dense(metadata, layer))
    if layer.expert_inner:
        found.append(_experts(metadata, layer))
    return max(found)


def mask_cells(
    metadata: ModelMetadata, layers: Sequence[LayerMetadata], settings: CacheSettings, rules: ComputeBufferRules
) -> list[int]:
    """Cells of each kind of mask that these layers need, the whole context's and the window's."""
    kinds = {
        (layer.window, layer_cells(metadata, layer, settings, rules.hybrid_bug)) for layer in layers if layer.kv_heads
    }
    return [cells for _window, cells in sorted(kinds)]


def _indices(metadata: ModelMetadata, kinds: int, settings: CacheSettings, flash: bool) -> int:
    """Bytes of positions and of where keys and values go, and of what the slots ask for."""
    per_kind = 8 if metadata.latent and metadata.latent["compressed"] else 16
    if not flash:
        # Values lie across then, and each of their elements has an index.
        per_kind += 8 * max((layer.kv_heads * layer.value for layer in metadata.layers), default=0)
    positions = 16 if "vl" in metadata.architecture else 4
    return settings.tokens * (positions + kinds * per_kind) + 512 + 128 * settings.slots


def _rotations(metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules) -> int:
    """Bytes of the matrices by which quantised caches are rotated."""
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
    """Build the graph and give its tensors their places, as the engine does."""
    # Slots get equal parts of the micro-batch.
    tokens = -(-settings.tokens // settings.slots) * settings.slots
    cells = {
        layer.window: layer_cells(metadata, layer, settings, rules.hybrid_bug)
        for layer in metadata.layers
        if layer.kv_heads
    }
    run = Run(
        tokens=tokens,
        outputs=tokens if rules.reserves_logits else min(settings.slots, tokens),
        slots=settings.slots,
        streams=settings.streams,
        cells=(cells.get(False, 0), cells.get(True, 0)),
        flash=flash,
        old=rules.float_masks,
        rotated=_rotations(metadata, settings, rules) > 0,
        cache_type=settings.type_k,
    )
    return device_graph.buffer_bytes(
        metadata,
        run,
        place.layers,
        place.first,
        place.before,
        place.after,
        place.has_output,
        place.has_last_layer,
        place.begins,
        copies,
        alignment,
    )


def device_bytes(
    metadata: ModelMetadata,
    place: GraphPart,
    settings: CacheSettings,
    rules: ComputeBufferRules,
    copies: int,
    flash: bool = True,
    alignment: int = PADDING,
) -> int:
    """Bytes of the compute buffer of one device.

    :param copies: of the inputs, C(ComputeBufferRules.copies) where several devices work as a pipeline, otherwise 1.
    :param alignment: of tensors in the device's buffers.
    """
    if not place.layers and not place.has_output:
        return 0
    if device_graph.is_followed(metadata):
        return _followed(metadata, place, settings, rules, copies, flash, alignment)
    tokens = settings.tokens
    trunk = [layer for layer in place.layers if layer.loaded]
    kinds = mask_cells(metadata, trunk, settings, rules)
    element = 2 if flash else _FLOAT
    halves = sum(kinds) * tokens * element
    widest = max((layer_floats(metadata, layer, settings.slots > 1) for layer in trunk), default=0.0)
    if copies > 1:
        widest += _returning(metadata, place)
    if rules.float_masks and trunk and not trunk[0].kv_heads and place.before:
        # What the experts before gave is added up here, and each part comes with all that lies between its rows.
        widest = max(widest, (place.before[-1].experts_used ** 2 + 2.0) * metadata.width)
    widest *= _UNKNOWN_FACTOR
    work = widest * tokens * _FLOAT
    if not flash and trunk:
        heads = max((layer.heads for layer in trunk), default=0)
        work += heads * max(kinds, default=0) * tokens * _FLOAT
    # A recurrence writes its new states beside the old ones, however short the micro-batch.
    work += 3 * max((layer.state for layer in trunk), default=0) * settings.slots * _FLOAT
    embedded = metadata.width * tokens * _FLOAT
    inputs = _indices(metadata, len(kinds), settings, flash) + _rotations(metadata, settings, rules)
    if rules.float_masks:
        return _old_device(metadata, place, settings, kinds, halves, work, inputs + embedded)
    logits = metadata.vocabulary * settings.slots * _FLOAT if place.has_output else 0
    if not trunk:
        # Only the tokens whose answer is wanted get here.
        return int(logits + copies * 8 * metadata.width * settings.slots * _FLOAT) + (1 << 18)
    inputs += halves + embedded
    return int(copies * inputs + max(work, logits + 3 * metadata.width * settings.slots * _FLOAT)) + 4096


def _old_device(
    metadata: ModelMetadata,
    place: GraphPart,
    settings: CacheSettings,
    kinds: Sequence[int],
    halves: int,
    work: float,
    inputs: int,
) -> int:
    """Older releases: masks arrive in single precision, and are given free again once they are halved."""
    tokens = settings.tokens
    width = metadata.width * tokens * _FLOAT
    trunk = [layer for layer in place.layers if layer.loaded]
    begun = [layer for layer in trunk if layer.window in place.begins]
    masks = [cells * tokens * _FLOAT for cells in mask_cells(metadata, begun, settings, OLD)]
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
        # On a single device the masks may still be in the way.
        logits = (metadata.vocabulary + _BEFORE_LOGITS * metadata.width) * tokens * _FLOAT
        logits += singles + (halves if singles else 0)
    return int(max(max(before, work + wasted) + halves + inputs, logits)) + 4096


def head_bytes(
    metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules, copies: int, flash: bool = True
) -> int:
    """Bytes of the head process's own part: it makes the inputs and looks up the embeddings."""
    kinds = mask_cells(metadata, metadata.layers, settings, rules)
    tokens = settings.tokens
    embedded = metadata.width * tokens * _FLOAT
    inputs = _indices(metadata, len(kinds), settings, flash) + _rotations(metadata, settings, rules)
    if rules.float_masks:
        return sum(kinds) * tokens * _FLOAT + 2 * embedded + inputs + (1 << 16)
    element = 2 if flash else _FLOAT
    return copies * (sum(kinds) * tokens * element + embedded + inputs) + embedded + (1 << 16)
