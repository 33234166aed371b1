# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models with attention in every layer."""

from __future__ import annotations

from dataclasses import dataclass

from tests.engine.generated.model import Dense, Model, Tensors
from tests.models.gguf_writer import TensorSpec, Value


def llama(name: str, dims: Dense, rope_factors: bool = False, experts: int = 0) -> Model:
    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        if experts:
            tensors.experts(dims.inner, experts)
        else:
            tensors.feed_forward(dims.inner)

    more: dict[str, Value] = {"expert_count": experts, "expert_used_count": 2} if experts else {}
    model = dims.build(name, "llama", layer, **more)
    if rope_factors:
        model.tensors.insert(0, TensorSpec("rope_freqs.weight", (dims.size // 2,)))
    return model


def qwen2(name: str, dims: Dense) -> Model:
    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size, biased=True)
        tensors.feed_forward(dims.inner)

    return dims.build(name, "qwen2", layer)


def qwen3(name: str, dims: Dense, experts: int = 0, expert_inner: int = 256, used: int = 4) -> Model:
    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        tensors.vector("attn_q_norm.weight", dims.size)
        tensors.vector("attn_k_norm.weight", dims.size)
        if experts:
            tensors.experts(expert_inner, experts)
        else:
            tensors.feed_forward(dims.inner)

    if not experts:
        return dims.build(name, "qwen3", layer)
    sizes: dict[str, Value] = {
        "expert_count": experts,
        "expert_used_count": used,
        "expert_feed_forward_length": expert_inner,
    }
    return dims.build(name, "qwen3moe", layer, **sizes)


def gemma(name: str, dims: Dense, generation: int, window: int) -> Model:
    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        if generation == 3:
            tensors.vector("attn_q_norm.weight", dims.size)
            tensors.vector("attn_k_norm.weight", dims.size)
        tensors.feed_forward(dims.inner)

    return dims.build(name, f"gemma{generation}", layer, attention__sliding_window=window)


def phi3(name: str, dims: Dense) -> Model:
    """Build phi3, whose header has a window that the engine ignores."""

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.matrix("attn_qkv", dims.width, dims.width + 2 * dims.kv_heads * dims.size)
        tensors.matrix("attn_output", dims.width, dims.width)
        tensors.matrix("ffn_up", dims.width, 2 * dims.inner)
        tensors.matrix("ffn_down", dims.inner, dims.width)

    return dims.build(name, "phi3", layer, attention__sliding_window=512)


def gpt_oss(name: str, dims: Dense, experts: int, window: int = 128) -> Model:
    """Build gpt-oss: every second layer has a window, and every layer attention sinks."""

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "post_attention_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size, biased=True)
        tensors.vector("attn_output.bias", dims.width)
        tensors.vector("attn_sinks.weight", dims.heads)
        tensors.experts(dims.inner, experts)
        tensors.vector("ffn_gate_inp.bias", experts)
        for part, size in (("gate", dims.inner), ("up", dims.inner), ("down", dims.width)):
            tensors.vector(f"ffn_{part}_exps.bias", size, experts)

    sizes: dict[str, Value] = {
        "expert_count": experts,
        "expert_used_count": 4,
        "expert_feed_forward_length": dims.inner,
        "attention__sliding_window": window,
    }
    return dims.build(name, "gpt-oss", layer, **sizes)


@dataclass(frozen=True)
class Latent:
    """Ranks and head sizes of multi-head latent attention, and its experts."""

    q_rank: int = 256
    kv_rank: int = 256
    rope: int = 64
    nope: int = 64
    v_size: int = 64
    inner: int = 256
    dense: int = 2
    used: int = 4


def deepseek2(name: str, dims: Dense, experts: int, latent: bool = True, ranks: Latent | None = None) -> Model:
    """Build deepseek2 with multi-head latent attention. Older files have full keys and values (`latent` false)."""
    ranks = ranks or Latent()
    q_rank, kv_rank, rope, nope = ranks.q_rank, ranks.kv_rank, ranks.rope, ranks.nope
    v_size, inner, dense = ranks.v_size, ranks.inner, ranks.dense

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.vector("attn_q_a_norm.weight", q_rank)
        tensors.vector("attn_kv_a_norm.weight", kv_rank)
        tensors.matrix("attn_q_a", dims.width, q_rank)
        tensors.matrix("attn_q_b", q_rank, dims.heads * (nope + rope))
        tensors.matrix("attn_kv_a_mqa", dims.width, kv_rank + rope)
        if latent:
            tensors.matrix("attn_k_b", nope, kv_rank, dims.heads)
            tensors.matrix("attn_v_b", kv_rank, v_size, dims.heads)
        else:
            tensors.matrix("attn_kv_b", kv_rank, dims.heads * (nope + v_size))
        tensors.matrix("attn_output", dims.heads * v_size, dims.width)
        if tensors.layer < dense:
            tensors.feed_forward(dims.inner)
        else:
            tensors.experts(inner, experts)
            tensors.vector("exp_probs_b.bias", experts)
            tensors.feed_forward(inner, "_shexp")

    sizes: dict[str, Value] = {
        "leading_dense_block_count": dense,
        "expert_count": experts,
        "expert_used_count": ranks.used,
        "expert_shared_count": 1,
        "expert_feed_forward_length": inner,
        "expert_weights_scale": 2.5,
        "attention__q_lora_rank": q_rank,
        "attention__kv_lora_rank": kv_rank,
        "rope__dimension_count": rope,
        "attention__head_count_kv": 1 if latent else dims.heads,
        "attention__key_length": kv_rank + rope if latent else nope + rope,
        "attention__value_length": kv_rank if latent else v_size,
    }
    if latent:
        sizes |= {"attention__key_length_mla": nope + rope, "attention__value_length_mla": v_size}
    return dims.build(name, "deepseek2", layer, **sizes)


def glm4_moe(name: str, dims: Dense, experts: int, inner: int = 256, used: int = 4) -> Model:
    """Build glm4moe, whose last block predicts further tokens. It counts in the split and is not loaded."""

    def layer(tensors: Tensors) -> None:
        tensors.norms("attn_norm", "post_attention_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size, biased=True)
        if tensors.layer == 0:
            tensors.feed_forward(dims.inner)
        else:
            tensors.experts(inner, experts)
            tensors.vector("exp_probs_b.bias", experts)
            tensors.feed_forward(inner, "_shexp")
        if tensors.layer == dims.layers - 1:
            tensors.matrix("nextn.eh_proj", 2 * dims.width, dims.width)
            tensors.norms("nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm")

    sizes: dict[str, Value] = {
        "nextn_predict_layers": 1,
        "leading_dense_block_count": 1,
        "expert_count": experts,
        "expert_used_count": used,
        "expert_shared_count": 1,
        "expert_feed_forward_length": inner,
        "expert_weights_scale": 1.0,
    }
    return dims.build(name, "glm4moe", layer, **sizes)
