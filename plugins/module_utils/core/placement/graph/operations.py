# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the parts of the engine's layers, operation by operation (src/llama-graph.cpp).

Only properties that affect memory are modelled: the size of a result, its sources and the order. Operations that can
overwrite their input (biases, scales) and never change that order are omitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...models.metadata import LayerMetadata, ModelMetadata
from ..kv_cache import CACHE_TYPES
from .allocator import Graph, Tensor

_LONG = 8
# Width of the smallest matrix that rotates keys or values.
_ROTATION = 64
_WINDOWED = frozenset(("gemma2", "gemma3", "gpt-oss"))


@dataclass(frozen=True)
class Run:
    """Parameters of a graph.

    :param tokens: tokens of the largest micro-batch of all slots.
    :param outputs: tokens with a requested output.
    :param slots: sequences that are computed in parallel.
    :param streams: streams of the cache.
    :param cells: cells of one stream of a layer without and with a window.
    :param flash: whether attention is one operation.
    :param old: whether masks arrive in single precision.
    :param rotates_keys: whether keys are rotated, as quantised ones are; C(rotates_values): the same of values.
    """

    tokens: int
    outputs: int
    slots: int
    streams: int
    cells: tuple[int, int]
    flash: bool
    old: bool
    rotates_keys: bool
    rotates_values: bool
    cache_type: str


@dataclass(frozen=True)
class Constants:
    """Small matrices that all delta nets share in older releases."""

    causal: Tensor
    identity: Tensor
    diagonal: Tensor


class Blocks:
    """Builds the graph of a model. C(device) is the device of the current layer."""

    def __init__(self, metadata: ModelMetadata, run: Run) -> None:
        self.metadata = metadata
        self.run = run
        self.graph = Graph()
        self.device = 0
        self._inputs: dict[str, Tensor] = {}
        self._masks: dict[bool, Tensor] = {}
        self._places: tuple[Tensor, Tensor] | None = None
        self.parts: list[Tensor] = []
        self.constants: Constants | None = None

    def input(self, name: str, shape: tuple[int, ...], element: int = 4) -> Tensor:
        """Create an input once, which the head fills for each batch."""
        if name not in self._inputs:
            self._inputs[name] = Tensor("none", shape, element=element)
            self._inputs[name].is_input = True
        return self._inputs[name]

    def kept(self) -> Tensor:
        """Create a cache or state, which has a buffer of its own on this device."""
        found = Tensor("none", (0,), device=self.device)
        found.is_external = True
        return found

    def new(self, op: str, shape: tuple[int, ...], *sources: Tensor, element: int = 4) -> Tensor:
        return Tensor(op, shape, sources, element)

    def like(self, op: str, source: Tensor, *others: Tensor, device: int | None = None) -> Tensor:
        """Add an operation whose result has the layout of its first input."""
        return Tensor(op, source.layout[1], (source, *others), source.layout[0], device=device)

    def view(self, source: Tensor, shape: tuple[int, ...], is_dense: bool = True) -> Tensor:
        found = Tensor("view", shape, (source,), source.layout[0], root=source, is_dense=is_dense)
        if not is_dense:
            # A part of each row spans all rows between the first and the last.
            width = source.layout[1][0] * source.layout[0]
            rows = source.size // width if width else 0
            found.size = source.size - width + found.size // rows if rows else 0
        return found

    def store(self, source: Tensor, kept: Tensor) -> None:
        """Copy into a cache or a state."""
        place = self.view(kept, (source.layout[1][0],))
        self.graph.expand(Tensor("copy", (0,), (source, place), root=kept))

    def matrix(self, width: int, source: Tensor) -> Tensor:
        """Multiply by a matrix of weights on the layer's device."""
        return Tensor("mul_mat", (width, *source.layout[1][1:]), (source,), device=self.device)

    def weighted(self, op: str, source: Tensor) -> Tensor:
        """Multiply by a row of weights, or add it."""
        return self.like(op, source, device=self.device)

    def norm(self, source: Tensor, is_pinned: bool = True) -> Tensor:
        """Add a norm. The engine keeps that at a layer's beginning on the layer's device, others on any device."""
        return self.weighted("mul", self.like("rms_norm", source, device=self.device if is_pinned else None))

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        return self.like("add", first, second)

    def rope(self, source: Tensor) -> Tensor:
        has_four = "vl" in self.metadata.architecture or self.metadata.detail("four_positions")
        positions = 4 if has_four else 1
        return self.like("rope", source, self.input("positions", (self.run.tokens * positions,)))

    def rows(self, source: Tensor) -> Tensor:
        """Select the tokens with a requested output."""
        wanted = self.input("wanted", (self.run.outputs,))
        return self.new("get_rows", (source.layout[1][0], self.run.outputs), source, wanted)

    def mask(self, window: bool) -> Tensor:
        """Create the mask of the context or the window, in the precision of attention."""
        if window not in self._masks:
            run = self.run
            shape = (run.cells[window], run.tokens // run.streams, 1, run.streams)
            made = self.input(f"mask {window}", shape, element=2 if run.flash and not run.old else 4)
            self._masks[window] = self.new("cast", shape, made, element=2) if run.flash and run.old else made
        return self._masks[window]

    def _rotate(self, source: Tensor, size: int, kind: str) -> Tensor:
        matrix = self.input(f"rotation {kind} {size}", (size, size))
        length = source.size // source.layout[0]
        flat = (size, length // size)
        rows = self.view(source, flat) if source.layout[2] else self.new("cont", flat, source)
        return self.view(self.new("mul_mat", flat, matrix, rows), source.layout[1])

    def attention(self, layer: LayerMetadata, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store keys and values, then attend. The result has the width of all heads."""
        run, graph = self.run, self.graph
        suffix = str(layer.window)
        if run.rotates_keys and not layer.key % _ROTATION:
            # The largest power of two times the least width that divides the width of a key.
            rotation = layer.key & -layer.key
            query, key = (self._rotate(each, rotation, f"key {suffix}") for each in (query, key))
        turns_values = run.rotates_values and not layer.value % _ROTATION
        if turns_values:
            value = self._rotate(value, _ROTATION, f"value {suffix}")
        # Models with windowed layers are built in another order.
        is_windowed = layer.window or self.metadata.architecture in _WINDOWED
        for tensor in (query, key, value) if is_windowed else (query, value, key):
            graph.expand(tensor)
        keys, values = self.kept(), self.kept()
        self._keep(key, keys, self.input(f"keys {suffix}", (run.tokens,), _LONG))
        across = 1 if run.flash else layer.kv_heads * layer.value
        self._keep(value, values, self.input(f"values {suffix}", (run.tokens * across,), _LONG), across > 1)
        found = self._attend(layer, query, keys, values)
        return self._rotate(found, _ROTATION, f"value {suffix}") if turns_values else found

    def _keep(self, source: Tensor, cache: Tensor, places: Tensor, is_flat: bool = False) -> None:
        length = source.size // source.layout[0]
        if is_flat and not source.layout[2]:
            source = self.new("cont", (length,), source)
        row = self.view(source, (length,))
        target = self.view(cache, (0,)) if self.run.streams > 1 or is_flat else cache
        stored = Tensor("set_rows", (0,), (row, places, target), root=cache)
        self.graph.expand(stored)

    def _attend(self, layer: LayerMetadata, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        run, heads, value = self.run, layer.heads, layer.value
        tokens = run.tokens // run.streams
        query = self.view(self.view(query, query.layout[1], False), query.layout[1], False)
        key = self.view(self.view(keys, (0,)), (0,))
        row = self.view(self.view(values, (0,)), (0,))
        if run.flash:
            found = self.new("flash", (value, heads, tokens, run.streams), query, key, row, self.mask(layer.window))
            flat = self.view(found, (value * heads, run.tokens))
        else:
            scores = self._scores(query, key, heads, layer.window)
            weighed = self.new("mul_mat", (value, tokens, heads, run.streams), row, scores)
            flat = self.new("cont", (value * heads, run.tokens), self.view(weighed, weighed.layout[1], False))
        self.graph.expand(flat)
        return flat

    def _scores(self, query: Tensor, key: Tensor, heads: int, window: bool) -> Tensor:
        run = self.run
        shape = (run.cells[window], run.tokens // run.streams, heads, run.streams)
        return self.like("soft_max", self.new("mul_mat", shape, key, query), self.mask(window))

    def latent_attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with one compressed row for all heads, which holds keys and values."""
        run, graph, sizes = self.run, self.graph, self.metadata.latent or {}
        heads, rank, out = sizes["heads"], sizes["rank"], sizes["value"]
        tokens = run.tokens // run.streams
        for tensor in (query, value, key):
            graph.expand(tensor)
        cache = self.kept()
        self._keep(key, cache, self.input("keys False", (run.tokens,), _LONG))
        query = self.view(self.view(query, query.layout[1], False), query.layout[1], False)
        keys = self.view(cache, (0,))
        rows = self.view(self.view(keys, (0,)), (0,))
        keys = self.view(keys, (0,))
        if run.flash:
            found = self.new("flash", (rank, heads, tokens, run.streams), query, keys, rows, self.mask(False))
            turned = self.view(found, (rank, tokens, heads, run.streams), False)
            spread = self.matrix(out, turned)
            back = self.view(spread, (out, heads, tokens, run.streams), False)
            flat = self.view(self.like("cont", back), (out * heads, run.tokens))
        else:
            scores = self._scores(query, keys, heads, False)
            block, size = CACHE_TYPES[run.cache_type]
            lying = self.new("cont", (run.cells[0] * run.streams * rank // block,), self.view(rows, (0,)), element=size)
            weighed = self.new("mul_mat", (rank, tokens, heads, run.streams), lying, scores)
            spread = self.matrix(out, weighed)
            flat = self.new("cont", (out * heads, run.tokens), self.view(spread, spread.layout[1], False))
        graph.expand(flat)
        return self.matrix(self.metadata.width, flat)

    def gated(self, source: Tensor, inner: int) -> Tensor:
        """Add a feed-forward block with a gate."""
        up, gate = self.matrix(inner, source), self.matrix(inner, source)
        return self.matrix(self.metadata.width, self.like("glu", gate, up))

    def experts(
        self,
        source: Tensor,
        layer: LayerMetadata,
        gating: str = "soft_max",
        is_normed: bool = True,
        is_scaled: bool = False,
        groups: int = 0,
    ) -> Tensor:
        """Add a few experts for each token, which a gate selects, and sum their outputs.

        :param gating: soft_max over all experts, sigmoid with a bias, or soft_max over the selected ones ("after").
        """
        metadata, graph = self.metadata, self.graph
        tokens, used, count = source.layout[1][1], layer.experts_used, metadata.experts
        logits = self.matrix(count, source)
        probabilities = logits
        if gating != "after":
            probabilities = self.like("soft_max" if gating == "soft_max" else "unary", logits)
        selecting = self.weighted("add", probabilities) if gating == "sigmoid" else probabilities
        if groups > 1:
            selecting = self._grouped(selecting, groups, tokens)
        chosen = self.view(self.new("argsort", (count, tokens), selecting), (used, tokens), False)
        weights = self.new("get_rows", (1, used, tokens), self.view(probabilities, (1, count, tokens)), chosen)
        if gating == "after":
            weights = self.view(self.like("soft_max", self.view(weights, (used, tokens))), (1, used, tokens))
        elif is_normed:
            flat = self.view(weights, (used, tokens))
            total = self.new("sum_rows", (1, tokens), flat)
            # Older releases clamp in place.
            total = self.like("unary" if self.run.old else "clamp", total)
            weights = self.view(self.like("div", flat, total), (1, used, tokens))
        if is_scaled:
            weights = self.like("scale", weights)
        graph.expand(weights)
        row = self.view(source, (metadata.width, 1, tokens))
        up = self._of_experts(layer.expert_inner, row, chosen, used)
        gate = self._of_experts(layer.expert_inner, row, chosen, used)
        down = self._of_experts(metadata.width, self.like("glu", gate, up), chosen, used)
        down = self.like("mul", down, weights)
        if not self.run.old:
            graph.expand(down)
        outs = [self.view(down, (metadata.width, tokens), used == 1) for _each in range(used)]
        for out in outs:
            out.size = ((tokens - 1) * used + 1) * metadata.width * 4
        for out in outs:
            graph.expand(out)
        found = outs[0]
        for out in outs[1:]:
            found = self.add(found, out)
            if not self.run.old:
                graph.expand(found)
        return found if used > 1 else self.like("cont", found)

    def _grouped(self, selecting: Tensor, groups: int, tokens: int) -> Tensor:
        """Restrict the selection to experts of the best groups (DeepSeek V3)."""
        count = self.metadata.experts
        each = count // groups
        members = self.view(selecting, (each, groups, tokens))
        best = self.view(self.new("argsort", (each, groups, tokens), members), (2, groups, tokens), False)
        single = self.view(members, (1, each, groups, tokens))
        scores = self.new("get_rows", (1, 2, groups, tokens), single, best)
        summed = self.view(
            self.new("sum_rows", (1, groups, tokens), self.view(scores, (2, groups, tokens))), (groups, tokens)
        )
        taken = self.view(self.new("argsort", (groups, tokens), summed), (groups, tokens), False)
        picked = self.new("get_rows", (each, groups, tokens), members, taken)
        filled = self.like("fill", members)
        masked = Tensor("set_rows", filled.layout[1], (picked, taken, filled), root=filled)
        return self.view(masked, (count, tokens))

    def _of_experts(self, width: int, source: Tensor, chosen: Tensor, used: int) -> Tensor:
        return Tensor("mul_mat_id", (width, used, source.layout[1][2]), (source, chosen), device=self.device)

    def state(self, size: int, kept: Tensor, scan: Sequence[Tensor] = ()) -> Tensor:
        """Read a recurrent state: in place by a scan, or as a copy of one row for each slot.

        :param size: floats of one slot, or of the scan's result.
        :param scan: other inputs of the scan.
        """
        graph, slots = self.graph, self.run.slots
        if self._places is None:
            copies = self.input("states", (slots,))
            self._places = self.view(copies, (slots,)), self.view(copies, (0,))
        main, extra = self._places
        states = self.view(kept, (0,))
        graph.expand(Tensor("scale", (0,), (self.view(states, (0,)),), root=kept))
        if scan:
            found = Tensor("scan", (size,), (self.view(states, (0,)), *scan, main), device=self.device)
        else:
            found = self.new("get_rows", (size, slots), states, main)
        graph.expand(found)
        rest = self.new("get_rows", (size, 0), states, extra)
        self.store(rest, kept)
        return found

    def convolution(self, source: Tensor) -> Tensor:
        """Convolve each token (width, tokens of a slot, slots) with those before it, the last of which are a state."""
        width, each, slots = source.layout[1][:3]
        history, earlier = self.kept(), (self.metadata.recurrent or {})["conv"] - 1
        before = self.view(self.state(earlier * width, history), (earlier, width, slots))
        turned = self.view(source, (each, width, slots), False)
        rolled = self.new("concat", (earlier + each, width, slots), before, turned)
        self.store(self.view(rolled, (earlier, width, slots), False), history)
        return Tensor("ssm_conv", (width, each, slots), (rolled,), device=self.device)
