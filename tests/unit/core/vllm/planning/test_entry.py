# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model is planned from the configuration, with its further arguments, and from its files or the catalogue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    InvalidInputError,
    MismatchError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config import Config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.memory_plan import (
    GPU_KINDS,
    EngineMemorySettings,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint, entry
from tests.unit import safetensors_bytes as made
from tests.unit.core.vllm import config_texts

H100 = GPU_KINDS["h100-80"]


def sample() -> Config:
    return config_texts.parse(config_texts.SAMPLE.read_text(encoding="utf-8"))


def configured(extra: str = "[]", **model: Any) -> Config:
    values = {"huggingface_id": "openai/gpt-oss-120b", "port": 8000, "max_model_len": 32768, **model}
    models = "{m: {" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}}"
    return config_texts.parse(
        config_texts.text(vllm=f"{{gpu_memory_utilization: 0.8, extra_arguments: {extra}}}", models=models)
    )


def test_sample_and_catalogue_have_the_same_models() -> None:
    assert set(sample().models) == set(catalogue.MODELS)
    for key, model in sample().models.items():
        published = catalogue.MODELS[key]
        assert (model.nodes, model.gpus, model.vision) == (published.nodes, published.gpus, published.vision), key


@pytest.mark.parametrize("key", sorted(catalogue.MODELS))
def test_every_model_of_the_sample_fits_with_its_default_context(key: str) -> None:
    found = entry.plan_entry(sample(), key, H100)
    assert found.fits, found.lines()
    assert found.remedies == ()


def test_settings_come_from_the_configuration() -> None:
    found = entry.settings_of(configured(quantization="mxfp4"), "m")
    assert (found.gpu_memory_utilization, found.max_num_seqs, found.max_model_len) == (0.8, 16, 32768)
    assert (found.kv_cache_dtype, found.max_num_batched_tokens, found.quantization) == ("auto", None, "mxfp4")


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ("[--kv-cache-dtype, fp8]", "kv_cache_dtype", "fp8"),
        ("[--kv-cache-dtype=fp8]", "kv_cache_dtype", "fp8"),
        ('[--max-num-batched-tokens, "2048"]', "max_num_batched_tokens", 2048),
        ("[--max-num-batched-tokens=8k]", "max_num_batched_tokens", 8000),
        ("[--max-num-batched-tokens=8K]", "max_num_batched_tokens", 8192),
        ("[--enforce-eager]", "enforce_eager", True),
        ("[--disable-hybrid-kv-cache-manager]", "hybrid_kv_cache", False),
        ("[--enable-prefix-caching, --block-size, 16]", "enforce_eager", False),
    ],
)
def test_further_arguments_count(arguments: str, name: str, value: Any) -> None:
    assert getattr(entry.settings_of(configured(arguments), "m"), name) == value


@pytest.mark.parametrize("words", [["--max-num-seqs"], ["--max-num-seqs=many"], ["--max-num-seqs=1e400k"]])
def test_argument_without_a_number_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="a number after --max-num-seqs"):
        entry.with_arguments(EngineMemorySettings(), words)


def test_scout_in_16_bits_does_not_fit_and_has_remedies() -> None:
    config = configured(huggingface_id="meta-llama/Llama-4-Scout-17B-16E-Instruct", gpus=2, max_model_len=10485760)
    found = entry.plan_entry(config, "m", H100)
    assert not found.fits
    text = "\n".join(found.lines())
    assert text.startswith("2 x H100 80 GB are too small")
    assert "tokens fits with quantization: fp8." in text


def test_maverick_as_the_document_names_it_fits_in_fp8() -> None:
    """The document's id is that of the checkpoint of 16 bits, which vLLM quantises while it loads it."""
    config = configured(
        huggingface_id="meta-llama/Llama-4-Maverick-17B-128E-Instruct", gpus=8, nodes=2, quantization="fp8"
    )
    assert entry.plan_entry(config, "m", H100).fits
    wide = configured(huggingface_id="meta-llama/Llama-4-Maverick-17B-128E-Instruct", gpus=8, nodes=2)
    assert not entry.plan_entry(wide, "m", H100).fits


def test_files_win_over_the_catalogue() -> None:
    config = configured(huggingface_id="somebody/else")
    with pytest.raises(InvalidInputError, match="not in the catalogue"):
        entry.plan_entry(config, "m", H100)
    found = entry.plan_entry(config, "m", H100, checkpoint.read(made.checkpoint("gpt-oss-20b")))
    assert (found.source, found.fits) == ("openai/gpt-oss-20b", True)


def test_gpus_without_the_quantisation_are_a_problem() -> None:
    found = entry.plan_entry(configured(), "m", GPU_KINDS["v100-32"])
    assert found.problems[0].startswith("Expected GPUs of compute capability 8.0 or higher for mxfp4 weights")
    assert found.lines()[0] == found.problems[0]


def test_quantisation_of_another_checkpoint_is_refused() -> None:
    with pytest.raises(MismatchError, match="mxfp4 in the checkpoint"):
        entry.plan_entry(configured(quantization="fp8"), "m", H100)


def test_image_encoder_that_the_gpus_do_not_divide_is_noted() -> None:
    config = configured(huggingface_id="zai-org/GLM-4.6V", gpus=8)
    assert any("--mm-encoder-tp-mode data" in note for note in entry.plan_entry(config, "m", H100).notes)


def test_plan_is_json() -> None:
    found = json.loads(json.dumps(entry.plan_entry(sample(), "glm-4.7", H100).as_dict()))
    assert (found["model"], found["fits"], found["source"]) == ("glm-4.7", True, "catalogue: zai-org/GLM-4.7-FP8")
