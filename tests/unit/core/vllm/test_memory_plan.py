# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan leaves the cache no more than vLLM has, and refuses what does not fit with the numbers that do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue, memory_plan
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.memory_plan import (
    GPU_KINDS,
    EngineMemorySettings,
    MemoryPlan,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import remedies
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.weights import WeightBytes

GIB = 1 << 30
H100 = GPU_KINDS["h100-80"]
KEYS = sorted(catalogue.MODELS)


def planned(key: str, gpus: int = 0, kind: str = "h100-80", **settings: Any) -> MemoryPlan:
    model = catalogue.MODELS[key]
    return memory_plan.plan(
        model.shape, model.weights, GPU_KINDS[kind], gpus or model.gpus, EngineMemorySettings(**settings)
    )


def remedies_of(key: str, gpus: int = 0, kind: str = "h100-80", **settings: Any) -> list[str]:
    model = catalogue.MODELS[key]
    return remedies.find(
        model.shape,
        model.weights,
        GPU_KINDS[kind],
        gpus or model.gpus,
        EngineMemorySettings(**settings),
        model.smaller,
    )


@pytest.mark.parametrize(
    ("key", "gpus", "weights"),
    [
        # (linear + experts + vocabulary + vision) / GPUs + keys and values / heads + what each GPU keeps, by hand.
        ("glm-4.6v", 4, (11087118336 + 199313326080 + 2483027968 + 1717363712 + 771751936) // 4 + 49289728),
        ("llama-4-scout", 2, (17112760320 + 193273528320 + 4137943040 + 1743864832 + 1006632960) // 2 + 8857600),
        # Four key-value heads on eight GPUs: a quarter on each. The draft layer of GLM-4.7 is not loaded.
        ("qwen3-vl-235b", 8, (12616466432 + 454192791552 + 2489319424 + 1152776672) // 8 + 788529152 // 4 + 100162560),
        ("glm-4.7", 8, (14251962368 + 336430366720 + 3103784960 + 965443584) // 8 + 150453888),
    ],
)
def test_weights_on_a_gpu(key: str, gpus: int, weights: int) -> None:
    assert planned(key, gpus).weights == pytest.approx(weights, abs=2)


def test_vision_encoder_whose_heads_the_gpus_do_not_divide_is_on_each() -> None:
    """GLM-4.6V has 12 heads in its encoder, and 8 GPUs do not divide them."""
    four, eight = planned("glm-4.6v", 4), planned("glm-4.6v", 8)
    text = catalogue.MODELS["glm-4.6v"].weights.loaded - 1717363712 - 49289728
    assert four.weights == pytest.approx(text / 4 + 1717363712 / 4 + 49289728, abs=4)
    assert eight.weights == pytest.approx(text / 8 + 1717363712 + 49289728, abs=4)


@pytest.mark.parametrize(
    ("issue", "settings", "loaded", "available", "spare"),
    [
        # vllm-project/vllm#23278: H100, vLLM 0.10, all defaults.
        (23278, {"max_num_seqs": 1024}, 65.9651, -2.14, 1.2),
        # #27508: --gpu-memory-utilization 0.95 --max-num-batched-tokens 1024, vLLM 0.11.
        (
            27508,
            {"max_num_seqs": 1024, "gpu_memory_utilization": 0.95, "max_num_batched_tokens": 1024},
            65.9651,
            1.71,
            0.2,
        ),
    ],
)
def test_gpt_oss_120b_as_logged_by_users(
    issue: int, settings: dict[str, Any], loaded: float, available: float, spare: float
) -> None:
    """These releases did not reserve memory for CUDA graphs, so the plan is compared without them."""
    found = planned("gpt-oss-120b", 1, enforce_eager=True, **settings)
    assert found.weights / GIB == pytest.approx(loaded, rel=0.002), issue
    assert available - spare <= found.cache / GIB <= available, issue


def test_qwen3_235b_in_fp8_as_logged_by_a_user() -> None:
    """vllm-project/vllm#21348: four H100, all defaults: 8.11 GiB. The weights are those of the text model in FP8."""
    model = catalogue.MODELS["qwen3-vl-235b"]
    weights = replace(model.weights, vision=0).halved()
    shape = replace(model.shape, vision=None, quantization="fp8")
    settings = EngineMemorySettings(max_model_len=40960, max_num_seqs=1024, enforce_eager=True)
    found = memory_plan.plan(shape, weights, H100, 4, settings)
    assert 8.11 - 1.2 <= found.cache / GIB <= 8.11


@pytest.mark.parametrize("key", KEYS)
def test_parts_add_up_to_the_budget(key: str) -> None:
    found = planned(key)
    assert found.budget == int(H100.memory_bytes * 0.9)
    assert found.weights + found.activations + found.graphs + found.beside + found.cache == found.budget


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("gpt-oss-20b", True),
        ("gpt-oss-120b", False),
        ("glm-4.7-flash", True),
        ("glm-4.6v-fp8", True),
        ("glm-4.6v", True),
        ("llama-4-scout", False),
        ("glm-4.7", True),
        ("qwen3-vl-235b", False),
        ("llama-4-maverick", True),
    ],
)
def test_documented_contexts_on_gpus_of_80_gb(key: str, fits: bool) -> None:
    found = planned(key, max_model_len=catalogue.MODELS[key].documented_context)
    assert found.fits is fits
    assert (found.largest_context >= catalogue.MODELS[key].documented_context) is fits


def test_scout_with_ten_million_tokens_on_160_gb_is_refused_with_the_numbers_that_fit() -> None:
    found = planned("llama-4-scout", 2, max_model_len=10485760)
    assert not found.fits
    assert found.sentence() == (
        "2 x H100 80 GB are too small: weights and buffers take 105.97 GiB of 71.19 GiB on each GPU, and nothing is "
        "left for a context."
    )
    assert remedies_of("llama-4-scout", 2, max_model_len=10485760) == [
        "A context of 557,280 tokens fits with the checkpoint RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic.",
        "A context of 557,280 tokens fits with quantization: fp8.",
        "A context of 1,307,968 tokens fits on 4 x H100 80 GB.",
        "The whole context of 10,485,760 tokens fits on 8 x H100 80 GB with a cache in FP8.",
    ]


def test_scout_in_fp8_with_ten_million_tokens_names_the_longest_context() -> None:
    found = planned("llama-4-scout", 2, max_model_len=10485760, quantization="fp8")
    assert "needs 241.69 GiB of cache" in found.sentence()
    assert "the longest that fits is 557,280" in found.sentence()


@pytest.mark.parametrize("key", KEYS)
def test_every_remedy_with_a_context_holds_when_it_is_applied(key: str) -> None:
    found = planned(key, max_model_len=catalogue.MODELS[key].documented_context)
    if found.largest_context:
        assert planned(key, max_model_len=found.largest_context).fits
        assert (
            found.largest_context == found.model_context
            or not planned(key, max_model_len=found.largest_context + 64).fits
        )


def test_remedies_are_tried_and_name_settings() -> None:
    found = remedies_of("gpt-oss-120b", 1, max_model_len=131072)
    assert "The whole context of 131,072 tokens fits with a cache in FP8 (--kv-cache-dtype fp8)." in found
    assert "The whole context of 131,072 tokens fits with gpu_memory_utilization 0.95." in found
    assert "The whole context of 131,072 tokens fits on 2 x H100 80 GB." in found
    assert planned("gpt-oss-120b", 1, max_model_len=131072, kv_cache_dtype="fp8").fits
    assert planned("gpt-oss-120b", 1, max_model_len=131072, gpu_memory_utilization=0.95).fits
    assert planned("gpt-oss-120b", 2, max_model_len=131072).fits


def test_plan_that_fits_has_no_remedies() -> None:
    assert remedies_of("gpt-oss-20b") == []


def test_no_fp8_is_offered_where_the_gpu_lacks_it() -> None:
    found = remedies_of("llama-4-scout", 2, "v100-32", max_model_len=10485760)
    assert not any("fp8" in sentence.lower() for sentence in found)
    on_ampere = remedies_of("llama-4-scout", 2, "a100-80", max_model_len=10485760)
    assert any("quantization: fp8" in sentence for sentence in on_ampere)
    assert not any("cache in FP8" in sentence for sentence in on_ampere)


def test_context_beyond_the_models_own_is_refused() -> None:
    found = planned("gpt-oss-20b", max_model_len=200_000)
    assert not found.fits
    assert "exceeds the model's 131,072" in found.sentence()
    assert remedies_of("gpt-oss-20b", max_model_len=200_000)[0] == "A context of 131,072 tokens fits as it is."


@pytest.mark.parametrize("key", KEYS)
def test_cache_shrinks_with_sequences_and_step_size_and_grows_with_share_and_gpus(key: str) -> None:
    def caches(name: str, values: list[Any]) -> list[int]:
        return [planned(key, **{name: value}).cache for value in values]

    for name, values in (
        ("max_num_seqs", [1, 16, 64, 256, 1024]),
        ("max_num_batched_tokens", [512, 2048, 8192, 32768]),
    ):
        found = caches(name, values)
        assert found == sorted(found, reverse=True)
    shares = caches("gpu_memory_utilization", [0.5, 0.8, 0.9, 0.95, 1.0])
    assert shares == sorted(shares)
    model = catalogue.MODELS[key]
    sizes = [number for number in memory_plan.possible_sizes(model.shape) if 1 < number <= 8]
    weights = [planned(key, number).weights for number in sizes]
    assert weights == sorted(weights, reverse=True)
    contexts = [planned(key, number).largest_context for number in sizes]
    assert contexts == sorted(contexts)


@pytest.mark.parametrize("key", KEYS)
def test_concurrency_falls_with_the_context(key: str) -> None:
    found = [planned(key, max_model_len=context).concurrency for context in (1024, 8192, 32768, 131072)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("key", "gpus"), [("glm-4.7", 0), ("glm-4.7", -1), ("glm-4.7", 5), ("llama-4-scout", 16), ("glm-4.7-flash", 8)]
)
def test_number_of_gpus_that_does_not_divide_the_heads_is_refused(key: str, gpus: int) -> None:
    model = catalogue.MODELS[key]
    with pytest.raises(InvalidInputError, match="GPUs cannot share"):
        memory_plan.plan(model.shape, model.weights, H100, gpus)


def test_possible_numbers_of_gpus() -> None:
    assert memory_plan.possible_sizes(catalogue.MODELS["qwen3-vl-235b"].shape) == [1, 2, 4, 8, 16, 32, 64]
    assert memory_plan.possible_sizes(catalogue.MODELS["llama-4-scout"].shape) == [1, 2, 4, 8, 40]
    assert memory_plan.possible_sizes(catalogue.MODELS["glm-4.7-flash"].shape) == [1, 2, 4, 5, 10, 20]


@pytest.mark.parametrize(
    "settings",
    [
        {"gpu_memory_utilization": 0},
        {"gpu_memory_utilization": 1.1},
        {"gpu_memory_utilization": float("nan")},
        {"max_num_seqs": 0},
        {"max_num_seqs": 1 << 30},
        {"max_model_len": -5},
        {"max_num_batched_tokens": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        planned("gpt-oss-20b", **settings)


@pytest.mark.parametrize(
    ("kind", "tokens"), [("h100-80", 8192), ("h200-141", 8192), ("a100-80", 2048), ("a100-40", 2048), ("v100-32", 2048)]
)
def test_default_step_size_is_vllms_for_the_gpu(kind: str, tokens: int) -> None:
    assert memory_plan.batched_tokens(GPU_KINDS[kind], EngineMemorySettings()) == tokens


def test_gpu_of_nvidia_smi() -> None:
    found = memory_plan.gpu_kind("NVIDIA H100 80GB HBM3", 81559, "9.0")
    assert found.memory_bytes / GIB == pytest.approx(79.10, abs=0.02)


def test_plain_number_of_bytes_counts_as_matrices() -> None:
    shape = replace(catalogue.MODELS["glm-4.7"].shape, quantization="")
    found = memory_plan.plan(shape, 100 * GIB, H100, 4, EngineMemorySettings(max_model_len=4096))
    assert found.weights == 25 * GIB
    assert memory_plan.plan(shape, WeightBytes(replicated=GIB), H100, 4).weights == GIB


def test_float32_doubles_weights_and_cache_of_a_checkpoint_of_16_bits() -> None:
    usual, wide = planned("glm-4.7-flash"), planned("glm-4.7-flash", dtype="float32")
    assert (wide.weights, wide.request) == (2 * usual.weights, 2 * usual.request)
    assert wide.activations > usual.activations


def test_plan_is_json() -> None:
    found = json.loads(json.dumps(planned("glm-4.7").as_dict()))
    assert found["fits"] is True
    assert found["tensor_parallel"] == 8
