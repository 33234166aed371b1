# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the size of each device's compute buffer: the inputs and intermediate results of the graph.

For a known architecture, C(graph) builds the engine's graph and allocates it, and the result equals the engine's own
number. For any other architecture the result is an upper bound: all inputs, and 1.6 times the floats a token
at the widest point of any known kind of layer with these dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..models.metadata import PADDING, LayerMetadata, ModelMetadata
from .graph import device_graph
from .graph.device_graph import GraphPart
from .graph.operations import Run
from .kv_cache import CacheSettings, cache_bytes, layer_cells

_FLOAT = 4
# The bound follows from dimensions only. This factor covers holes in the buffer.
_UNKNOWN_FACTOR = 1.6
# Floats a token of the widest known recurrent layer: factors of width, inner width, and twice groups times state.
_RECURRENT = (16.2, 7.0, 2.0)
# The same of a recurrence without dimensions in the header, as in rwkv: factor of width.
_TIME_MIX = 28.0
# These architectures decay a state by a matrix of tokens times tokens for each head.
_DECAYING = frozenset(("minimax-01", "kimi-linear"))
# If layers without attention meet at a boundary of devices, the next device computes a part and returns it: copies of
# the inner width on this side, and more on the other.
_SENT, _RECEIVED = 4, 9.1
# Widths that may precede the logits in releases that reserve them; the remaining holes decide.
_BEFORE_LOGITS = 17.0
# Copies of further residual streams that are mixed at a time.
_STREAMED = 20
# Bytes for each cell and token that an indexer takes: scores, their order, and the mask that it makes of them.
_INDEXER, _INDEXER_WITHOUT_FLASH = 14, 24
# These architectures compute the logits of all tokens.
_ALL_LOGITS = frozenset(("cogvlm",))
# Passes of the looped layers of an architecture, whose results cross between devices.
_LOOPED = frozenset(("hrm_text",))
# The graph of their blocks that predict further tokens is known.
_PREDICTORS = frozenset(("glm4moe",))
# The engine never uses flash attention for these architectures.
_NEVER_FLASH = frozenset(("grok",))


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
#: The newest build number with the rules that were measured for b7836.
_LAST_OLD = 7900


def is_older(release: str) -> bool:
    """Return whether a release has the rules that were measured for b7836, as all tags before it."""
    return release.startswith("b") and release[1:].isdigit() and int(release[1:]) <= _LAST_OLD


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
    if not metadata.recurrent:
        return _TIME_MIX * metadata.width
    found = metadata.recurrent
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
    # Some architectures have four positions for each token.
    per_token = metadata.width * _FLOAT + 16 + kinds * per_kind
    return settings.tokens * per_token + 512 + 128 * settings.slots + _rotations(metadata, settings, rules)


def _rotates(cache_type: str, rules: ComputeBufferRules) -> bool:
    """Return whether the engine rotates what it keeps in this type. Older releases never do."""
    return not rules.float_masks and not cache_type.endswith(("f16", "f32"))


def _rotations(metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules) -> int:
    """Compute the bytes of the matrices that rotate quantised caches."""
    if not (_rotates(settings.type_k, rules) or _rotates(settings.type_v, rules)):
        return 0
    return 4 * 64 * 64 * _FLOAT + sum(
        2 * width * width * _FLOAT for width in {layer.key for layer in metadata.layers if layer.kv_heads}
    )


def _streams(metadata: ModelMetadata) -> int:
    """Compute the floats a token of further residual streams."""
    return max(metadata.detail("streams") - 1, 0) * metadata.width


def _carried(metadata: ModelMetadata) -> int:
    """Compute the floats a token that pass through all layers beside the usual width."""
    looped = 3 * metadata.width if metadata.architecture in _LOOPED else 0
    return _streams(metadata) + looped + metadata.detail("per_layer_input") * len(metadata.layers)


def _borrowed(metadata: ModelMetadata, layers: Sequence[LayerMetadata], settings: CacheSettings) -> int:
    """Compute the bytes of caches that layers read from another device, which are copied to this one."""
    found = 0
    for window in {layer.window for layer in layers if layer.shares_cache}:
        if not any(layer.window == window and layer.kv_heads and not layer.shares_cache for layer in layers):
            sources = [layer for layer in metadata.layers if layer.window == window and not layer.shares_cache]
            found += max((cache_bytes(metadata, layer, settings) for layer in sources), default=0)
    return found


def _indexed(metadata: ModelMetadata, layers: Sequence[LayerMetadata], settings: CacheSettings, flash: bool) -> int:
    """Compute the bytes that indexers take in a buffer."""
    # Layers without an indexer of their own use the selection of an earlier one.
    width = max((layer.indexer for layer in metadata.layers), default=0) if layers else 0
    each = _INDEXER if flash else _INDEXER_WITHOUT_FLASH
    scores = each * settings.cells if width else 0
    # Its queries stay beside those that follow.
    return settings.tokens * (scores + 3 * metadata.detail("index_heads") * width * _FLOAT)


def _run(metadata: ModelMetadata, settings: CacheSettings, rules: ComputeBufferRules, flash: bool) -> Run:
    """Return the parameters of the graph."""
    # The slots share the micro-batch equally.
    tokens = -(-settings.tokens // settings.slots) * settings.slots
    cells = mask_cells(metadata, metadata.layers, settings, rules)
    # Hybrid models with windows have no matrix for a rotation (build_inp_mem_hybrid_iswa).
    is_rotated = not (metadata.recurrent and any(layer.window for layer in metadata.layers))
    return Run(
        tokens=tokens,
        outputs=tokens if rules.reserves_logits else min(settings.outputs, tokens),
        slots=settings.slots,
        streams=settings.streams,
        cells=(cells.get(False, 0), cells.get(True, 0)),
        flash=flash,
        old=rules.float_masks,
        rotates_keys=is_rotated and _rotates(settings.type_k, rules),
        rotates_values=is_rotated and _rotates(settings.type_v, rules),
        cache_type=settings.type_k,
    )


def predictor_bytes(
    metadata: ModelMetadata,
    settings: CacheSettings,
    rules: ComputeBufferRules,
    copies: int,
    flash: bool,
    alignment: int,
    has_block: bool,
    has_output: bool,
) -> int:
    """Compute the bytes of a device's second compute buffer, in which a block predicts further tokens.

    :param has_block: whether the block is on this device.
    :param has_output: whether the output is.
    """
    alone = replace(metadata, layers=metadata.predictors[:1])
    if metadata.architecture in _PREDICTORS and device_graph.is_followed(metadata):
        run = _run(alone, settings, rules, flash)
        return device_graph.predictor_bytes(alone, run, has_block, has_output, copies, alignment)
    # The states of the last tokens are one more input, and are joined with the embeddings.
    place = GraphPart(alone.layers if has_block else (), has_output, has_last_layer=has_block)
    unknown = replace(alone, details=None)
    found = device_bytes(unknown, place, settings, rules, copies, flash, alignment)
    return found + (copies + 3) * metadata.width * settings.tokens * _FLOAT


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
    flash = flash and metadata.architecture not in _NEVER_FLASH
    if device_graph.is_followed(metadata):
        run = _run(metadata, settings, rules, flash)
        found = device_graph.buffer_bytes(metadata, run, place, copies, alignment)
        if metadata.detail("residual_scale") and not rules.float_masks:
            # The scheduler of newer releases keeps up to two more results at a boundary of devices.
            found += 2 * metadata.width * settings.tokens * _FLOAT
        return found
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
    if metadata.architecture in _DECAYING:
        work += 3 * max((layer.heads for layer in metadata.layers), default=0) * tokens * tokens * _FLOAT
    carried = _carried(metadata) * tokens * _FLOAT
    work += _indexed(metadata, trunk, settings, flash) + 3 * carried
    work += _STREAMED * _streams(metadata) * tokens * _FLOAT
    inputs = _inputs(metadata, len(kinds), settings, rules, flash)
    if trunk:
        inputs += 2 * carried + _borrowed(metadata, trunk, settings)
    if rules.float_masks:
        return _old_device(metadata, place, settings, halves, work, inputs)
    outputs = tokens if metadata.architecture in _ALL_LOGITS else settings.outputs
    logits = metadata.vocabulary * outputs * _FLOAT if place.has_output else 0
    if not trunk:
        # Only tokens with a requested output get here.
        return int(logits + copies * 8 * (metadata.width + _streams(metadata)) * settings.outputs * _FLOAT) + (1 << 18)
    return int(copies * (inputs + halves) + max(work, logits + 8 * metadata.width * outputs * _FLOAT)) + 4096


def _old_device(
    metadata: ModelMetadata, place: GraphPart, settings: CacheSettings, halves: int, work: float, inputs: int
) -> int:
    """Compute the buffer in older releases: masks arrive in single precision and are freed after their conversion."""
    tokens = settings.tokens
    width = metadata.width * tokens * _FLOAT
    trunk = [layer for layer in place.layers if layer.loaded]
    # The scheduler may convert a mask on any device with attention.
    masks = [cells * tokens * _FLOAT for cells in mask_cells(metadata, trunk, settings, OLD).values()]
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
    flash = flash and metadata.architecture not in _NEVER_FLASH
    kinds = mask_cells(metadata, metadata.layers, settings, rules)
    embedded = metadata.width * settings.tokens * _FLOAT
    masks = sum(kinds.values()) * settings.tokens * (2 if flash and not rules.float_masks else _FLOAT)
    inputs = masks + _inputs(metadata, len(kinds), settings, rules, flash)
    return copies * inputs + embedded + (1 << 16)
