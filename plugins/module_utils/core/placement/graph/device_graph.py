# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the compute buffer of one device: build its part of the graph and allocate it as the engine does.

The part includes the device's own layers, a few before them and a few after them. Those before send their result and
may already convert masks that the device needs. Of those after, the scheduler may compute some operations here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...models.metadata import LayerMetadata, ModelMetadata
from . import delta_net
from .allocator import Tensor, arena_bytes
from .architectures import LAYERS, ONLY_EXPERTS
from .operations import Blocks, Run

_BEFORE, _OWN, _AFTER, _HEAD = range(4)
# After these rounds of a pattern of layers the addresses repeat, so further rounds are skipped.
_ROUNDS = 6
_LONGEST_PATTERN = 16


@dataclass(frozen=True)
class GraphPart:
    """One device's part of the graph.

    :param has_output: whether it ends the graph.
    :param has_last_layer: whether it computes the last layer.
    :param begins: the kinds of mask that it needs first; True for windows.
    :param first: number of layers before its first one.
    :param before: a few layers before its first one.
    :param after: a few layers after its last one.
    """

    layers: Sequence[LayerMetadata]
    has_output: bool
    has_last_layer: bool
    begins: frozenset[bool] = frozenset()
    first: int = 0
    before: Sequence[LayerMetadata] = ()
    after: Sequence[LayerMetadata] = ()


def is_followed(metadata: ModelMetadata) -> bool:
    """Return whether this model's graph is known, and its metadata has what the graph needs."""
    has_experts = all(
        layer.experts_used if layer.expert_inner else metadata.architecture not in ONLY_EXPERTS
        for layer in metadata.layers
    )
    is_known = metadata.architecture in LAYERS and bool(metadata.details)
    return is_known and has_experts and not metadata.detail("joined_net")


def _shortened(layers: Sequence[LayerMetadata]) -> list[LayerMetadata]:
    """Shorten each repeating pattern of layers."""
    found: list[LayerMetadata] = []
    position = 0
    while position < len(layers):
        best = (1, 1)
        for length in range(1, min(_LONGEST_PATTERN, len(layers) - position) + 1):
            pattern = layers[position : position + length]
            rounds = 1
            while layers[position + rounds * length : position + (rounds + 1) * length] == pattern:
                rounds += 1
            if rounds > _ROUNDS and rounds * length > best[0] * best[1]:
                best = (rounds, length)
        rounds, length = best
        found += layers[position : position + min(rounds, _ROUNDS) * length]
        position += rounds * length
    return found


def _output(blocks: Blocks, source: Tensor) -> None:
    metadata = blocks.metadata
    normed = blocks.norm(source, is_pinned=False)
    normed.is_output = True
    if metadata.architecture == "qwen3next" and not blocks.run.old:
        # The normalised result of all tokens is kept for a second head.
        normed = blocks.rows(normed)
        normed.is_output = True
    logits = blocks.matrix(metadata.vocabulary, normed)
    logits.is_output = True
    blocks.graph.expand(logits)


def _deepened(blocks: Blocks, source: Tensor, number: int) -> Tensor:
    """Add a layer's part of wider embeddings to its result."""
    if number >= len(blocks.parts):
        return source
    entering = blocks.parts[number]
    part = Tensor("view", entering.layout[1], (entering,), root=entering, is_dense=False)
    part.size = entering.size
    return blocks.add(source, part)


def buffer_bytes(metadata: ModelMetadata, run: Run, part: GraphPart, copies: int, alignment: int) -> int:
    """Compute the bytes of the compute buffer of a device with this part of the graph.

    :param copies: copies of the inputs in a pipeline over several devices.
    """
    build = LAYERS[metadata.architecture]
    blocks = Blocks(metadata, run)
    tokens = blocks.input("tokens", (run.tokens,))
    found = blocks.new("get_rows", (metadata.width, run.tokens), tokens)
    found.device = _HEAD
    blocks.graph.expand(found)
    if metadata.architecture.startswith("gemma") or metadata.detail("embedding_scale"):
        found = blocks.like("scale", found)
    deep = metadata.detail("deepstack")
    if deep:
        # Images would enter the first layers too, so each gets a part of much wider embeddings.
        wide = blocks.new("pad", ((1 + deep) * metadata.width, run.tokens), found)
        found = blocks.view(wide, (metadata.width, run.tokens), False)
        blocks.graph.expand(found)
    blocks.parts = [found] * deep
    if metadata.architecture == "qwen3next" and run.old:
        blocks.constants = delta_net.constants(blocks)
    own = _shortened([layer for layer in part.layers if layer.loaded])
    blocks.device = _BEFORE
    if part.before:
        for window in (False, True):
            if window not in part.begins and run.old and run.flash:
                # A former device converts it to half precision.
                blocks.mask(window).device = _BEFORE
                blocks.graph.expand(blocks.mask(window))
    for device, layers, first, has_last in (
        (_BEFORE, part.before, part.first - len(part.before), not own and not part.has_last_layer),
        (_OWN, own, part.first, part.has_last_layer),
        (_AFTER, part.after, part.first + len(own), False),
    ):
        blocks.device = device
        for number, layer in enumerate(layers):
            is_last = has_last and number == len(layers) - 1
            found = _deepened(blocks, build(blocks, layer, found, is_last), first + number)
    if part.has_output:
        blocks.device = _OWN
    _output(blocks, found)
    return arena_bytes(blocks.graph, _OWN, _HEAD, copies, alignment)


def predictor_bytes(
    metadata: ModelMetadata, run: Run, has_block: bool, has_output: bool, copies: int, alignment: int
) -> int:
    """Compute the bytes of the compute buffer in which a block predicts further tokens (graph_mtp in src/models).

    The block joins the states of the last tokens with their embeddings. Its one layer is that of the metadata.

    :param has_block: whether the block is on this device.
    :param has_output: whether the output is.
    """
    blocks = Blocks(metadata, run)
    blocks.device = _OWN if has_block else _BEFORE
    embedded = blocks.new("get_rows", (metadata.width, run.tokens), blocks.input("tokens", (run.tokens,)))
    embedded.device = _HEAD
    blocks.graph.expand(embedded)
    states = blocks.norm(blocks.input("states", (metadata.width, run.tokens)))
    joined = blocks.new("concat", (2 * metadata.width, run.tokens), blocks.norm(embedded), states)
    found = LAYERS[metadata.architecture](blocks, metadata.layers[0], blocks.matrix(metadata.width, joined), False)
    normed = blocks.norm(found, is_pinned=False)
    normed.is_output = True
    blocks.device = _OWN if has_output else _AFTER
    logits = blocks.matrix(metadata.vocabulary, blocks.rows(normed))
    logits.is_output = True
    blocks.graph.expand(logits)
    return arena_bytes(blocks.graph, _OWN, _HEAD, copies, alignment)
