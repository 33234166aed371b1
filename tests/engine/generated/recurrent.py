# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models with recurrent layers, alone or beside attention."""

from __future__ import annotations

from tests.engine.generated.model import Dense, Model, Tensors
from tests.models.gguf_writer import TensorSpec, Value


def _recurrent(inner: int, state: int, conv: int = 4, groups: int = 0, rank: int = 32) -> dict[str, Value]:
    found: dict[str, Value] = {
        "ssm__conv_kernel": conv,
        "ssm__inner_size": inner,
        "ssm__state_size": state,
        "ssm__time_step_rank": rank,
    }
    return found | ({"ssm__group_count": groups} if groups else {})


def _without_attention(model: Model) -> Model:
    for key in [key for key in model.metadata if key.startswith(("attention.key", "attention.value", "rope."))]:
        del model.metadata[key]
    model.metadata.update({"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0})
    return model


def mamba(name: str, dims: Dense) -> Model:
    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm")
        tensors.mamba1(4, 2 * dims.width, 16, 32)

    return _without_attention(dims.build(name, "mamba", layer, **_recurrent(2 * dims.width, 16)))


def mamba2(name: str, dims: Dense, state: int = 64, groups: int = 2) -> Model:
    inner = 2 * dims.width

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm")
        tensors.mamba2(4, inner, state, groups, inner // 64)

    recurrent = _recurrent(inner, state, groups=groups, rank=inner // 64)
    return _without_attention(dims.build(name, "mamba2", layer, **recurrent))


def jamba(name: str, dims: Dense, experts: int) -> Model:
    """Build jamba: one layer in four has attention, every second one experts."""
    attending = [layer % 4 == 2 for layer in range(dims.layers)]

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        if attending[tensors.layer]:
            tensors.attention(dims.heads, dims.kv_heads, dims.size)
        else:
            tensors.mamba1(4, 2 * dims.width, 16, 32, normed=True)
        if tensors.layer % 2:
            tensors.experts(dims.inner, experts)
        else:
            tensors.feed_forward(dims.inner)

    sizes: dict[str, Value] = {
        "attention__head_count_kv": [dims.kv_heads if attends else 0 for attends in attending],
        "expert_count": experts,
        "expert_used_count": 2,
    }
    return dims.build(name, "jamba", layer, **sizes, **_recurrent(2 * dims.width, 16))


def falcon_h1(name: str, dims: Dense, inner: int = 768, state: int = 64) -> Model:
    """Build falcon-h1, with attention and a recurrence in every layer."""
    groups, heads = 1, inner // 64

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm")
        # Files of this architecture omit the suffix here.
        tensors.vector("ffn_norm", dims.width)
        tensors.mamba2(4, inner, state, groups, heads)
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        tensors.feed_forward(dims.inner)

    return dims.build(name, "falcon-h1", layer, **_recurrent(inner, state, groups=groups, rank=heads))


def granite_hybrid(name: str, dims: Dense, state: int = 64) -> Model:
    """Build granite-hybrid: one layer in five has attention."""
    inner, groups = 2 * dims.width, 1
    attending = [layer % 5 == 3 for layer in range(dims.layers)]

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        if attending[tensors.layer]:
            tensors.attention(dims.heads, dims.kv_heads, dims.size)
        else:
            tensors.mamba2(4, inner, state, groups, inner // 64)
        tensors.feed_forward(dims.inner)

    kv_heads: Value = [dims.kv_heads if attends else 0 for attends in attending]
    recurrent = _recurrent(inner, state, groups=groups, rank=inner // 64)
    return dims.build(name, "granitehybrid", layer, attention__head_count_kv=kv_heads, **recurrent)


def qwen3next(name: str, dims: Dense, experts: int, delta: tuple[int, int, int] = (64, 4, 8), used: int = 4) -> Model:
    """Build qwen3next: gated delta nets in three layers of four, gated attention in the fourth, and experts.

    :param delta: size of the state, heads of the keys, heads of the values.
    """
    (state, key_heads, value_heads), inner = delta, dims.inner
    key, value = state * key_heads, state * value_heads

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "post_attention_norm")
        if tensors.layer % 4 == 3:
            tensors.attention(dims.heads, dims.kv_heads, dims.size, gate=2)
            tensors.vector("attn_q_norm.weight", dims.size)
            tensors.vector("attn_k_norm.weight", dims.size)
        else:
            tensors.matrix("attn_qkv", dims.width, 2 * key + value)
            tensors.matrix("attn_gate", dims.width, value)
            tensors.vector("ssm_conv1d.weight", 4, 2 * key + value)
            tensors.vector("ssm_dt.bias", value_heads)
            tensors.vector("ssm_a", value_heads)
            tensors.matrix("ssm_ba", dims.width, 2 * value_heads)
            tensors.vector("ssm_norm.weight", state)
            tensors.matrix("ssm_out", value, dims.width)
        tensors.experts(inner, experts)
        tensors.vector("ffn_gate_inp_shexp.weight", dims.width)
        tensors.feed_forward(inner, "_shexp")

    sizes: dict[str, Value] = {
        "expert_count": experts,
        "expert_used_count": used,
        "expert_feed_forward_length": inner,
        "expert_shared_feed_forward_length": inner,
    }
    recurrent = _recurrent(value, state, groups=key_heads, rank=value_heads)
    return dims.build(name, "qwen3next", layer, **sizes, **recurrent)


def lfm2(name: str, dims: Dense) -> Model:
    """Build lfm2: short convolutions, and attention in one layer of three."""
    attending = [layer % 3 == 2 for layer in range(dims.layers)]

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        if attending[tensors.layer]:
            tensors.attention(dims.heads, dims.kv_heads, dims.size)
            tensors.vector("attn_q_norm.weight", dims.size)
            tensors.vector("attn_k_norm.weight", dims.size)
        else:
            tensors.vector("shortconv.conv.weight", 3, dims.width)
            tensors.matrix("shortconv.in_proj", dims.width, 3 * dims.width)
            tensors.matrix("shortconv.out_proj", dims.width, dims.width)
        tensors.feed_forward(dims.inner)

    kv_heads: Value = [dims.kv_heads if attends else 0 for attends in attending]
    model = dims.build(name, "lfm2", layer, attention__head_count_kv=kv_heads, shortconv__l_cache=3)
    # This architecture's files use another name for it.
    norm = model.tensors.index(TensorSpec("output_norm.weight", (dims.width,)))
    model.tensors[norm] = TensorSpec("token_embd_norm.weight", (dims.width,))
    return model


def nemotron_h(name: str, dims: Dense, inner: int = 1024, state: int = 64, groups: int = 2) -> Model:
    """Build nemotron-h: each layer is a recurrence, attention or a feed-forward block."""
    kinds = ["recurrent", "feed_forward", "recurrent", "attention"]
    kind_of = [kinds[layer % len(kinds)] for layer in range(dims.layers)]

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm")
        if kind_of[tensors.layer] == "recurrent":
            tensors.mamba2(4, inner, state, groups, inner // 64)
        elif kind_of[tensors.layer] == "attention":
            tensors.attention(dims.heads, dims.kv_heads, dims.size)
        else:
            tensors.feed_forward(dims.inner, names=("up", "down"))

    sizes: dict[str, Value] = {
        "attention__head_count_kv": [dims.kv_heads if kind == "attention" else 0 for kind in kind_of],
        "feed_forward_length": [dims.inner if kind == "feed_forward" else 0 for kind in kind_of],
        "attention__layer_norm_epsilon": 1e-5,
    }
    recurrent = _recurrent(inner, state, groups=groups, rank=inner // 64)
    return dims.build(name, "nemotron_h", layer, **sizes, **recurrent)
