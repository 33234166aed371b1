# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Headers with impossible numbers: one sentence that names key and value, in bounded time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.models import (
    engine_architectures,
    gguf,
    gguf_summary,
    header_check,
    header_keys,
)
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import ArraySummary, Header, Tensor, Value
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from tests.engine.generated.model import Model, header_of
from tests.engine.models import models, published
from tests.unit.gguf_bytes import Bytes, File, Maker

MODELS = {model.name: model for model in (*models(), *published())}
MAKE = Maker()


def changed(name: str, **changes: Value | None) -> Header:
    """Change keys of a model's header; None removes one."""
    header = header_of(MODELS[name])
    architecture = MODELS[name].architecture
    named = {key if key.startswith("general.") else f"{architecture}.{key}": value for key, value in changes.items()}
    metadata = {key: value for key, value in {**header.metadata, **named}.items() if value is not None}
    return replace(header, metadata=metadata)


def retensored(name: str, *changes: tuple[str, Tensor | None]) -> Header:
    """Replace or add tensors of a model; None removes one."""
    header = header_of(MODELS[name])
    table = {tensor.name: tensor for tensor in header.tensors}
    for key, tensor in changes:
        table[key] = tensor  # type: ignore[assignment]
    return replace(header, tensors=tuple(tensor for tensor in table.values() if tensor is not None))


def said(header: Header) -> str:
    with pytest.raises(InvalidInputError) as caught:
        metadata_of(header)
    is_companion = header_check.companion(header.metadata, len(header.tensors))
    assert is_companion or str(caught.value) in header_check.problems(header)
    return str(caught.value)


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, "f16", shape, 0, 64)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_valid_header_has_no_problem(model: Model) -> None:
    assert header_check.problems(header_of(model)) == []


@pytest.mark.parametrize("key", header_keys.KEYS)
@pytest.mark.parametrize(
    "value",
    [-1, 1 << 31, 1 << 40, 1 << 64, 1.5, float("nan"), float("inf"), True, "8", "", ArraySummary("int32", 5000)],
    ids=repr,
)
def test_impossible_number_is_refused_with_its_key_and_value(key: str, value: Any) -> None:
    if value is True and key == "attention.sliding_window_pattern":
        return
    for name in ("llama", "qwen3moe", "deepseek2", "jamba"):
        message = said(changed(name, **{key: value}))
        assert f"{MODELS[name].architecture}.{key}" in message
        assert f"found {key} of {value!r}"[:60] in message


@pytest.mark.parametrize("key", [key for key, limits in header_keys.KEYS.items() if limits.by_layer])
@pytest.mark.parametrize("values", [(), (8,) * 8, (8,) * 10, (8,) * 8 + (-1,), (8,) * 8 + (1.0,)], ids=repr)
def test_array_has_one_valid_number_for_each_layer(key: str, values: tuple[Any, ...]) -> None:
    message = said(changed("llama", **{key: values}))
    assert f"llama.{key}" in message
    assert f"{key} with {len(values)} values" in message or f"{key} of {values[-1]!r}" in message


def test_type_is_the_one_that_the_engine_reads() -> None:
    header = header_of(MODELS["llama"])
    typed = replace(header, types={"llama.attention.head_count": "int32"})
    assert "llama.attention.head_count in the file's header as a number of type uint32" in said(typed)


@pytest.mark.parametrize("key", header_keys.FRACTIONS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf"), "2", 2, (1.0,)], ids=repr)
def test_fraction_is_finite(key: str, value: Any) -> None:
    assert f"{key} of {value!r}" in said(changed("llama", **{key: value}))


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("llama", {"block_count": 513}, "block_count of 513"),
        ("llama", {"block_count": 200000}, "block_count of 200000"),
        ("llama", {"block_count": 10}, "none of layer blk.9"),
        ("llama", {"block_count": 8}, "tensors of layer blk.8"),
        ("llama", {"nextn_predict_layers": 9}, "nextn_predict_layers of 9"),
        ("llama", {"attention.head_count_kv": 3}, "head_count_kv of 3"),
        ("llama", {"attention.head_count_kv": 8}, "blk.0.attn_k.weight for 8 heads"),
        ("llama", {"attention.head_count": 16}, "blk.0.attn_q.weight for 16 heads"),
        ("llama", {"attention.head_count": 1 << 16, "attention.key_length": None}, "found attention.key_length of 0"),
        ("llama", {"attention.key_length": 0}, "attention.key_length of 0"),
        ("llama", {"attention.key_length": 8}, "8 (attention.key_length)"),
        ("llama", {"embedding_length": 4}, "token_embd.weight of 4 (embedding_length)"),
        ("qwen3moe", {"expert_used_count": 33}, "expert_used_count of 33"),
        ("qwen3moe", {"expert_count": 1025}, "expert_count of 1025"),
        ("qwen3moe", {"expert_used_count": 0}, "expert_used_count of at least 1 for blk.0.ffn_gate_exps.weight"),
        ("qwen3moe", {"expert_used_count": None}, "expert_used_count of at least 1 for blk.0.ffn_gate_exps.weight"),
        ("qwen3moe", {"expert_used_count": (4,) * 7 + (0,)}, "expert_used_count of at least 1 for blk.7.ffn_gate_exps"),
        ("deepseek2", {"expert_used_count": 0, "expert_count": 0}, "of at least 1 for blk.2.ffn_gate_exps.weight"),
        ("deepseek2", {"attention.kv_lora_rank": None}, "none (attention.kv_lora_rank)"),
        ("falcon-h1", {"ssm.state_size": None}, "none (ssm.state_size)"),
        ("lfm2", {"shortconv.l_cache": None}, "none (shortconv.l_cache)"),
        ("llama", {"general.architecture": None}, "found none"),
        ("llama", {"general.architecture": 7}, "general.architecture of '7'"),
        ("llama", {"general.architecture": "a b\n"}, "general.architecture of 'a b\\n'"),
        ("llama", {"general.architecture": ("llama",)}, "general.architecture of"),
        ("llama", {"general.type": "adapter"}, "an adapter (LoRA)"),
        ("llama", {"general.architecture": "clip"}, "a projector for pictures or sound"),
        ("llama", {"tokenizer.ggml.tokens": ArraySummary("string", 7)}, ""),
    ],
)
def test_contradiction_is_refused_with_its_values(name: str, changes: dict[str, Any], words: str) -> None:
    if "tokenizer.ggml.tokens" in changes:
        header = header_of(MODELS[name])
        changed_header = replace(header, metadata={**header.metadata, **changes})
        words = "token_embd.weight of 512 (embedding_length) x 7 weights"
    else:
        changed_header = changed(name, **changes)
    assert words in said(changed_header)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("token_embd.weight", tensor("token_embd.weight", 1024)), "token_embd.weight of 1024:"),
        (("token_embd.weight", tensor("token_embd.weight", 1024, 8, 8)), "token_embd.weight of 1024 x 8 x 8"),
        (("token_embd.weight", None), "tensors without it"),
        (("x", tensor("blk.0", 32)), "the tensor 'blk.0'"),
        (("x", tensor("blk.x.attn_q.weight", 32)), "the tensor 'blk.x.attn_q.weight'"),
        (("x", tensor("blk.99999999999.attn_q.weight", 32)), "the tensor 'blk.99999999999.attn_q.weight'"),
        (("x", tensor("blk.9.attn_q.weight", 32)), "tensors of layer blk.9"),
        (("x", tensor("v.blk.0.attn_q.weight", 32)), "without its vision or audio tower"),
        (("x", tensor("mm.0.weight", 32)), "without its vision or audio tower"),
        (("x", tensor("a.conv1d.1.weight", 32)), "without its vision or audio tower"),
        (("x", tensor("blk.0.attn_novel.weight", 32)), "the tensor blk.0.attn_novel.weight"),
        (("x", tensor("lm_head.weight", 32)), "the tensor lm_head.weight"),
    ],
)
def test_tensor_table_agrees_with_the_header(change: tuple[str, Tensor | None], words: str) -> None:
    assert words in said(retensored("llama", change))


def test_every_release_has_its_architectures() -> None:
    old, new = engine_architectures.ARCHITECTURES["b7836"], engine_architectures.ARCHITECTURES["0c1e57098"]
    assert {"gemma4", "qwen35", "deepseek32"} <= set(new)
    assert not {"gemma4", "qwen35", "deepseek32"} & set(old)
    assert len(old) == 112 and len(new) == 151
    for model in MODELS.values():
        assert all(model.architecture in engine_architectures.ARCHITECTURES[release] for release in model.releases)


def summary(data: bytes) -> dict[str, Any]:
    header = gguf.read_header(Bytes(data))
    return gguf_summary.describe([header], header)


def test_summary_lists_problems_of_a_readable_file() -> None:
    found = summary(File().bytes())
    assert found["whole"] and found["spare_bytes"] == 0
    assert found["problems"][0].startswith(
        "expected token_embd.weight of 32 (embedding_length) x 4 weights, found token_embd.weight of 32 x 16: "
    )
    behind = summary(File().bytes() + bytes(77))
    assert behind["whole"] and behind["spare_bytes"] == 77
    assert "found 77 more bytes" in behind["problems"][-1]
    key = MAKE.pack("Q", 3) + b"a\xffb" + MAKE.pack("II", 4, 1)
    assert (
        "expected key 11 of 11 as UTF-8, found a\\xffb: convert the model again."
        in summary(File(more=[key]).bytes())["problems"]
    )
    no_architecture = [MAKE.word("general.architecture", ""), MAKE.number("llama.block_count", 2)]
    assert (
        "expected a GGUF file with general.architecture, found none"
        in summary(File(fields=no_architecture).bytes())["problems"][0]
    )


def test_companion_is_named_and_has_no_problem() -> None:
    found = summary(File(fields=[MAKE.word("general.architecture", "clip")]).bytes())
    assert (found["purpose"], found["problems"]) == ("a projector for pictures or sound", [])


def test_dimension_of_zero_is_refused() -> None:
    with pytest.raises(MismatchError, match="possible dimensions of t"):
        gguf.read_header(Bytes(File(tensors=[MAKE.tensor("t", (32, 0), 1, 0)]).bytes()))


LARGE = {
    "texts": [MAKE.field(f"k{n}", 9, MAKE.pack("IQ", 8, 1 << 19) + bytes(8 << 19)) for n in range(3)],
    "keys": [MAKE.text("k" * 100 + str(n)) + MAKE.pack("IB", 0, 1) for n in range(1 << 16)],
    "long texts": [MAKE.field(f"k{n}", 8, MAKE.pack("Q", 1 << 16) + b"\xff" * (1 << 16)) for n in range(200)],
    "numbers": [MAKE.field(f"k{n}", 9, MAKE.pack("IQ", 10, 4096) + b"\xff" * (8 << 12)) for n in range(63)],
}


@pytest.mark.parametrize("name", LARGE)
def test_large_header_is_read_or_refused_in_bounded_time(name: str) -> None:
    data = File(more=LARGE[name][:65000]).bytes()
    start = time.process_time()
    try:
        summary(data)
    except MismatchError:
        assert name in ("texts", "long texts")
    assert time.process_time() - start < 2


def test_largest_tensor_table_is_read_in_bounded_time() -> None:
    table = [MAKE.tensor(f"blk.{n % 512}.{n}", (1,), 0, 32 * n) for n in range(gguf.MAX_TENSORS)]
    head = File(tensors=table).head()
    start = time.process_time()
    header = gguf.read_header(Bytes(head, len(head) + 64 * gguf.MAX_TENSORS))
    assert header_check.problems(header)
    assert time.process_time() - start < 2
