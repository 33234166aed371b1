# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models of many architectures, to see what the engine allocates for them.

The weights are all zero: what is allocated does not depend on them, and the file is a hole that takes no
space on the disk. Everything else is as a converter writes it: keys, tensor names, shapes, types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tests.lab import gguf_writer
from tests.lab.gguf_writer import TensorSpec, Value, data_size

# What is quantised to what: the embeddings, the output layer, the layers' matrices.
F16 = ("f16", "f16", "f16")
Q8_0 = ("q8_0", "q8_0", "q8_0")
Q4_K = ("q4_K", "q6_K", "q4_K")
Q4_0 = ("q4_0", "q6_K", "q4_0")
MXFP4 = ("q8_0", "q8_0", "mxfp4")


@dataclass(frozen=True)
class Model:
    """One generated model; keys of the metadata are without the architecture's name."""

    name: str
    architecture: str
    metadata: dict[str, Value]
    tensors: list[TensorSpec] = field(repr=False)
    vocabulary: int = 32000
    releases: tuple[str, ...] = ("0c1e57098", "b7836")

    @property
    def layers(self) -> int:
        count = self.metadata["block_count"]
        assert isinstance(count, int)
        return count

    def fields(self) -> list[bytes]:
        """The header's keys and values."""
        found: dict[str, Value] = {
            "general.architecture": self.architecture,
            "general.name": self.name,
            "general.file_type": 1,
            **{f"{self.architecture}.{key}": value for key, value in self.metadata.items()},
        }
        return [*(gguf_writer.field(key, value) for key, value in found.items()), *_tokenizer(self.vocabulary)]

    def header(self) -> bytes:
        """The file's first bytes, all before the tensors' own."""
        return gguf_writer.header(self.fields(), self.tensors)

    def write(self, path: Path) -> Path:
        """Write the file, its weights as one hole."""
        raw = self.header()
        with path.open("wb") as stream:
            stream.write(raw)
            stream.truncate(len(raw) + data_size(self.tensors))
        return path


@dataclass(frozen=True)
class Tensor:
    """An entry of the tensor table, as a reader of the file finds it."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int
    file: int = 0


@dataclass(frozen=True)
class Header:
    """A model's header, as a reader of the file finds it."""

    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    data_start: int
    file_size: int


def header_of(model: Model) -> Header:
    """The header that `model.write` writes, without writing it."""
    start = len(model.header())
    offset, tensors = start, []
    for spec in model.tensors:
        tensors.append(Tensor(spec.name, spec.type, spec.dims, offset, spec.size))
        offset += spec.size + -spec.size % gguf_writer.ALIGNMENT
    keys = {f"{model.architecture}.{key}": value for key, value in model.metadata.items()}
    named: dict[str, Value] = {"general.architecture": model.architecture, "general.name": model.name}
    return Header(named | keys, tuple(tensors), start, offset)


@lru_cache(maxsize=8)
def _tokenizer(count: int) -> tuple[bytes, ...]:
    """The header's fields of a vocabulary; the largest part of a header, and the same for many models."""
    found: dict[str, Value] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": _tokens(count),
        "tokenizer.ggml.scores": [0.0] * count,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    types = [2, 3, 3, *[6] * 256, *[1] * (count - 259)]
    fields = [gguf_writer.field(key, value) for key, value in found.items()]
    return (*fields, gguf_writer.signed_array("tokenizer.ggml.token_type", types))


def _tokens(count: int) -> list[str]:
    return ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(f"w{n}" for n in range(count - 259))]


class _Tensors:
    """Collects the tensors of a model in the order of the file."""

    def __init__(self, width: int, vocabulary: int, kinds: tuple[str, str, str], tied: bool = False) -> None:
        self.width = width
        self.kinds = kinds
        self.found: list[TensorSpec] = []
        self.layer = 0
        self.add("token_embd.weight", (width, vocabulary), kinds[0])
        self.add("output_norm.weight", (width,))
        if not tied:
            self.add("output.weight", (width, vocabulary), kinds[1])

    def add(self, name: str, dims: tuple[int, ...], kind: str = "f32") -> None:
        self.found.append(TensorSpec(name, dims, kind))

    def vector(self, name: str, *dims: int) -> None:
        """A small tensor of a layer, never quantised."""
        self.add(f"blk.{self.layer}.{name}", dims)

    def matrix(self, name: str, *dims: int) -> None:
        """A matrix of a layer, of the model's quantisation."""
        kind = self.kinds[2]
        block = gguf_writer.TENSOR_TYPES[kind][1]
        # As the quantiser does for rows that no block fits.
        fallback = "q8_0" if dims[0] % 32 == 0 else "f16"
        self.add(f"blk.{self.layer}.{name}.weight", dims, kind if dims[0] % block == 0 else fallback)

    def norms(self, *names: str) -> None:
        for name in names:
            self.vector(f"{name}.weight", self.width)

    def attention(self, heads: int, kv_heads: int, size: int, biased: bool = False, gate: int = 1) -> None:
        outs = {"attn_q": heads * size * gate, "attn_k": kv_heads * size, "attn_v": kv_heads * size}
        for name, out in outs.items():
            self.matrix(name, self.width, out)
            if biased:
                self.vector(f"{name}.bias", out)
        self.matrix("attn_output", heads * size, self.width)

    def feed_forward(self, inner: int, suffix: str = "", names: Sequence[str] = ("gate", "up", "down")) -> None:
        for name in names:
            dims = (inner, self.width) if name == "down" else (self.width, inner)
            self.matrix(f"ffn_{name}{suffix}", *dims)

    def experts(self, inner: int, count: int) -> None:
        self.vector("ffn_gate_inp.weight", self.width, count)
        for name in ("gate", "up"):
            self.matrix(f"ffn_{name}_exps", self.width, inner, count)
        self.matrix("ffn_down_exps", inner, self.width, count)

    def mamba1(self, conv: int, inner: int, state: int, rank: int, normed: bool = False) -> None:
        self.matrix("ssm_in", self.width, 2 * inner)
        self.vector("ssm_conv1d.weight", conv, inner)
        self.vector("ssm_conv1d.bias", inner)
        self.matrix("ssm_x", inner, rank + 2 * state)
        self.matrix("ssm_dt", rank, inner)
        self.vector("ssm_dt.bias", inner)
        self.vector("ssm_a", state, inner)
        self.vector("ssm_d", inner)
        self.matrix("ssm_out", inner, self.width)
        if normed:
            for name, size in (("dt", rank), ("b", state), ("c", state)):
                self.vector(f"ssm_{name}_norm.weight", size)

    def mamba2(self, conv: int, inner: int, state: int, groups: int, heads: int) -> None:
        mixed = inner + 2 * groups * state
        self.matrix("ssm_in", self.width, inner + mixed + heads)
        self.vector("ssm_conv1d.weight", conv, mixed)
        self.vector("ssm_conv1d.bias", mixed)
        self.vector("ssm_dt.bias", heads)
        self.vector("ssm_a", 1, heads)
        self.vector("ssm_d", 1, heads)
        self.vector("ssm_norm.weight", inner // groups, groups)
        self.matrix("ssm_out", inner, self.width)


@dataclass(frozen=True)
class Dense:
    """The numbers that most architectures share."""

    layers: int = 9
    width: int = 512
    heads: int = 8
    kv_heads: int = 4
    size: int = 64
    inner: int = 1536
    vocabulary: int = 32000
    kinds: tuple[str, str, str] = F16
    tied: bool = False
    context: int = 131072

    def metadata(self, **more: Value) -> dict[str, Value]:
        return {
            "block_count": self.layers,
            "context_length": self.context,
            "embedding_length": self.width,
            "feed_forward_length": self.inner,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.size,
            "attention.value_length": self.size,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": self.size,
            "vocab_size": self.vocabulary,
            **{key.replace("__", "."): value for key, value in more.items()},
        }

    def tensors(self) -> _Tensors:
        return _Tensors(self.width, self.vocabulary, self.kinds, self.tied)

    def model(self, name: str, architecture: str, tensors: _Tensors, **more: Value) -> Model:
        return Model(name, architecture, self.metadata(**more), tensors.found, self.vocabulary)

    def build(self, name: str, architecture: str, layer: Callable[[_Tensors], None], **more: Value) -> Model:
        """A model whose layers are all made by one function."""
        tensors = self.tensors()
        for tensors.layer in range(self.layers):
            layer(tensors)
        return self.model(name, architecture, tensors, **more)


def llama(name: str, dims: Dense, rope_factors: bool = False, experts: int = 0) -> Model:
    def layer(tensors: _Tensors) -> None:
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
    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size, biased=True)
        tensors.feed_forward(dims.inner)

    return dims.build(name, "qwen2", layer)


def qwen3(name: str, dims: Dense, experts: int = 0, expert_inner: int = 256, used: int = 4) -> Model:
    def layer(tensors: _Tensors) -> None:
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
    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        if generation == 3:
            tensors.vector("attn_q_norm.weight", dims.size)
            tensors.vector("attn_k_norm.weight", dims.size)
        tensors.feed_forward(dims.inner)

    return dims.build(name, f"gemma{generation}", layer, attention__sliding_window=window)


def phi3(name: str, dims: Dense) -> Model:
    """Its window is in the header, and the engine does not use it."""

    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm", "ffn_norm")
        tensors.matrix("attn_qkv", dims.width, dims.width + 2 * dims.kv_heads * dims.size)
        tensors.matrix("attn_output", dims.width, dims.width)
        tensors.matrix("ffn_up", dims.width, 2 * dims.inner)
        tensors.matrix("ffn_down", dims.inner, dims.width)

    return dims.build(name, "phi3", layer, attention__sliding_window=512)


def gpt_oss(name: str, dims: Dense, experts: int, window: int = 128) -> Model:
    """Every second layer has a window, and every layer attention sinks."""

    def layer(tensors: _Tensors) -> None:
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
    """Multi-head latent attention; older files carry the full keys and values (`latent` false)."""
    ranks = ranks or Latent()
    q_rank, kv_rank, rope, nope = ranks.q_rank, ranks.kv_rank, ranks.rope, ranks.nope
    v_size, inner, dense = ranks.v_size, ranks.inner, ranks.dense

    def layer(tensors: _Tensors) -> None:
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
    """The last block predicts the token after the next: it takes a place in the split, and is not loaded."""

    def layer(tensors: _Tensors) -> None:
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
    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm")
        tensors.mamba1(4, 2 * dims.width, 16, 32)

    return _without_attention(dims.build(name, "mamba", layer, **_recurrent(2 * dims.width, 16)))


def mamba2(name: str, dims: Dense, state: int = 64, groups: int = 2) -> Model:
    inner = 2 * dims.width

    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm")
        tensors.mamba2(4, inner, state, groups, inner // 64)

    recurrent = _recurrent(inner, state, groups=groups, rank=inner // 64)
    return _without_attention(dims.build(name, "mamba2", layer, **recurrent))


def jamba(name: str, dims: Dense, experts: int) -> Model:
    """One layer in four has attention, every second one experts."""
    attending = [layer % 4 == 2 for layer in range(dims.layers)]

    def layer(tensors: _Tensors) -> None:
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
    """Attention and a recurrence in every layer."""
    groups, heads = 1, inner // 64

    def layer(tensors: _Tensors) -> None:
        tensors.norms("attn_norm")
        # Files of this architecture leave the suffix out here.
        tensors.vector("ffn_norm", dims.width)
        tensors.mamba2(4, inner, state, groups, heads)
        tensors.attention(dims.heads, dims.kv_heads, dims.size)
        tensors.feed_forward(dims.inner)

    return dims.build(name, "falcon-h1", layer, **_recurrent(inner, state, groups=groups, rank=heads))


def granite_hybrid(name: str, dims: Dense, state: int = 64) -> Model:
    """One layer in five has attention."""
    inner, groups = 2 * dims.width, 1
    attending = [layer % 5 == 3 for layer in range(dims.layers)]

    def layer(tensors: _Tensors) -> None:
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
    """Gated delta net in three layers of four, gated attention in the fourth; experts and a shared one.

    :param delta: size of the state, heads of the keys, heads of the values.
    """
    (state, key_heads, value_heads), inner = delta, dims.inner
    key, value = state * key_heads, state * value_heads

    def layer(tensors: _Tensors) -> None:
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
    """Short convolutions, and attention in one layer of three."""
    attending = [layer % 3 == 2 for layer in range(dims.layers)]

    def layer(tensors: _Tensors) -> None:
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
    # This architecture's files call it by another name.
    norm = model.tensors.index(TensorSpec("output_norm.weight", (dims.width,)))
    model.tensors[norm] = TensorSpec("token_embd_norm.weight", (dims.width,))
    return model


def nemotron_h(name: str, dims: Dense, inner: int = 1024, state: int = 64, groups: int = 2) -> Model:
    """A layer is a recurrence, or attention, or a feed-forward block, and nothing else."""
    kinds = ["recurrent", "feed_forward", "recurrent", "attention"]
    kind_of = [kinds[layer % len(kinds)] for layer in range(dims.layers)]

    def layer(tensors: _Tensors) -> None:
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


def models() -> list[Model]:
    """The set that the planner is held to."""
    return [
        llama("llama", Dense(inner=1408)),
        llama("llama-tied-rope", Dense(8, 1024, 8, 2, 128, 2816, kinds=Q8_0, tied=True), rope_factors=True),
        llama("llama-experts", Dense(6, 512, 8, 2, 64, 768, kinds=Q4_K), experts=8),
        qwen2("qwen2", Dense(10, 768, 12, 2, 64, 2048, 152064, Q4_0)),
        qwen3("qwen3", Dense(12, 512, 8, 4, 128, 1536, kinds=Q4_K, tied=True)),
        qwen3("qwen3moe", Dense(8, 512, 8, 2, 128, 1536, kinds=Q4_K), experts=32),
        gemma("gemma2", Dense(8, 512, 4, 2, 256, 2048, kinds=Q8_0, tied=True), 2, 1024),
        gemma("gemma3", Dense(13, 640, 4, 1, 256, 2048, kinds=F16, tied=True), 3, 512),
        phi3("phi-window", Dense(8, 768, 8, 8, 96, 2048, kinds=Q8_0)),
        gpt_oss("gpt-oss", Dense(8, 512, 16, 2, 64, 512, kinds=MXFP4), 16, 128),
        deepseek2("deepseek2", Dense(7, 512, 8, 8, 64, 1536, kinds=Q8_0), 16, latent=True),
        deepseek2("deepseek2-full", Dense(7, 512, 8, 8, 64, 1536, kinds=F16), 16, latent=False),
        glm4_moe("glm4moe", Dense(8, 512, 8, 2, 64, 1536, kinds=Q8_0), 16),
        mamba("mamba", Dense(10, 512, kinds=F16, tied=True)),
        mamba2("mamba2", Dense(10, 512, kinds=Q8_0)),
        jamba("jamba", Dense(9, 512, 8, 2, 64, 768, kinds=Q8_0), 8),
        falcon_h1("falcon-h1", Dense(8, 512, 8, 2, 64, 1536, kinds=F16)),
        granite_hybrid("granitehybrid", Dense(11, 512, 8, 4, 64, 1536, kinds=Q4_K)),
        qwen3next("qwen3next", Dense(8, 512, 8, 2, 128, 256, kinds=F16), 16),
        lfm2("lfm2", Dense(10, 512, 8, 2, 64, 1536, kinds=Q8_0, tied=True)),
        nemotron_h("nemotron_h", Dense(12, 512, 8, 2, 64, 2048, kinds=F16)),
    ]


def published() -> list[Model]:
    """Layers of the size of published models, a few of each: what is small in the set above is large here."""
    few, many = 3, 4
    return [
        llama("llama-8b", Dense(few, 4096, 32, 8, 128, 14336, kinds=Q4_0)),
        llama("llama-70b", Dense(few, 8192, 64, 8, 128, 28672, kinds=Q4_0)),
        llama("mixtral-8x7b", Dense(few, 4096, 32, 8, 128, 14336, kinds=Q4_0), experts=2),
        qwen2("qwen2.5-72b", Dense(few, 8192, 64, 8, 128, 29568, kinds=Q4_0)),
        qwen2("qwen2.5-14b", Dense(few, 5120, 40, 8, 128, 13824, 152064, kinds=Q4_K)),
        qwen3("qwen3-32b", Dense(few, 5120, 64, 8, 128, 25600, kinds=Q4_0)),
        qwen3("qwen3-30b-a3b", Dense(few, 2048, 32, 4, 128, 6144, kinds=Q4_0), experts=16, expert_inner=768, used=8),
        gemma("gemma2-9b", Dense(many, 3584, 16, 8, 256, 14336, kinds=Q4_0, tied=True), 2, 4096),
        gemma("gemma3-27b", Dense(7, 5376, 32, 16, 128, 21504, kinds=Q4_0, tied=True), 3, 1024),
        gpt_oss("gpt-oss-20b", Dense(many, 2880, 64, 8, 64, 2880, kinds=MXFP4), 8),
        deepseek2(
            "deepseek-v3",
            Dense(5, 7168, 128, 128, 128, 18432, kinds=Q4_0),
            8,
            ranks=Latent(1536, 512, 64, 128, 128, 2048, dense=2, used=8),
        ),
        glm4_moe("glm-4.5-air", Dense(few, 4096, 96, 8, 128, 10944, kinds=Q4_0), 8, inner=1408, used=8),
        mamba("mamba-2.8b", Dense(many, 2560, kinds=F16, tied=True)),
        mamba2("mamba2-2.7b", Dense(many, 2560, kinds=Q8_0), state=128, groups=1),
        jamba("jamba-mini", Dense(many, 4096, 32, 8, 128, 14336, kinds=Q4_0), 2),
        falcon_h1("falcon-h1-7b", Dense(many, 3072, 12, 2, 128, 12288, kinds=Q4_0), inner=3072, state=256),
        granite_hybrid("granite-4-h", Dense(many, 2048, 32, 8, 64, 8192, kinds=Q4_0), state=128),
        qwen3next("qwen3-next-80b", Dense(8, 2048, 16, 2, 256, 512, kinds=Q4_0), 16, delta=(128, 16, 32), used=10),
        lfm2("lfm2-2.6b", Dense(6, 2048, 32, 8, 64, 10752, kinds=Q4_0, tied=True)),
        nemotron_h("nemotron-h-8b", Dense(8, 4096, 32, 8, 128, 21504, kinds=Q4_0), inner=8192, state=128, groups=8),
    ]
