# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue agrees with the recorded configurations and tensors of the published models."""

from __future__ import annotations

import json
import math

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint
from tests.unit import safetensors_bytes as made

KEYS = sorted(catalogue.MODELS)


def test_every_model_has_a_record_and_every_record_a_model() -> None:
    assert sorted(path.stem for path in made.MODELS.glob("*.json")) == KEYS
    assert len(KEYS) == 9


@pytest.mark.parametrize("key", KEYS)
def test_headers_of_all_tensors_give_the_sizes_and_shape_of_the_catalogue(key: str) -> None:
    found = checkpoint.read(made.checkpoint(key))
    model = catalogue.MODELS[key]
    assert found.name == model.huggingface_id
    assert found.shape == model.shape
    assert found.weights == model.weights


@pytest.mark.parametrize("key", KEYS)
def test_tensors_add_up_to_the_published_total(key: str) -> None:
    facts = made.published(key)
    published = facts["published"]
    counts = [
        (sum(1 for _name in made.expand(entry["name"])) * math.prod(entry["shape"]), entry)
        for entry in facts["tensors"]
        if not entry["name"].endswith("weight_scale")
    ]
    if "bytes" in published:
        assert catalogue.MODELS[key].weights.total == published["bytes"]
    else:
        assert sum(count for count, _entry in counts) == published["parameters"] == catalogue.MODELS[key].parameters


@pytest.mark.parametrize("key", KEYS)
def test_record_names_its_sources_and_whether_it_is_computed(key: str) -> None:
    sources = made.published(key)["sources"]
    assert set(sources) == {"config", "tensors"}
    assert sources["tensors"].startswith("computed") == catalogue.MODELS[key].computed


def test_document_facts() -> None:
    rows = {key: (model.nodes, model.gpus, model.vision, bool(model.gate)) for key, model in catalogue.MODELS.items()}
    assert rows == {
        "gpt-oss-20b": (1, 1, False, False),
        "gpt-oss-120b": (1, 1, False, False),
        "glm-4.7-flash": (1, 2, False, False),
        "glm-4.6v-fp8": (1, 2, True, False),
        "glm-4.6v": (1, 4, True, False),
        "llama-4-scout": (1, 2, True, True),
        "glm-4.7": (2, 8, False, False),
        "qwen3-vl-235b": (2, 8, True, False),
        "llama-4-maverick": (2, 8, True, True),
    }


def test_model_is_found_by_its_id_in_any_case() -> None:
    found = catalogue.by_id("OpenAI/GPT-OSS-20b")
    assert found is catalogue.MODELS["gpt-oss-20b"]
    assert catalogue.by_id("somebody/else") is None


@pytest.mark.parametrize("variant", catalogue.VARIANTS, ids=lambda variant: variant.huggingface_id)
def test_variant_of_16_bits_has_as_many_parameters(variant: catalogue.PublishedModel) -> None:
    assert catalogue.by_id(variant.huggingface_id) is variant
    assert variant.shape.quantization == ""
    # Two bytes each, but for some small tensors in F32.
    assert 2 * variant.parameters <= variant.weights.total < 2 * variant.parameters + 100_000


def test_records_are_valid_json_of_moderate_size() -> None:
    for path in made.MODELS.glob("*.json"):
        assert len(json.loads(path.read_text(encoding="utf-8"))["tensors"]) < 100
