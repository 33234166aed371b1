# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that each device needs for the graph itself: its inputs and what lies between its operations.

All of it grows with the micro-batch, the masks with the context too. The inputs follow from the settings
exactly. What lies between operations is reused by the engine's allocator from one operation to the next;
the terms here are what is alive at the widest place of each kind of layer, in floats a token, with the
allocator's leftovers. They were found by measuring (docs/reference/placement-accuracy.md) and are upper
bounds there: exact for dense models of published sizes, some more for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import graph_memory
from .graph_blocks import Run
from .kv_cache import CacheSettings, layer_cells
from .model_shape import LayerShape, ModelShape

_FLOAT = 4
# An architecture that was not measured gets so much more than the widest place that can be told.
_UNKNOWN_FACTOR = 1.5
# Floats a token of a recurrent layer as multiples of width, inner width, and twice groups times state.
_RECURRENT: Mapping[str, tuple[float, float, float]] = {
    "mamba": (16.2, 0, 0),
    "mamba2": (14, 0, 0.5),
    "jamba": (16.2, 0, 0),
    "falcon-h1": (1.5, 7, 2),
    "granitehybrid": (15, 0, 0.5),
    "nemotron_h": (15.2, 0, 0.5),
    "lfm2": (7, 0, 0),
    "qwen3next": (10, 2, 0),
}
_RECURRENT_BOUND = (16.2, 7, 2)
# Where a layer without attention ends a device and another begins the next, part of the work is done on the
# next one and goes to and fro: copies of its inner width on this side, and more on the other.
_RETURNING = frozenset(("mamba", "mamba2", "jamba", "granitehybrid", "nemotron_h"))
_SENT, _RECEIVED = 4, 9.1
# Widths that lie before the logits of older releases; what is left of the arena decides it. Plain layers leave
# it in order, others do not.
_BEFORE_LOGITS: Mapping[str, float] = {
    "llama": 2,
    "qwen2": 2,
    "qwen3": 2,
    "qwen3moe": 2,
    "jamba": 12,
    "qwen3next": 14,
    "nemotron_h": 17,
}
_BEFORE_LOGITS_BOUND = 9.0


@dataclass(frozen=True)
class Rules:
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


NEW = Rules(copies=4, reserves_logits=False, float_masks=False, hybrid_bug=False, copies_local=False)
OLD = Rules(copies=1, reserves_logits=True, float_masks=True, hybrid_bug=True, copies_local=True)


@dataclass(frozen=True)
class Place:
    """One device's part of the graph.

    :param layers: its layers; has_output whether it ends the graph; has_last_layer whether the last layer
        that is computed is here.
    :param begins: the kinds of mask that are first needed here, True for windows.
    :param before: the few layers before its first one, after those that follow its last one.
    """

    layers: Sequence[LayerShape]
    has_output: bool
    has_last_layer: bool
    begins: frozenset[bool] = frozenset()
    before: Sequence[LayerShape] = ()
    after: Sequence[LayerShape] = ()


def _attention(shape: ModelShape, layer: LayerShape, rules: Rules) -> float:
    if shape.latent:
        heads, rank = shape.latent["heads"], shape.latent["rank"]
        key, value, rope = shape.latent["key"], shape.latent["value"], shape.latent["rope"]
        if shape.latent["compressed"]:
            return heads * (2 * rank + rope + key + value) + 4 * shape.width + 3 * shape.experts
        return heads * (4 * key + 2 * value) + 3 * shape.width
    query = layer.heads * layer.key
    if shape.architecture == "phi3":
        return (
            2 * query + 2 * layer.kv_heads * (layer.key + layer.value) + (3 if rules.float_masks else 1) * shape.width
        )
    gated = query + 1.2 * shape.width if shape.architecture == "qwen3next" else 0
    return 2 * query + gated + layer.kv_heads * (layer.key + layer.value) + shape.width


def _dense(shape: ModelShape, layer: LayerShape, rules: Rules) -> float:
    width, query, name = shape.width, layer.heads * layer.key, shape.architecture
    if name.startswith("gemma"):
        return 3 * layer.inner + 3 * max(width, query) + (1 if rules.float_masks else 0.5) * width
    if name == "granitehybrid":
        # What the recurrence leaves free is too narrow for a wide block.
        return 3 * layer.inner + (10 if layer.inner > 4 * width else 4.2) * width
    if name.startswith("nemotron_h"):
        return 2 * layer.inner + 3 * width
    if name == "falcon-h1":
        return 3 * layer.inner + 4 * width
    if query >= layer.inner:
        return 3 * layer.inner + 3 * width
    return 3 * layer.inner + 2 * width + max(width, query)


def _experts(shape: ModelShape, layer: LayerShape, rules: Rules) -> float:
    width, query, used = shape.width, layer.heads * layer.key, layer.experts_used
    inner = layer.expert_inner * used
    if shape.architecture == "gpt-oss":
        return (
            3 * inner
            + (4 if rules.float_masks else 3) * width
            + query
            + 2 * layer.kv_heads * layer.key
            + 2 * shape.experts
        )
    entering = 3 * inner + 2 * width + max(query, 1.5 * width)
    leaving = inner + 2 * used * width + 2 * width + max(query - width, 0)
    return max(entering, leaving) + 2 * shape.experts


def _recurrence(shape: ModelShape) -> float:
    found = shape.recurrent or {}
    row = _RECURRENT.get(shape.architecture, _RECURRENT_BOUND)
    mixed = 2 * found.get("groups", 0) * found.get("state", 0)
    return row[0] * shape.width + row[1] * found.get("inner", 0) + row[2] * mixed


def _returns(layer: LayerShape, following: LayerShape) -> bool:
    """Whether work of a layer goes to the device of the following one and comes back."""
    return not layer.kv_heads and not layer.expert_inner and not following.kv_heads


def _returning(shape: ModelShape, place: Place) -> float:
    """Floats a token that lie on a device because of that."""
    if shape.architecture not in _RETURNING or not place.layers:
        return 0.0
    inner = (shape.recurrent or {}).get("inner", 0)
    sent = _SENT * inner if place.after and _returns(place.layers[-1], place.after[0]) else 0.0
    received = place.before and _returns(place.before[-1], place.layers[0])
    return sent + (_RECEIVED * inner if received else 0.0)


def layer_floats(shape: ModelShape, layer: LayerShape, rules: Rules, is_last: bool, is_several: bool) -> float:
    """Floats a token that are alive at the widest place of a layer, without inputs and masks.

    :param is_last: whether it is the last layer of the graph.
    :param is_several: whether there are several slots.
    """
    found = [3.0 * shape.width]
    if layer.kv_heads:
        found.append(_attention(shape, layer, rules))
    if layer.state:
        # Several slots have their states side by side.
        found.append(_recurrence(shape) + (3 * shape.width if is_several else 0))
    # After the attention of the last layer only the tokens go on whose answer is wanted.
    if not is_last or rules.reserves_logits or shape.architecture == "gpt-oss":
        if layer.inner:
            found.append(_dense(shape, layer, rules))
        if layer.expert_inner:
            found.append(_experts(shape, layer, rules))
    return max(found)


def mask_cells(shape: ModelShape, layers: Sequence[LayerShape], settings: CacheSettings, rules: Rules) -> list[int]:
    """Cells of each kind of mask that these layers need, the whole context's and the window's."""
    kinds = {
        (layer.window, layer_cells(shape, layer, settings, rules.hybrid_bug)) for layer in layers if layer.kv_heads
    }
    return [cells for _window, cells in sorted(kinds)]


def _indices(shape: ModelShape, kinds: int, settings: CacheSettings, flash: bool) -> int:
    """Bytes of positions and of where keys and values go, and of what the slots ask for."""
    per_kind = 8 if shape.latent and shape.latent["compressed"] else 16
    if not flash:
        # Values lie across then, and each of their elements has an index.
        per_kind += 8 * max((layer.kv_heads * layer.value for layer in shape.layers), default=0)
    positions = 16 if "vl" in shape.architecture else 4
    return settings.tokens * (positions + kinds * per_kind) + 512 + 128 * settings.slots


def _rotations(shape: ModelShape, settings: CacheSettings, rules: Rules) -> int:
    """Bytes of the matrices by which quantised caches are rotated."""
    if rules.float_masks or settings.type_k.endswith(("f16", "f32")):
        return 0
    return 4 * 64 * 64 * _FLOAT + sum(
        2 * width * width * _FLOAT for width in {layer.key for layer in shape.layers if layer.kv_heads}
    )


def _followed(
    shape: ModelShape,
    place: Place,
    settings: CacheSettings,
    rules: Rules,
    copies: int,
    flash: bool,
    alignment: int,
) -> int:
    """Build the graph and give its tensors their places, as the engine does."""
    # Slots get equal parts of the micro-batch.
    tokens = -(-settings.tokens // settings.slots) * settings.slots
    cells = {
        layer.window: layer_cells(shape, layer, settings, rules.hybrid_bug) for layer in shape.layers if layer.kv_heads
    }
    run = Run(
        tokens=tokens,
        outputs=tokens if rules.reserves_logits else min(settings.slots, tokens),
        slots=settings.slots,
        streams=settings.streams,
        cells=(cells.get(False, 0), cells.get(True, 0)),
        flash=flash,
        old=rules.float_masks,
        rotated=_rotations(shape, settings, rules) > 0,
        cache_type=settings.type_k,
    )
    return graph_memory.buffer_bytes(
        shape,
        run,
        place.layers,
        place.before,
        place.after,
        place.has_output,
        place.has_last_layer,
        place.begins,
        copies,
        alignment,
    )


def device_bytes(
    shape: ModelShape,
    place: Place,
    settings: CacheSettings,
    rules: Rules,
    copies: int,
    flash: bool = True,
    alignment: int = 32,
) -> int:
    """Bytes of the compute buffer of one device.

    :param copies: of the inputs, C(Rules.copies) where several devices work as a pipeline, otherwise 1.
    :param alignment: of tensors in the device's buffers.
    """
    if not place.layers and not place.has_output:
        return 0
    if graph_memory.is_followed(shape):
        return _followed(shape, place, settings, rules, copies, flash, alignment)
    tokens = settings.tokens
    trunk = [layer for layer in place.layers if layer.loaded]
    kinds = mask_cells(shape, trunk, settings, rules)
    element = 2 if flash else _FLOAT
    halves = sum(kinds) * tokens * element
    widest = max(
        (
            layer_floats(shape, layer, rules, place.has_last_layer and number == len(trunk) - 1, settings.slots > 1)
            for number, layer in enumerate(trunk)
        ),
        default=0.0,
    )
    if shape.architecture == "qwen3next" and rules.float_masks and place.before and trunk and trunk[0].state:
        widest = max(widest, (trunk[0].experts_used ** 2 + 2.0) * shape.width)
    if shape.architecture == "lfm2" and _rotations(shape, settings, rules):
        widest += 3.1 * shape.width
    if copies > 1:
        widest += _returning(shape, place)
    if not shape.known:
        widest *= _UNKNOWN_FACTOR
    work = widest * tokens * _FLOAT
    if not flash and trunk:
        heads = max((layer.heads for layer in trunk), default=0)
        work += heads * max(kinds, default=0) * tokens * _FLOAT
    # A recurrence writes its new states beside the old ones, however short the micro-batch.
    work += 3 * max((layer.state for layer in trunk), default=0) * settings.slots * _FLOAT
    embedded = shape.width * tokens * _FLOAT
    inputs = _indices(shape, len(kinds), settings, flash) + _rotations(shape, settings, rules)
    if rules.float_masks:
        return _old_device(shape, place, settings, kinds, halves, work, inputs + embedded)
    logits = shape.vocabulary * settings.slots * _FLOAT if place.has_output else 0
    if not trunk:
        # Only the tokens whose answer is wanted get here.
        return int(logits + copies * 8 * shape.width * settings.slots * _FLOAT) + (1 << 18)
    inputs += halves + embedded
    return int(copies * inputs + max(work, logits + 3 * shape.width * settings.slots * _FLOAT)) + 4096


def _old_device(
    shape: ModelShape,
    place: Place,
    settings: CacheSettings,
    kinds: Sequence[int],
    halves: int,
    work: float,
    inputs: int,
) -> int:
    """Older releases: masks arrive in single precision, and are given free again once they are halved."""
    tokens = settings.tokens
    width = shape.width * tokens * _FLOAT
    trunk = [layer for layer in place.layers if layer.loaded]
    begun = [layer for layer in trunk if layer.window in place.begins]
    masks = [cells * tokens * _FLOAT for cells in mask_cells(shape, begun, settings, OLD)]
    singles = sum(masks)
    before = singles + max((_attention(shape, layer, OLD) for layer in trunk), default=0.0) * tokens * _FLOAT
    if shape.recurrent:
        before += 6 * width
    row = max((max(layer.inner, layer.expert_inner * layer.experts_used) for layer in trunk), default=0)
    if shape.latent:
        row = max(row, shape.latent["heads"] * (shape.latent["rank"] + shape.latent["rope"]))
    row *= tokens * _FLOAT
    wasted = float(sum(mask - min(3, mask // row) * row if row else mask for mask in masks))
    if shape.recurrent:
        wasted += width
    if _is_roomy(shape, trunk):
        # The input's place and those of masks are used again by narrow rows.
        work -= width if masks else 2 * width
        wasted = float(sum(_left_over(mask, row, width) for mask in masks))
    logits = 0.0
    if place.has_output:
        several = _BEFORE_LOGITS.get(shape.architecture, _BEFORE_LOGITS_BOUND)
        # On a single device the masks may still be in the way.
        logits = (shape.vocabulary + several * shape.width) * tokens * _FLOAT + singles + (halves if singles else 0)
    return int(max(max(before, work + wasted) + halves + inputs, logits)) + 4096


def _is_roomy(shape: ModelShape, layers: Sequence[LayerShape]) -> bool:
    """Whether key heads are few and dense blocks wide, so that one finds room in what the other has left."""
    return not shape.recurrent and all(
        2 * layer.kv_heads * (layer.key + layer.value) <= shape.width
        and layer.inner >= 3.2 * shape.width
        and not layer.window
        for layer in layers
    )


def _left_over(mask: int, row: int, width: int) -> int:
    """What a mask leaves free and nothing uses again: wide rows go there if they fit, narrow ones otherwise."""
    if row and mask >= row:
        return mask - min(3, mask // row) * row + 2 * width
    return mask - min(2, mask // width) * width


def head_bytes(shape: ModelShape, settings: CacheSettings, rules: Rules, copies: int, flash: bool = True) -> int:
    """Bytes of the head process's own part: it makes the inputs and looks up the embeddings."""
    kinds = mask_cells(shape, shape.layers, settings, rules)
    tokens = settings.tokens
    embedded = shape.width * tokens * _FLOAT
    inputs = _indices(shape, len(kinds), settings, flash) + _rotations(shape, settings, rules)
    if rules.float_masks:
        return sum(kinds) * tokens * _FLOAT + 2 * embedded + inputs + (1 << 16)
    element = 2 if flash else _FLOAT
    return copies * (sum(kinds) * tokens * element + embedded + inputs) + embedded + (1 << 16)
