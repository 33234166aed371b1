# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that is generated for a test: its header, its tensors and its file.

The weights are all zero: memory does not depend on them, and the file is a hole that takes no space on the disk.
Keys, tensor names, shapes and types are those that a converter writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import Header, Tensor
from tests.models import gguf_writer
from tests.models.gguf_writer import TensorSpec, Value, data_size

# Types of the embeddings, the output layer and the layers' matrices.
F16 = ("f16", "f16", "f16")
Q8_0 = ("q8_0", "q8_0", "q8_0")
Q4_K = ("q4_K", "q6_K", "q4_K")
Q4_0 = ("q4_0", "q6_K", "q4_0")
MXFP4 = ("q8_0", "q8_0", "mxfp4")


@dataclass(frozen=True)
class Model:
    """A generated model. Keys of its metadata omit the architecture's name."""

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
        """Return the header's keys and values."""
        found: dict[str, Value] = {
            "general.architecture": self.architecture,
            "general.name": self.name,
            "general.file_type": 1,
            **{f"{self.architecture}.{key}": value for key, value in self.metadata.items()},
        }
        return [*(gguf_writer.field(key, value) for key, value in found.items()), *_tokenizer(self.vocabulary)]

    def header(self) -> bytes:
        """Return the bytes of the file before those of the tensors."""
        return gguf_writer.header(self.fields(), self.tensors)

    def write(self, path: Path) -> Path:
        """Write the file with its weights as one hole."""
        raw = self.header()
        with path.open("wb") as stream:
            stream.write(raw)
            stream.truncate(len(raw) + data_size(self.tensors))
        return path


def header_of(model: Model) -> Header:
    """Return the header that `model.write` would write."""
    start = len(model.header())
    offset, tensors = start, []
    for spec in model.tensors:
        tensors.append(Tensor(spec.name, spec.type, spec.dims, offset, spec.size))
        offset += spec.size + -spec.size % gguf_writer.ALIGNMENT
    keys = {f"{model.architecture}.{key}": value for key, value in model.metadata.items()}
    named: dict[str, Value] = {"general.architecture": model.architecture, "general.name": model.name}
    metadata = {key: _as_read(value) for key, value in (named | keys).items()}
    return Header(3, "little", gguf_writer.ALIGNMENT, metadata, tuple(tensors), start, offset)


def _as_read(value: Value) -> gguf.Value:
    return value if isinstance(value, (str, int, float)) else tuple(entry for entry in value)


@lru_cache(maxsize=8)
def _tokenizer(count: int) -> tuple[bytes, ...]:
    """Encode the fields of a vocabulary, the largest part of a header, which many models share."""
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


class Tensors:
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
        """Add a small tensor of a layer, which is never quantised."""
        self.add(f"blk.{self.layer}.{name}", dims)

    def matrix(self, name: str, *dims: int) -> None:
        """Add a matrix of a layer in the model's quantisation."""
        kind = self.kinds[2]
        block = gguf_writer.TENSOR_TYPES[kind][1]
        # The quantiser does the same for rows that no block fits.
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
    """Dimensions that most architectures share."""

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

    def tensors(self) -> Tensors:
        return Tensors(self.width, self.vocabulary, self.kinds, self.tied)

    def model(self, name: str, architecture: str, tensors: Tensors, **more: Value) -> Model:
        return Model(name, architecture, self.metadata(**more), tensors.found, self.vocabulary)

    def build(self, name: str, architecture: str, layer: Callable[[Tensors], None], **more: Value) -> Model:
        """Build a model whose layers one function adds."""
        tensors = self.tensors()
        for tensors.layer in range(self.layers):
            layer(tensors)
        return self.model(name, architecture, tensors, **more)
