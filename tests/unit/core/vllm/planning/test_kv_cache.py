# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key-value cache has the bytes that vLLM's rules give it, computed by hand here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import kv_cache
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.kv_cache import CacheSettings, KvCache
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.model_config import (
    AttentionLayers,
    ModelShape,
)
from tests.unit.core.vllm.planning import cache_cases

GIB = 1 << 30
RECORDED = Path(__file__).parents[4] / "fixtures" / "vllm" / "cache-rules-0.32.0.json"


def shape(key: str) -> ModelShape:
    return catalogue.MODELS[key].shape


@pytest.mark.parametrize(
    ("key", "gpus", "element", "token"),
    [
        # 2 (keys and values) x heads on the GPU x width x bytes.
        ("glm-4.7", 1, 2, 2 * 8 * 128 * 2),
        ("glm-4.7", 8, 2, 2 * 1 * 128 * 2),
        ("glm-4.7", 8, 1, 2 * 1 * 128 * 1),
        # 4 key-value heads on 8 GPUs: each is on two of them.
        ("qwen3-vl-235b", 4, 2, 2 * 1 * 128 * 2),
        ("qwen3-vl-235b", 8, 2, 2 * 1 * 128 * 2),
        ("gpt-oss-120b", 1, 2, 2 * 8 * 64 * 2),
        # 512 + 64 compressed values, whole on each GPU.
        ("glm-4.7-flash", 1, 2, 576 * 2),
        ("glm-4.7-flash", 2, 2, 576 * 2),
        ("llama-4-scout", 2, 2, 2 * 4 * 128 * 2),
    ],
)
def test_bytes_of_a_token_in_a_layer(key: str, gpus: int, element: int, token: int) -> None:
    assert KvCache(shape(key), CacheSettings(gpus, element)).token == token


@pytest.mark.parametrize(
    ("key", "gpus", "context", "settings", "expected"),
    [
        # All 92 layers keep 131072 tokens of 512 bytes.
        ("glm-4.7", 8, 131072, {}, 92 * 131072 * 512),
        # A context that fills no whole block of 16 tokens takes one more block.
        ("glm-4.7", 8, 131073, {}, 92 * 131088 * 512),
        ("glm-4.7", 8, 1, {}, 92 * 16 * 512),
        # Latent attention: blocks of 64 tokens.
        ("glm-4.7-flash", 2, 131072, {}, 47 * 131072 * 1152),
        ("glm-4.7-flash", 2, 65, {}, 47 * 128 * 1152),
        # 18 full layers; 18 sliding ones keep 127 + 2 x 8192 tokens, which touch 1032 + 1 blocks.
        ("gpt-oss-120b", 1, 131072, {}, 18 * 2048 * (131072 + 16 * 1033)),
        # vLLM 0.11 without asynchronous scheduling and 1024 tokens a step said: 4.54 GiB (vllm-project/vllm#27508).
        ("gpt-oss-120b", 1, 131072, {"batched_tokens": 1024, "steps": 1}, 18 * 2048 * (131072 + 16 * 73)),
        # A short context fills no window.
        ("gpt-oss-120b", 1, 100, {}, 18 * 2048 * (112 + 16 * 8)),
        # 12 global layers; three groups of 12 chunked ones keep 8192 + 2 x 8192 tokens.
        ("llama-4-scout", 4, 10485760, {}, 12 * 1024 * (10485760 + 3 * 24576)),
        ("llama-4-scout", 4, 8192, {}, 12 * 1024 * (8192 + 3 * 8192)),
        # Without the hybrid manager, all 48 layers keep everything.
        ("llama-4-scout", 4, 10485760, {"hybrid": False}, 48 * 1024 * 10485760),
    ],
)
def test_bytes_of_a_request(key: str, gpus: int, context: int, settings: dict[str, Any], expected: int) -> None:
    cache = KvCache(shape(key), CacheSettings(gpus, **settings))
    assert cache.request_bytes(context) == expected


def test_a_known_message_of_vllm_is_reproduced() -> None:
    cache = KvCache(shape("gpt-oss-120b"), CacheSettings(1, batched_tokens=1024, steps=1))
    assert f"{cache.request_bytes(131072) / GIB:.2f} GiB" == "4.54 GiB"
    small = KvCache(shape("gpt-oss-20b"), CacheSettings(1, batched_tokens=2048, steps=1))
    assert f"{small.request_bytes(131072) / GIB:.1f} GiB" == "3.1 GiB"


def test_tokens_that_vllm_logged_for_qwen3_on_four_gpus() -> None:
    """178,880 tokens of 48,128 bytes are 8.02 GiB of the 8.11 GiB that one worker logged (vllm-project/vllm#21348)."""
    cache = KvCache(shape("qwen3-vl-235b"), CacheSettings(4))
    assert cache.token * 94 == 48128
    assert cache.tokens(178880 * 48128, 40960) == 178880
    assert cache.tokens(int(8.11 * GIB), 40960) == pytest.approx(178880, rel=0.02)


@pytest.mark.parametrize(
    ("layers", "groups"),
    [
        ([("full", 32)], [("full", 1, 32)]),
        # 1.5 times as many sliding layers: groups of the smaller number.
        ([("full", 10), ("sliding", 20)], [("full", 1, 10), ("sliding", 2, 10)]),
        ([("full", 10), ("sliding", 15)], [("full", 1, 10), ("sliding", 2, 10)]),
        # Fewer: one padded group for each kind.
        ([("full", 13), ("sliding", 12)], [("full", 1, 13), ("sliding", 1, 13)]),
        ([("full", 5), ("sliding", 26)], [("full", 1, 5), ("sliding", 6, 5)]),
    ],
)
def test_layers_form_groups_as_in_vllm(layers: list[tuple[str, int]], groups: list[tuple[str, int, int]]) -> None:
    attention = tuple(AttentionLayers(kind, count, 0 if kind == "full" else 128) for kind, count in layers)
    cache = KvCache(replace(shape("gpt-oss-20b"), attention=attention), CacheSettings())
    assert [(group.kind, group.copies, group.layers) for group in cache.groups] == groups


def test_concurrency_and_tokens_are_those_of_whole_blocks() -> None:
    cache = KvCache(shape("glm-4.7"), CacheSettings(8))
    block = 92 * 16 * 512
    assert cache.block_bytes == block
    assert cache.concurrency(block * 4096 + block - 1, 32768) == 2.0
    assert cache.tokens(block * 3072, 32768) == 49152
    assert cache.concurrency(-1, 32768) == 0.0


@pytest.mark.parametrize("key", sorted(catalogue.MODELS))
@pytest.mark.parametrize("hybrid", [True, False])
def test_request_grows_with_the_context_and_never_with_more_gpus(key: str, hybrid: bool) -> None:
    model = shape(key)
    sizes = [gpus for gpus in (1, 2, 4, 8) if model.heads % gpus == 0]
    for gpus in sizes:
        cache = KvCache(model, CacheSettings(gpus, hybrid=hybrid))
        requests = [cache.request_bytes(context) for context in (1, 15, 16, 17, 1000, 8192, 32768, 131072, 1 << 20)]
        assert requests == sorted(requests)
    whole = [KvCache(model, CacheSettings(gpus, hybrid=hybrid)).request_bytes(32768) for gpus in sizes]
    assert whole == sorted(whole, reverse=True)
    halved = KvCache(model, CacheSettings(1, element=1, hybrid=hybrid))
    assert 2 * halved.request_bytes(32768) == KvCache(model, CacheSettings(1, hybrid=hybrid)).request_bytes(32768)


@pytest.mark.parametrize("key", sorted(catalogue.MODELS))
def test_windows_never_take_more_than_full_attention_for_long_contexts(key: str) -> None:
    model = shape(key)
    for context in (131072, 1 << 20):
        hybrid, flat = (KvCache(model, CacheSettings(1, hybrid=flag)).request_bytes(context) for flag in (True, False))
        assert hybrid <= flat


@pytest.mark.parametrize("key", sorted(catalogue.MODELS))
def test_largest_context_fits_and_the_next_block_does_not(key: str) -> None:
    cache = KvCache(shape(key), CacheSettings(1))
    for available in (0, cache.block_bytes, 1 << 30, 10 << 30):
        found = cache.largest_context(available, 1 << 24)
        assert found == 0 or cache.request_bytes(found) <= available
        assert found == 1 << 24 or cache.request_bytes(found + 1) > available
        shared = cache.largest_context(available, 1 << 24, requests=16)
        assert shared <= found
        assert 16 * cache.request_bytes(shared) <= available or shared == 0


@pytest.mark.parametrize(
    ("heads", "gpus", "on_each"), [(8, 1, 8), (8, 2, 4), (8, 8, 1), (4, 8, 1), (1, 8, 1), (6, 4, 2)]
)
def test_key_value_heads_on_a_gpu(heads: int, gpus: int, on_each: int) -> None:
    assert kv_cache.heads_per_gpu(replace(shape("glm-4.7"), kv_heads=heads), gpus) == on_each


def test_caches_are_those_that_vllm_itself_computed() -> None:
    """Bytes of a request and of a block from the functions of vLLM 0.32.0; C(make slow-vllm_rules) asks it again."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    usual = CacheSettings(batched_tokens=8192, steps=2)
    found = {
        f"{case.name} on {case.settings.tensor_parallel}": case.answers()
        for case in cache_cases.cases()
        if replace(case.settings, tensor_parallel=1) == usual
    }
    assert found == recorded
