# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers of architectures that the engine's own test of all architectures leaves out, from their load_arch_tensors."""

from __future__ import annotations

from tests.engine.generated.model import Dense, Model, Tensors
from tests.models.gguf_writer import Value

DIMS = Dense(layers=4, width=64, heads=4, kv_heads=4, size=16, inner=96, vocabulary=600, context=512)
_EMBEDDINGS = ("bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe")


def unlisted() -> list[Model]:
    """Make a model of each of these architectures, with the keys that the engine requires and no others."""
    return [
        *(_bert(name) for name in _EMBEDDINGS),
        _dots1("dots1"),
        _dots1("deepseek2-ocr"),
        _granite_switch(),
        _hrm_text(),
        _minicpm3(),
        _plm(),
        _qwen4exp(),
        _t5("t5", ("enc", "dec")),
        _t5("t5encoder", ("enc",)),
        _wavtokenizer(),
        *(_companion(name) for name in ("dflash", "eagle3", "gemma4-assistant")),
    ]


def _model(architecture: str, tensors: Tensors, **more: Value) -> Model:
    """Make a model without the keys for which the engine has defaults."""
    keys = DIMS.metadata(**more)
    for key in ("vocab_size", "rope.dimension_count", "attention.key_length", "attention.value_length"):
        if key.replace(".", "__") not in more:
            del keys[key]
    del keys["attention.head_count_kv"]
    return Model(architecture, architecture, keys, tensors.found, DIMS.vocabulary)


def _bert(architecture: str) -> Model:
    tensors = Tensors(DIMS.width, DIMS.vocabulary, DIMS.kinds, tied=True)
    tensors.add("token_types.weight", (DIMS.width, 2))
    tensors.add("token_embd_norm.weight", (DIMS.width,))
    if architecture == "bert":
        tensors.add("position_embd.weight", (DIMS.width, DIMS.context))
    for tensors.layer in range(DIMS.layers):
        tensors.matrix("attn_qkv", DIMS.width, 3 * DIMS.width)
        tensors.matrix("attn_output", DIMS.width, DIMS.width)
        tensors.norms("attn_output_norm", "layer_output_norm")
        if architecture == "nomic-bert-moe" and tensors.layer % 2:
            tensors.vector("ffn_gate_inp.weight", DIMS.width, 8)
            tensors.matrix("ffn_up_exps", DIMS.width, DIMS.inner, 8)
            tensors.matrix("ffn_down_exps", DIMS.inner, DIMS.width, 8)
        else:
            tensors.feed_forward(DIMS.inner, names=("up", "down"))
    more: dict[str, Value] = {"attention__layer_norm_epsilon": 1e-5, "attention__causal": False, "pooling_type": 1}
    if architecture == "nomic-bert-moe":
        more |= {"expert_count": 8, "expert_used_count": 2, "moe_every_n_layers": 2}
    return _model(architecture, tensors, **more)


def _dots1(architecture: str) -> Model:
    tensors = DIMS.tensors()
    for tensors.layer in range(DIMS.layers):
        tensors.norms("attn_norm", "ffn_norm")
        tensors.attention(DIMS.heads, DIMS.heads, DIMS.size)
        if architecture == "dots1":
            tensors.vector("attn_q_norm.weight", DIMS.size)
            tensors.vector("attn_k_norm.weight", DIMS.size)
        if tensors.layer == 0:
            tensors.feed_forward(DIMS.inner)
        else:
            tensors.experts(32, 8)
            tensors.feed_forward(32, "_shexp")
    experts: dict[str, Value] = {
        "expert_count": 8, "expert_used_count": 2, "expert_shared_count": 1, "expert_feed_forward_length": 32,
        "leading_dense_block_count": 1, "expert_weights_scale": 1.0,
    }  # fmt: skip
    return _model(architecture, tensors, **experts)


def _granite_switch() -> Model:
    tensors = DIMS.tensors()
    for tensors.layer in range(DIMS.layers):
        tensors.norms("attn_norm", "ffn_norm")
        tensors.matrix("attn_qkv", DIMS.width, 3 * DIMS.width)
        tensors.matrix("attn_output", DIMS.width, DIMS.width)
        tensors.feed_forward(DIMS.inner)
        for name, outputs in (("attn_q", DIMS.width), ("attn_k", DIMS.width), ("ffn_up", DIMS.inner)):
            tensors.vector(f"{name}.lora_a", DIMS.width, 8, 2)
            tensors.vector(f"{name}.lora_b", 8, outputs, 2)
    return _model(
        "graniteswitch", tensors, logit_scale=1.0, adapters__count=1, adapters__lora_rank=8,
        adapters__token_ids_activate=[1], adapters__token_ids_substitute=[2],
    )  # fmt: skip


def _hrm_text() -> Model:
    """Make two stacks of one layer: two times one low and one high pass count as four layers."""
    tensors = DIMS.tensors()
    tensors.found = [each for each in tensors.found if each.name != "output_norm.weight"]
    tensors.add("hrm.z_l_init", (DIMS.width,))
    for tensors.layer in range(2):
        tensors.attention(DIMS.heads, DIMS.heads, DIMS.size)
        tensors.matrix("attn_gate", DIMS.width, DIMS.width)
        tensors.feed_forward(DIMS.inner)
    return _model("hrm_text", tensors, hrm__layers_per_stack=1, hrm__h_cycles=2, hrm__l_cycles=1)


def _minicpm3() -> Model:
    tensors = DIMS.tensors()
    rank, rope = 32, DIMS.size
    for tensors.layer in range(DIMS.layers):
        tensors.norms("attn_norm", "ffn_norm")
        tensors.vector("attn_q_a_norm.weight", rank)
        tensors.vector("attn_kv_a_norm.weight", rank)
        tensors.matrix("attn_q_a", DIMS.width, rank)
        tensors.matrix("attn_q_b", rank, DIMS.width)
        tensors.matrix("attn_kv_a_mqa", DIMS.width, rank + rope)
        tensors.matrix("attn_kv_b", rank, DIMS.width)
        tensors.matrix("attn_output", DIMS.width, DIMS.width)
        tensors.feed_forward(DIMS.inner)
    return _model("minicpm3", tensors, attention__q_lora_rank=rank, attention__kv_lora_rank=rank)


def _plm() -> Model:
    tensors = DIMS.tensors()
    rank, rope = 32, DIMS.size
    for tensors.layer in range(DIMS.layers):
        tensors.norms("attn_norm", "ffn_norm")
        tensors.matrix("attn_q", DIMS.width, DIMS.width)
        tensors.matrix("attn_kv_a_mqa", DIMS.width, rank + rope)
        tensors.vector("attn_kv_a_norm.weight", rank)
        tensors.matrix("attn_kv_b", rank, DIMS.width)
        tensors.matrix("attn_output", DIMS.width, DIMS.width)
        tensors.feed_forward(DIMS.inner, names=("up", "down"))
    return _model("plm", tensors, attention__kv_lora_rank=rank)


def _qwen4exp() -> Model:
    tensors = DIMS.tensors()
    streams, inner = 2, 64
    for name, dims in (("norm", (DIMS.width, streams)), ("down", (streams * DIMS.width, 8)), ("up", (8, 128))):
        tensors.add(f"output_hc_{name}.weight", dims)
    for tensors.layer in range(DIMS.layers):
        for part in ("attn", "ffn"):
            tensors.vector(f"hc_{part}_norm.weight", DIMS.width, streams)
            tensors.vector(f"hc_{part}_down.weight", streams * DIMS.width, 8)
        if tensors.layer % 4 == 3:
            tensors.attention(DIMS.heads, DIMS.heads, DIMS.size, gate=2)
            tensors.matrix("indexer.q_proj", DIMS.width, 32)
            tensors.matrix("indexer.k_proj", DIMS.width, 16)
        else:
            tensors.matrix("attn_qkv", DIMS.width, 3 * inner)
            tensors.matrix("attn_gate", DIMS.width, inner)
            tensors.vector("ssm_conv1d.weight", 4, 3 * inner)
            tensors.matrix("ssm_out", inner, DIMS.width)
        tensors.experts(32, 8)
        tensors.feed_forward(32, "_shexp")
    more: dict[str, Value] = {
        "expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 32,
        "rope__dimension_sections": [4, 4, 0, 0], "ssm__conv_kernel": 4, "ssm__inner_size": inner,
        "ssm__state_size": 16, "ssm__time_step_rank": 4, "ssm__group_count": 4, "hyper_connection__count": streams,
        "hyper_connection__low_rank": 8, "attention__indexer__head_count": 2, "attention__indexer__key_length": 16,
        "attention__indexer__top_k": 64,
    }  # fmt: skip
    return _model("qwen4exp", tensors, **more)


def _t5(architecture: str, stacks: tuple[str, ...]) -> Model:
    tensors = Tensors(DIMS.width, DIMS.vocabulary, DIMS.kinds)
    tensors.found = [each for each in tensors.found if each.name != "output_norm.weight"]
    for stack in stacks:
        tensors.add(f"{stack}.output_norm.weight", (DIMS.width,))
        # A decoder may have fewer layers than its encoder.
        for layer in range(DIMS.layers - (stack == "dec")):
            for name in ("attn_q", "attn_k", "attn_v", "attn_o", *(["cross_attn_q"] if stack == "dec" else [])):
                tensors.add(f"{stack}.blk.{layer}.{name}.weight", (DIMS.width, DIMS.width), "f16")
            for name, dims in (("ffn_up", (DIMS.width, DIMS.inner)), ("ffn_down", (DIMS.inner, DIMS.width))):
                tensors.add(f"{stack}.blk.{layer}.{name}.weight", dims, "f16")
    more: dict[str, Value] = {"decoder_block_count": DIMS.layers - 1} if len(stacks) > 1 else {}
    return _model(architecture, tensors, attention__relative_buckets_count=32, **more)


def _wavtokenizer() -> Model:
    """Its embedding_length is that of the output."""
    tensors = Tensors(DIMS.width, DIMS.vocabulary, DIMS.kinds)
    tensors.add("conv1d.weight", (7, DIMS.width, 32))
    tensors.add("posnet.0.norm1.weight", (1, 32))
    tensors.add("convnext.0.dw.weight", (7, 1, 32))
    more: dict[str, Value] = {"features_length": DIMS.width, "embedding_length": 128}
    return _model("wavtokenizer-dec", tensors, attention__causal=False, **more)


def _companion(architecture: str) -> Model:
    tensors = DIMS.tensors()
    return _model(architecture, tensors)
