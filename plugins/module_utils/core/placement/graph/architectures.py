# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the layers of each architecture as the engine does (src/models/*.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...models.metadata import LayerMetadata
from . import delta_net
from .allocator import Tensor
from .operations import Blocks


def _heads(blocks: Blocks, layer: LayerMetadata, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute queries, keys and values by three matrices."""
    tokens = blocks.run.tokens
    found = []
    for heads, size in ((layer.heads, layer.key), (layer.kv_heads, layer.key), (layer.kv_heads, layer.value)):
        found.append(blocks.view(blocks.matrix(heads * size, source), (size, heads, tokens)))
    return found[0], found[1], found[2]


def _attention(blocks: Blocks, layer: LayerMetadata, source: Tensor) -> Tensor:
    """Build attention with rotated positions, and norms of queries and keys if the architecture has them."""
    name = blocks.metadata.architecture
    query, key, value = _heads(blocks, layer, source)
    if name in ("qwen3", "qwen3vl", "qwen3moe", "gemma3", "lfm2") or blocks.metadata.detail("normed_heads"):
        query, key = blocks.norm(query), blocks.norm(key)
    if name not in ("jamba", "nemotron_h"):
        query, key = blocks.rope(query), blocks.rope(key)
    return blocks.matrix(blocks.metadata.width, blocks.attention(layer, query, key, value))


def _outputs(blocks: Blocks, is_last: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(blocks.rows(tensor) for tensor in tensors) if is_last else tensors


def _residual(blocks: Blocks, is_last: bool, found: Tensor, source: Tensor) -> Tensor:
    """Add a part's result to its source; in the last layer only for tokens with a requested output."""
    found, source = _outputs(blocks, is_last, found, source)
    return blocks.add(_scaled(blocks, found), source)


def _scaled(blocks: Blocks, found: Tensor) -> Tensor:
    """Scale a part's result, as models of granite do."""
    return blocks.like("scale", found) if blocks.metadata.detail("residual_scale") else found


def _plain(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer of llama and related architectures."""
    found = _attention(blocks, layer, blocks.norm(source))
    entering = _residual(blocks, is_last, found, source)
    normed = blocks.norm(entering)
    if layer.expert_inner:
        return blocks.add(blocks.experts(normed, layer), entering)
    return blocks.add(blocks.gated(normed, layer.inner), entering)


def _gpt_oss(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer of gpt-oss. Newer releases compute the last layer's experts for all tokens, for a second head."""
    found = _attention(blocks, layer, blocks.norm(source))
    entering = _residual(blocks, is_last and blocks.run.old, found, source)
    found = blocks.add(blocks.experts(blocks.norm(entering), layer, "after"), entering)
    return _outputs(blocks, is_last and not blocks.run.old, found)[0]


def _gemma(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer of gemma, with norms before and after each part."""
    found = _attention(blocks, layer, blocks.norm(source))
    found, source = _outputs(blocks, is_last, found, source)
    entering = blocks.add(blocks.norm(found), source)
    found = blocks.gated(blocks.norm(entering), layer.inner)
    return blocks.add(blocks.norm(found, is_pinned=False), entering)


def _phi3(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer of phi3: one matrix for queries, keys and values, and one for gate and up."""
    tokens = blocks.run.tokens
    sizes = ((layer.heads, layer.key), (layer.kv_heads, layer.key), (layer.kv_heads, layer.value))
    joined = blocks.matrix(sum(heads * size for heads, size in sizes), blocks.norm(source))
    query, key, value = (blocks.view(joined, (size, heads, tokens), False) for heads, size in sizes)
    query, key = blocks.rope(query), blocks.rope(key)
    found = blocks.matrix(blocks.metadata.width, blocks.attention(layer, query, key, value))
    entering = _residual(blocks, is_last, found, source)
    both = blocks.matrix(2 * layer.inner, blocks.norm(entering))
    inner = blocks.new("glu", (layer.inner, both.layout[1][1]), both)
    return blocks.add(entering, blocks.matrix(blocks.metadata.width, inner))


def _deepseek2(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    metadata, tokens = blocks.metadata, blocks.run.tokens
    sizes = metadata.latent or {}
    heads, rank, rope, key, value = (sizes[name] for name in ("heads", "rank", "rope", "key", "value"))
    plain = key - rope
    normed = blocks.norm(source)
    query = normed
    if metadata.detail("query_rank"):
        query = blocks.norm(blocks.matrix(metadata.detail("query_rank"), normed))
    query = blocks.matrix(heads * key, query)
    query_plain, query_rope = (
        blocks.view(query, (plain, heads, tokens), False),
        blocks.view(query, (rope, heads, tokens), False),
    )
    mixed = blocks.matrix(rank + rope, normed)
    row = blocks.view(mixed, (rank, tokens), False)
    key_rope = blocks.rope(blocks.view(mixed, (rope, 1, tokens), False))
    query_rope = blocks.rope(query_rope)
    row = blocks.norm(row)
    if sizes["compressed"]:
        turned = blocks.view(query_plain, (plain, tokens, heads), False)
        absorbed = blocks.view(blocks.matrix(rank, turned), (rank, heads, tokens), False)
        queries = blocks.new("concat", (rank + rope, heads, tokens), absorbed, query_rope)
        row = blocks.view(row, (rank, 1, tokens))
        keys = blocks.new("concat", (rank + rope, 1, tokens), row, key_rope)
        found = blocks.latent_attention(queries, keys, row)
    else:
        both = blocks.matrix(heads * (plain + value), row)
        key_plain = blocks.view(both, (plain, heads, tokens), False)
        values = blocks.like("cont", blocks.view(both, (value, heads, tokens), False))
        if blocks.run.old:
            queries = blocks.new("concat", (key, heads, tokens), query_plain, query_rope)
        else:
            # Newer releases rotate a part of each head in place.
            queries = blocks.rope(blocks.view(query, (key, heads, tokens)))
        spread = blocks.new("repeat", (rope, heads, tokens), key_rope)
        keys = blocks.new("concat", (key, heads, tokens), key_plain, spread)
        found = blocks.matrix(metadata.width, blocks.attention(layer, queries, keys, values))
    return _shared(blocks, layer, _residual(blocks, is_last, found, source))


def _shared(blocks: Blocks, layer: LayerMetadata, entering: Tensor) -> Tensor:
    """Build a dense block, or experts with a shared expert."""
    normed = blocks.norm(entering)
    if not layer.expert_inner:
        return blocks.add(_scaled(blocks, blocks.gated(normed, layer.inner)), entering)
    architecture, old, scale = blocks.metadata.architecture, blocks.run.old, blocks.metadata.detail("expert_scale")
    gating = "soft_max" if architecture == "granitehybrid" else "sigmoid"
    # Newer releases omit a scale of 1.
    is_scaled = scale == 2 or (old and (scale > 0 or architecture == "glm4moe"))
    groups = blocks.metadata.detail("expert_groups")
    found = blocks.experts(normed, layer, gating, is_scaled=is_scaled, groups=groups)
    if layer.shared_inner:
        found = blocks.add(found, blocks.gated(normed, layer.shared_inner))
    return blocks.add(_scaled(blocks, found), entering)


def _mamba1(blocks: Blocks, layer: LayerMetadata, source: Tensor) -> Tensor:
    sizes, slots = blocks.metadata.recurrent or {}, blocks.run.slots
    inner, state, rank = sizes["inner"], sizes["state"], sizes["rank"]
    tokens = blocks.run.tokens
    each = tokens // slots
    both = blocks.matrix(2 * inner, blocks.view(source, (source.layout[1][0], each, slots)))
    x, z = blocks.view(both, (inner, each, slots), False), blocks.view(both, (inner, each, slots), False)
    x = blocks.like("unary", blocks.weighted("add", blocks.convolution(x)))
    mixed = blocks.matrix(rank + 2 * state, x)
    step = blocks.view(mixed, (rank, each, slots), False)
    first = blocks.view(mixed, (state, 1, each, slots), False)
    second = blocks.view(mixed, (state, 1, each, slots), False)
    if blocks.metadata.detail("normed_steps"):
        step, first, second = blocks.norm(step), blocks.norm(first), blocks.norm(second)
    elif not blocks.run.old:
        step = blocks.like("cont", step)
    step = blocks.weighted("add", blocks.matrix(inner, step))
    lying = blocks.view(x, (1, inner, each, slots))
    y = _scanned(blocks, (lying, step, first, second), x, z)
    return blocks.view(blocks.matrix(blocks.metadata.width, y), (blocks.metadata.width, tokens))


def _scanned(blocks: Blocks, inputs: tuple[Tensor, ...], x: Tensor, z: Tensor) -> Tensor:
    """Scan the inputs, add x and gate the sum by z."""
    sizes, states = blocks.metadata.recurrent or {}, blocks.kept()
    length = sizes["state"] * sizes["inner"] * blocks.run.slots
    scanned = blocks.state(sizes["inner"] * blocks.run.tokens + length, states, inputs)
    blocks.store(blocks.view(scanned, (length,)), states)
    y = blocks.add(blocks.view(scanned, z.layout[1]), blocks.weighted("mul", x))
    return blocks.like("glu", blocks.like("cont", z), y)


def _mamba2(blocks: Blocks, layer: LayerMetadata, source: Tensor) -> Tensor:
    sizes, slots, tokens = blocks.metadata.recurrent or {}, blocks.run.slots, blocks.run.tokens
    inner, state, heads, groups = (sizes[name] for name in ("inner", "state", "rank", "groups"))
    each, size, mixed = tokens // slots, inner // heads, inner + 2 * groups * state
    all_in = inner + mixed + heads
    if blocks.run.old:
        joined = blocks.matrix(all_in, blocks.view(source, (source.layout[1][0], each, slots)))
    else:
        joined = blocks.view(blocks.matrix(all_in, source), (all_in, each, slots))
    z = blocks.view(joined, (size, heads, each, slots), False)
    rows = blocks.view(joined, (mixed, each, slots), False)
    step = blocks.view(joined, (heads, each, slots), False)
    rows = blocks.like("unary", blocks.weighted("add", blocks.convolution(rows)))
    x = blocks.view(rows, (size, heads, each, slots), False)
    first = blocks.view(rows, (state, groups, each, slots), False)
    second = blocks.view(rows, (state, groups, each, slots), False)
    step = blocks.weighted("add", blocks.like("cont", step))
    y = _scanned(blocks, (x, step, first, second), x, z)
    if not blocks.metadata.detail("plain_scan"):
        y = blocks.norm(blocks.view(y, (inner // groups, groups, each, slots)))
    y = blocks.view(y, (inner, each, slots) if blocks.run.old else (inner, tokens))
    found = blocks.matrix(blocks.metadata.width, y)
    return blocks.view(found, (blocks.metadata.width, tokens)) if blocks.run.old else found


def _mamba(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    scan = _mamba1 if blocks.metadata.architecture == "mamba" else _mamba2
    found = scan(blocks, layer, blocks.norm(source))
    return _residual(blocks, is_last, found, source)


def _jamba(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    normed = blocks.norm(source)
    found = _attention(blocks, layer, normed) if layer.kv_heads else _mamba1(blocks, layer, normed)
    found, source = _outputs(blocks, is_last, found, source)
    entering = blocks.add(source, found)
    normed = blocks.norm(entering)
    if layer.expert_inner:
        return blocks.add(entering, blocks.experts(normed, layer, is_normed=False))
    return blocks.add(entering, blocks.gated(normed, layer.inner))


def _falcon_h1(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer with attention and a recurrence in parallel."""
    attended = _attention(blocks, layer, blocks.norm(source))
    scanned = _mamba2(blocks, layer, blocks.norm(source))
    entering = blocks.add(blocks.add(attended, scanned), source)
    entering = _outputs(blocks, is_last, entering)[0]
    return blocks.add(blocks.gated(blocks.norm(entering), layer.inner), entering)


def _shared_experts(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer of glm4moe and granitehybrid, with attention or a recurrence."""
    normed = blocks.norm(source)
    found = _attention(blocks, layer, normed) if layer.kv_heads else _mamba2(blocks, layer, normed)
    return _shared(blocks, layer, _residual(blocks, is_last, found, source))


def _nemotron_h(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    normed = blocks.norm(source)
    if layer.state:
        found = _mamba2(blocks, layer, normed)
    elif layer.kv_heads:
        found = _attention(blocks, layer, normed)
    else:
        inner = blocks.like("sqr", blocks.like("unary", blocks.matrix(layer.inner, normed)))
        found = blocks.matrix(blocks.metadata.width, inner)
    late = not blocks.run.old
    found = _residual(blocks, is_last and not late, found, source)
    return _outputs(blocks, is_last and late, found)[0]


def _lfm2(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    normed = blocks.norm(source)
    found = _attention(blocks, layer, normed) if layer.kv_heads else _short_convolution(blocks, normed)
    found, source = _outputs(blocks, is_last, found, source)
    entering = blocks.add(source, found)
    return blocks.add(entering, blocks.gated(blocks.norm(entering), layer.inner))


def _short_convolution(blocks: Blocks, source: Tensor) -> Tensor:
    width, slots, tokens = blocks.metadata.width, blocks.run.slots, blocks.run.tokens
    each = tokens // slots
    joined = blocks.matrix(3 * width, blocks.view(source, (width, each, slots)))
    b, c, x = (blocks.view(joined, (width, each, slots), False) for _each in range(3))
    product = blocks.new("mul", (width, each, slots), b, x)
    y = blocks.matrix(width, blocks.new("mul", (width, each, slots), c, blocks.convolution(product)))
    return blocks.view(y, (width, tokens))


def _qwen3next(blocks: Blocks, layer: LayerMetadata, source: Tensor, is_last: bool) -> Tensor:
    """Build a layer with a gated delta net or gated attention, and a gated shared expert."""
    normed = blocks.norm(source)
    if not blocks.run.old:
        blocks.graph.expand(normed)
    if layer.kv_heads:
        found = delta_net.attention(blocks, layer, normed)
    else:
        found = delta_net.recurrence(blocks, normed, blocks.constants)
    entering = _residual(blocks, is_last and blocks.run.old, found, source)
    normed = blocks.norm(entering)
    if not layer.expert_inner:
        return blocks.add(blocks.gated(normed, layer.inner), entering)
    found = blocks.experts(normed, layer)
    if layer.shared_inner:
        gate = blocks.like("unary", blocks.matrix(1, normed))
        found = blocks.add(found, blocks.like("mul", blocks.gated(normed, layer.shared_inner), gate))
    return blocks.add(found, entering)


Builder = Callable[[Blocks, LayerMetadata, Tensor, bool], Tensor]
#: Builder of a layer, by architecture. Their buffers were measured (docs/reference/placement-accuracy.md), or those of
#: an architecture with the same graph.
LAYERS: Mapping[str, Builder] = {
    **dict.fromkeys(("llama", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "qwen3moe", "mistral3"), _plain),
    "gemma2": _gemma,
    "gemma3": _gemma,
    "phi3": _phi3,
    "gpt-oss": _gpt_oss,
    "deepseek2": _deepseek2,
    "glm4moe": _shared_experts,
    "mamba": _mamba,
    "mamba2": _mamba,
    "jamba": _jamba,
    "falcon-h1": _falcon_h1,
    "granitehybrid": _shared_experts,
    "nemotron_h": _nemotron_h,
    "lfm2": _lfm2,
    "qwen3next": _qwen3next,
}
#: Architectures whose layers all have experts in place of a dense block.
ONLY_EXPERTS = frozenset(("gpt-oss",))
