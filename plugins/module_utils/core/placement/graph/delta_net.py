# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build gated delta nets (src/models/qwen3next.cpp). Newer releases have one operation for them; older ones unroll it.

The unrolled form works on successive chunks of tokens, and keeps much of each chunk until the end.
"""

from __future__ import annotations

from ...models.metadata import LayerMetadata
from .allocator import Tensor
from .operations import Blocks, Constants

_CHUNK = 64


def constants(blocks: Blocks) -> Constants:
    """Create the constants once, before the first layer."""
    square = (_CHUNK, _CHUNK)
    ones, row = blocks.new("none", square), blocks.new("none", (_CHUNK,))
    causal = blocks.new("tri", square, Tensor("fill", square, (ones,), root=ones))
    identity = blocks.new("diag", square, Tensor("fill", (_CHUNK,), (row,), root=row))
    found = Constants(causal, identity, blocks.add(causal, identity))
    for tensor in (found.causal, found.identity, found.diagonal):
        blocks.graph.expand(tensor)
    return found


def attention(blocks: Blocks, layer: LayerMetadata, source: Tensor) -> Tensor:
    """Build attention whose result is gated by a second output of the queries' matrix."""
    tokens, heads, size, old = blocks.run.tokens, layer.heads, layer.key, blocks.run.old
    both = blocks.view(blocks.matrix(2 * heads * size, source), (2 * size, heads, tokens))
    query, gate = (blocks.view(both, (size, heads, tokens), False) for _each in range(2))
    if old:
        query = blocks.like("cont", query)
    key = blocks.view(blocks.matrix(layer.kv_heads * size, source), (size, layer.kv_heads, tokens))
    width = layer.kv_heads * layer.value
    value = blocks.view(blocks.matrix(width, source), (layer.value, layer.kv_heads, tokens))
    query, key = blocks.rope(blocks.norm(query)), blocks.rope(blocks.norm(key))
    found = blocks.attention(layer, query, key, value)
    gate = blocks.like("unary", blocks.new("cont", (size * heads, tokens), gate))
    return blocks.matrix(blocks.metadata.width, blocks.like("mul", found, gate))


def recurrence(blocks: Blocks, source: Tensor, shared: Constants | None) -> Tensor:
    """Build the delta net of a layer.

    :param shared: constants of an older release; None for a newer one.
    """
    sizes, slots = blocks.metadata.recurrent or {}, blocks.run.slots
    inner, size, key_heads, heads = (sizes[name] for name in ("inner", "state", "groups", "rank"))
    each, value, width = blocks.run.tokens // slots, inner // heads, inner + 2 * key_heads * size
    mixed = blocks.view(blocks.matrix(width, source), (width, each, slots))
    z = blocks.matrix(heads * value, source)
    pairs = blocks.view(blocks.matrix(2 * heads, source), (2 * heads // key_heads, key_heads, each, slots))
    part = (heads // key_heads, key_heads, each, slots)
    beta = blocks.new("cont", (heads, 1, each, slots) if shared else part, blocks.view(pairs, part, False))
    alpha = blocks.new("cont", (heads, each, slots), blocks.view(pairs, part, False))
    gate = blocks.weighted("mul", blocks.like("unary", blocks.weighted("add", alpha)))
    if not shared:
        beta = blocks.view(blocks.like("unary", beta), (1, heads, each, slots))
        gate = blocks.view(gate, (1, heads, each, slots))
    out = blocks.like("unary", blocks.convolution(mixed))
    states, shape = blocks.kept(), (value, value * heads, 1, slots) if shared else (value, value, heads, slots)
    state = blocks.view(blocks.state(value * value * heads, states), shape)
    query, key = (blocks.view(out, (size, key_heads, each, slots), False) for _each in range(2))
    row = blocks.view(out, (value, heads, each, slots), False)
    if shared:
        query, key, row = (blocks.like("cont", tensor) for tensor in (query, key, row))
    else:
        query, key = (blocks.like("scale", blocks.like("rms_norm", tensor)) for tensor in (query, key))
    if key_heads != heads:
        query, key = (_repeated(blocks, tensor, heads) for tensor in (query, key))
    if shared:
        found, state = _unrolled(blocks, shared, (query, key, row, gate, beta, state))
    else:
        both = blocks.new("delta", (value * heads, (each + value) * slots), query, key, row, gate, beta, state)
        found = blocks.view(both, (value, heads, each, slots))
        state = blocks.view(both, (value, value, heads, slots))
    blocks.store(state, states)
    if shared:
        found = blocks.view(found, (value, heads * each * slots))
    z = blocks.view(z, found.layout[1])
    normed = blocks.like("mul", blocks.norm(found), blocks.like("unary", z))
    flat = blocks.view(normed, (value * heads, each, slots))
    out = blocks.matrix(blocks.metadata.width, flat)
    rows = (blocks.metadata.width, each * slots)
    return blocks.new("cont", rows, out) if shared else blocks.view(out, rows)


def _repeated(blocks: Blocks, source: Tensor, heads: int) -> Tensor:
    """Repeat key heads to the number of value heads."""
    size, key_heads, each, slots = source.layout[1]
    rows = key_heads * each * slots
    repeated = blocks.new("repeat", (size, heads // key_heads, rows), blocks.view(source, (size, 1, rows)))
    return blocks.view(repeated, (size, heads, each, slots))


def _unrolled(blocks: Blocks, shared: Constants, given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Build the result and the new state, chunk by chunk."""
    new, view, like = blocks.new, blocks.view, blocks.like
    query, key, value, gate, beta, state = given
    size, heads, each, slots = value.layout[1]
    query, key = like("scale", like("l2_norm", query)), like("l2_norm", key)
    beta = like("unary", beta)
    shape = (size, each, heads, slots)
    query, key, value = (new("cont", shape, view(tensor, shape, False)) for tensor in (query, key, value))
    gate = new("cont", (each, 1, heads, slots), view(gate, (each, 1, heads, slots), False))
    beta = new("cont", (1, each, heads, slots), view(beta, (1, each, heads, slots), False))
    state = view(state, (size, size, heads, slots))
    chunks = -(-each // _CHUNK)
    padded = chunks * _CHUNK
    query, key, value = (new("pad", (size, padded, heads, slots), tensor) for tensor in (query, key, value))
    gate = new("pad", (padded, 1, heads, slots), gate)
    beta = new("pad", (1, padded, heads, slots), beta)
    value_beta, key_beta = like("mul", value, beta), like("mul", key, beta)
    wide, square = (size, _CHUNK, chunks, heads * slots), (_CHUNK, _CHUNK, chunks, heads * slots)
    query, key, key_beta, value_beta = (view(tensor, wide) for tensor in (query, key, key_beta, value_beta))
    gate = view(gate, (_CHUNK, 1, chunks, heads * slots))
    summed = like("cumsum", gate)
    spread = new("repeat", square, view(summed, (1, _CHUNK, chunks, heads * slots)))
    decay = like("sub", spread, summed)
    decay = like("mul", like("unary", like("mul", decay, shared.diagonal)), shared.diagonal)
    products = new("mul_mat", square, key, key_beta)
    scores = like("unary", like("mul", like("mul", products, decay), shared.causal))
    lower = like("mul", scores, shared.causal)
    left = like("sub", new("repeat", square, shared.identity), lower)
    solved = new("solve", square, left, scores)
    scores = like("add", like("mul", solved, shared.causal), shared.identity)
    across = (_CHUNK, size, chunks, heads * slots)
    value = new("mul_mat", wide, new("cont", across, view(value_beta, across, False)), scores)
    standing = new("cont", (1, _CHUNK, chunks, heads * slots), view(summed, (1, _CHUNK, chunks, heads * slots), False))
    grown = like("unary", standing)
    key_grown = like("mul", key_beta, grown)
    key_across = new("cont", across, view(key_grown, across, False))
    decayed = new("mul_mat", across, scores, key_across)
    decayed = new("cont", wide, view(decayed, wide, False))
    inside = new("mul_mat", square, key, query)
    inside = like("mul", like("mul", inside, decay), shared.diagonal)
    last = new("cont", (1, 1, chunks, heads * slots), view(summed, (1, 1, chunks, heads * slots), False))
    last_grown = like("unary", last)
    differences = like("unary", like("unary", like("sub", summed, last)))
    key_differences = like("mul", key, differences)
    parts: list[Tensor] = []
    one = (size, _CHUNK, 1, heads * slots)
    for number in range(chunks):
        query_part, value_part = view(query, one, False), view(value, one, False)
        grown_part = view(grown, (1, _CHUNK, 1, heads * slots), False)
        decayed_part, inside_part = view(decayed, one, False), view(inside, (_CHUNK, _CHUNK, 1, heads * slots), False)
        turned = new("cont", (size, size, 1, heads * slots), view(state, (size, size, heads, slots), False))
        expected = new("mul_mat", one, turned, decayed_part)
        surprise = like("sub", new("repeat", one, value_part), expected)
        lying = (_CHUNK, size, 1, heads * slots)
        surprise_across = new("cont", lying, view(surprise, lying, False))
        between = new("mul_mat", one, turned, new("mul", one, query_part, grown_part))
        attended = new("mul_mat", one, surprise_across, inside_part)
        part = like("add", between, attended)
        parts.append(new("concat", (size, _CHUNK, number + 1, heads * slots), parts[-1], part) if parts else part)
        keys = new("cont", one, view(key_differences, one, False))
        keys_across = new("cont", lying, view(keys, lying, False))
        learnt = new("mul_mat", (size, size, 1, heads * slots), surprise_across, keys_across)
        fading = new("cont", (1, 1, 1, heads * slots), view(last_grown, (1, 1, 1, heads * slots), False))
        faded = like("mul", state, view(fading, (1, 1, heads, slots)))
        state = like("add", faded, view(learnt, (size, size, heads, slots)))
    out = new("cont", shape, view(parts[-1], shape, False))
    back = (size, heads, each, slots)
    return new("cont", back, view(out, back, False)), state
