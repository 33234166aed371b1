# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutated headers and configurations are read or refused with a sentence; nothing else ever happens."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue, memory_plan
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.memory_plan import (
    GPU_KINDS,
    EngineMemorySettings,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import (
    model_config,
    remedies,
    safetensors,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.weights import WeightBytes
from tests.unit import safetensors_bytes as made

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 7, 1 << 20, 1 << 31, 1 << 63, 10**19, 0.5, 1e308, "", "8", "x" * 300, "full_attention",
    [], [1], [[]], [None] * 48, {}, {"a": 1}, {"rope_type": "yarn", "factor": 64}, {"quant_method": "fp8"},
)  # fmt: skip


def configurations(key: str) -> Iterator[dict[str, Any]]:
    """Put each hostile value in the place of each value of a published configuration, and leave each key out."""
    config = made.published(key)["config"]
    for path in [(name,) for name in config] + [
        (outer, name) for outer in config if isinstance(config[outer], dict) for name in config[outer]
    ]:
        for value in (*HOSTILE, KeyError):
            changed = copy.deepcopy(config)
            place = changed
            for name in path[:-1]:
                place = place[name]
            if value is KeyError:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            yield changed


@pytest.mark.parametrize("key", ["gpt-oss-20b", "glm-4.7-flash", "llama-4-scout", "qwen3-vl-235b"])
def test_configuration_is_planned_or_refused(key: str) -> None:
    planned = refused = 0
    for config in configurations(key):
        try:
            shape = model_config.parse(config)
            weights = WeightBytes(linear=10 << 30, keys_values=1 << 20, experts=1 << 30, vision=1 << 20)
            found = memory_plan.plan(shape, weights, GPU_KINDS["h100-80"], 2, EngineMemorySettings(max_model_len=4096))
            assert found.largest_context >= 0
            assert len(found.sentence()) < 400
            json.dumps(found.as_dict())
            if planned % 16 == 0:
                remedies.find(shape, weights, GPU_KINDS["h100-80"], 2, EngineMemorySettings(max_model_len=1 << 30))
        except HerdError as error:
            refused += 1
            assert len(str(error)) < 600
        else:
            planned += 1
    assert planned > 50
    assert refused > 50


def test_header_is_read_or_refused() -> None:
    tensors = {name: ("BF16", [4, number + 1]) for number, name in enumerate(("a", "b.weight", "model.layers.3.c"))}
    good = json.dumps({"__metadata__": {"format": "pt"}, **made.entries(tensors)}).encode()
    size = sum(8 * (number + 1) for number in range(3))
    assert len(safetensors.parse(good, size, "f").tensors) == 3
    source = random.Random(7)
    read = refused = 0
    for _round in range(4000):
        text = bytearray(good)
        for _change in range(source.randint(1, 3)):
            place = source.randrange(len(text))
            change = source.randrange(4)
            if change == 0:
                text[place] = source.randrange(256)
            elif change == 1:
                del text[place : place + source.randint(1, 9)]
            elif change == 2:
                text[place:place] = source.choice((b"-", b"9" * 30, b"[", b'"', b"{}", b"1e9", b"null", b"\\u0000"))
            else:
                text[place:place] = text[source.randrange(len(text)) :][:20]
        try:
            found = safetensors.parse(bytes(text), size, "f")
        except HerdError as error:
            refused += 1
            assert len(str(error)) < 1000
        else:
            read += 1
            assert sum(tensor.size for tensor in found.tensors.values()) == found.size == size
    assert read > 20
    assert refused > 1000


@pytest.mark.parametrize("key", sorted(catalogue.MODELS))
def test_plan_grows_with_what_is_asked(key: str) -> None:
    """More context, requests or tokens a step never leave more room; the longest context shrinks or stays."""
    model, source = catalogue.MODELS[key], random.Random(key)
    for _round in range(20):
        settings = EngineMemorySettings(
            max_model_len=source.randint(1, model.shape.context),
            max_num_seqs=source.randint(1, 512),
            max_num_batched_tokens=source.randint(256, 16384),
            gpu_memory_utilization=source.uniform(0.5, 0.95),
        )
        found = memory_plan.plan(model.shape, model.weights, GPU_KINDS["h200-141"], model.gpus, settings)
        for more in (
            {"max_num_seqs": settings.max_num_seqs * 2},
            {"max_num_batched_tokens": (settings.max_num_batched_tokens or 0) * 2},
        ):
            other = memory_plan.plan(
                model.shape,
                model.weights,
                GPU_KINDS["h200-141"],
                model.gpus,
                EngineMemorySettings(**{**settings.__dict__, **more}),
            )
            assert other.cache <= found.cache
            assert other.largest_context <= found.largest_context
        assert found.largest_shared_context <= found.largest_context
        assert found.fits == (settings.max_model_len is not None and settings.max_model_len <= found.largest_context)
