# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a model becomes, asked of the engine's own quantiser, without the model.

From the published dimensions a file of f16 tensors is written whose weights are one hole, so 1.3 TB take a few
hundred KiB of disk. C(llama-quantize --dry-run) then says which type each tensor gets, and the sum of their bytes
is the quantised model without its header (some MB of vocabulary).

Run it as C(python3 -m tests.engine.quantised_sizes QUANTISER FOLDER); it prints the lines of docs/reference/models.md.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.engine.models import Model
from tests.lab.gguf_writer import TensorSpec, Value, data_size

#: One line a tensor: its name, dimensions and type, and in brackets what it is converted to.
LINE = re.compile(
    r"\]\s+(?P<name>\S+)\s+- \[(?P<dims>[\d, ]+)\], type =\s*(?P<type>\w+), size =.*?(?:\((?P<to>\w+)\))?$"
)


@dataclass(frozen=True)
class Published:
    """A model's dimensions as its publisher's config.json has them.

    :ivar kinds: the quantisations to ask for.
    """

    key: str
    model: Model
    kinds: tuple[str, ...]


def dense(name: str, architecture: str, vocabulary: int, width: int, inner: int, layers: int, heads: int) -> Model:
    """A dense transformer with eight key-value heads of 128, as all of these have."""
    kv = 8 * 128
    tensors = [TensorSpec("token_embd.weight", (width, vocabulary), "f16")]
    for number in range(layers):
        matrices = {
            "attn_q": (width, heads * 128),
            "attn_k": (width, kv),
            "attn_v": (width, kv),
            "attn_output": (heads * 128, width),
            "ffn_gate": (width, inner),
            "ffn_up": (width, inner),
            "ffn_down": (inner, width),
        }
        tensors += [TensorSpec(f"blk.{number}.{part}.weight", dims, "f16") for part, dims in matrices.items()]
        small = {"attn_norm.weight": width, "ffn_norm.weight": width}
        if architecture == "qwen3":
            small.update({"attn_q_norm.weight": 128, "attn_k_norm.weight": 128})
        if architecture == "qwen2":
            small.update({"attn_q.bias": heads * 128, "attn_k.bias": kv, "attn_v.bias": kv})
        tensors += [TensorSpec(f"blk.{number}.{part}", (size,)) for part, size in small.items()]
    tensors += [TensorSpec("output_norm.weight", (width,)), TensorSpec("output.weight", (width, vocabulary), "f16")]
    if architecture == "llama":
        tensors.append(TensorSpec("rope_freqs.weight", (64,)))
    keys: dict[str, Value] = {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": width,
        "feed_forward_length": inner,
        "attention.head_count": heads,
        "attention.head_count_kv": 8,
        "attention.key_length": 128,
        "attention.value_length": 128,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
        "vocab_size": vocabulary,
    }
    return Model(name, architecture, keys, tensors, vocabulary=512)


def latent_experts() -> Model:
    """DeepSeek-V3: 61 layers with latent attention, all but three of them with 256 experts and a shared one."""
    width, heads, experts, inner = 7168, 128, 256, 2048
    tensors = [TensorSpec("token_embd.weight", (width, 129280), "f16")]
    for number in range(61):
        parts: dict[str, tuple[int, ...]] = {
            "attn_q_a.weight": (width, 1536),
            "attn_q_b.weight": (1536, heads * 192),
            "attn_kv_a_mqa.weight": (width, 576),
            "attn_k_b.weight": (128, 512, heads),
            "attn_v_b.weight": (512, 128, heads),
            "attn_output.weight": (heads * 128, width),
        }
        small: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (width,),
            "attn_q_a_norm.weight": (1536,),
            "attn_kv_a_norm.weight": (512,),
            "ffn_norm.weight": (width,),
        }
        if number < 3:
            parts.update({f"ffn_{part}.weight": (width, 18432) for part in ("gate", "up")})
            parts["ffn_down.weight"] = (18432, width)
        else:
            parts.update({f"ffn_{part}_exps.weight": (width, inner, experts) for part in ("gate", "up")})
            parts["ffn_down_exps.weight"] = (inner, width, experts)
            parts.update({f"ffn_{part}_shexp.weight": (width, inner) for part in ("gate", "up")})
            parts["ffn_down_shexp.weight"] = (inner, width)
            small.update({"ffn_gate_inp.weight": (width, experts), "exp_probs_b.bias": (experts,)})
        tensors += [TensorSpec(f"blk.{number}.{part}", dims, "f16") for part, dims in parts.items()]
        tensors += [TensorSpec(f"blk.{number}.{part}", dims) for part, dims in small.items()]
    tensors += [TensorSpec("output_norm.weight", (width,)), TensorSpec("output.weight", (width, 129280), "f16")]
    keys: dict[str, Value] = {
        "block_count": 61,
        "context_length": 163840,
        "embedding_length": width,
        "feed_forward_length": 18432,
        "attention.head_count": heads,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.q_lora_rank": 1536,
        "attention.kv_lora_rank": 512,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": 64,
        "rope.freq_base": 1e4,
        "leading_dense_block_count": 3,
        "expert_count": experts,
        "expert_used_count": 8,
        "expert_shared_count": 1,
        "expert_feed_forward_length": inner,
        "expert_weights_scale": 2.5,
        "expert_weights_norm": True,
        "expert_gating_func": 2,
        "vocab_size": 129280,
    }
    return Model("DeepSeek-V3", "deepseek2", keys, tensors, vocabulary=512)


def published() -> list[Published]:
    """The models that the cluster's documents name."""
    behemoth = dense("OR1-Behemoth", "qwen3", 151936, 8192, 29568, 80, 64)
    qwen = dense("Qwen2.5-72B-Instruct", "qwen2", 152064, 8192, 29568, 80, 64)
    llama = dense("Llama-3.1-70B-Instruct", "llama", 128256, 8192, 28672, 80, 64)
    strand = dense("Strand-Rust-Coder-14B-v1", "qwen2", 152064, 5120, 13824, 48, 40)
    return [
        Published("or1-behemoth", behemoth, ("Q4_K_S", "Q4_K_M", "Q5_K_S", "Q6_K", "Q8_0")),
        Published("qwen2.5-72b-instruct", qwen, ("Q4_K_M",)),
        Published("llama-3.1-70b-instruct", llama, ("Q4_K_M", "Q8_0")),
        Published("strand-rust-coder-14b", strand, ("Q8_0",)),
        Published("deepseek-v3", latent_experts(), ("Q4_K_M", "Q5_K_M", "Q8_0")),
    ]


def tensors_of(output: str) -> list[TensorSpec]:
    """The tensors as the quantiser would write them, from what a dry run prints."""
    found = []
    for line in output.splitlines():
        match = LINE.search(line)
        if match:
            dims = tuple(int(number) for number in match["dims"].split(","))
            found.append(TensorSpec(match["name"], dims, match["to"] or match["type"]))
    return found


def quantised(quantiser: Path, path: Path, kind: str) -> list[TensorSpec]:
    """Ask the engine's quantiser which type each tensor gets."""
    done = subprocess.run(
        [str(quantiser), "--dry-run", str(path), kind], capture_output=True, text=True, check=True, timeout=300
    )
    return tensors_of(done.stdout + done.stderr)


def bytes_of(tensors: list[TensorSpec]) -> int:
    """Bytes of the data section: each tensor padded, as it is written."""
    return data_size(tensors)


def main() -> None:
    """Print a line for each quantisation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quantiser", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    for entry in published():
        path = entry.model.write(given.folder / f"{entry.key}.gguf")
        for kind in entry.kinds:
            tensors = quantised(given.quantiser, path, kind)
            if len(tensors) != len(entry.model.tensors):
                raise SystemExit(
                    f"{entry.key} {kind}: {len(tensors)} of {len(entry.model.tensors)} tensors were printed"
                )
            print(f"{entry.key}\t{kind}\t{bytes_of(tensors)}", flush=True)
        path.unlink()


if __name__ == "__main__":
    main()
