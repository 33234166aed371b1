# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a small model with random weights as vLLM reads it: the same bytes on every machine, 9 MB.

    PYTHONPATH=collections .venv/bin/python -m tests.vllm.model    write it, and print its folder

It has the architecture of Llama: 4 layers, 4 heads and 2 KV heads, so that tensor parallel 2 divides them. The tokens
are the 256 bytes and three marks of the chat format. Its answers have no sense, and are the same at temperature 0.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import sys
from array import array
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports import files
from tests.lab.naming import Places

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, VOCABULARY, CONTEXT = 4, 256, 512, 4, 2, 320, 2048
MARKS = ("<|begin|>", "<|turn|>", "<|end|>")
SEED = 20260204
CHAT_TEMPLATE = (
    "<|begin|>{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<|turn|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": WIDTH // HEADS,
    "max_position_embeddings": CONTEXT,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "torch_dtype": "float32",
    "transformers_version": "5.16.1",
}


def byte_letters() -> list[str]:
    """Return the letter of each byte in a byte-level vocabulary: printable ones stand for themselves."""
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def tokenizer() -> dict[str, object]:
    """Return tokenizer.json: one token for each byte, and the marks."""
    marks = [
        {"id": 256 + number, "content": mark, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for number, mark in enumerate(MARKS)
    ]  # fmt: skip
    vocabulary = {letter: number for number, letter in enumerate(byte_letters())}
    vocabulary.update({mark: 256 + number for number, mark in enumerate(MARKS)})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": marks,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": [],
        },
    }  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the tensors by name."""
    head = WIDTH // HEADS
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        found |= {
            f"{prefix}input_layernorm.weight": (WIDTH,),
            f"{prefix}self_attn.q_proj.weight": (HEADS * head, WIDTH),
            f"{prefix}self_attn.k_proj.weight": (KV_HEADS * head, WIDTH),
            f"{prefix}self_attn.v_proj.weight": (KV_HEADS * head, WIDTH),
            f"{prefix}self_attn.o_proj.weight": (WIDTH, HEADS * head),
            f"{prefix}post_attention_layernorm.weight": (WIDTH,),
            f"{prefix}mlp.gate_proj.weight": (INNER, WIDTH),
            f"{prefix}mlp.up_proj.weight": (INNER, WIDTH),
            f"{prefix}mlp.down_proj.weight": (WIDTH, INNER),
        }
    return {**found, "model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}


def safetensors() -> bytes:
    """Return model.safetensors with small random numbers."""
    source = random.Random(SEED)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, shape in shapes().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = array("f", [1.0] * count if len(shape) == 1 else (source.gauss(0, 0.05) for _each in range(count)))
        if sys.byteorder == "big":
            numbers.byteswap()
        block = numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def model() -> Path:
    """Return the folder of the model, and write it if it is not there."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = Places.of(os.environ).cache / "vllm-model" / key
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "config.json": CONFIG,
            "tokenizer.json": tokenizer(),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": MARKS[0], "eos_token": MARKS[2],
                "model_max_length": CONTEXT, "clean_up_tokenization_spaces": False,
            },
            "generation_config.json": {"bos_token_id": 256, "eos_token_id": 258},
        }  # fmt: skip
        for name, value in texts.items():
            (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
        scratch = folder / "model.safetensors.new"
        scratch.write_bytes(safetensors())
        scratch.replace(folder / "model.safetensors")
    files.point(folder.with_name("current"), Path(folder.name))
    return folder


if __name__ == "__main__":
    print(model())
