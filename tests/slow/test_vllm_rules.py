# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's rules for shapes and caches are those of the real vLLM, which answers here without loading a model."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import model_config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.kv_cache import heads_per_gpu
from tests.slow.cluster import CLONE
from tests.slow.conftest import Notes
from tests.unit import safetensors_bytes as made
from tests.unit.core.vllm.planning import cache_cases

#: vLLM reads an image model's configuration only with libraries for images. Its language model has a class of its own.
LANGUAGE = {
    "Glm4vMoeForConditionalGeneration": ("Glm4MoeForCausalLM", "glm4_moe"),
    "Llama4ForConditionalGeneration": ("Llama4ForCausalLM", "llama4_text"),
    "Qwen3VLMoeForConditionalGeneration": ("Qwen3MoeForCausalLM", "qwen3_moe"),
}


def language_model(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the language model alone."""
    name = config["architectures"][0]
    if name not in LANGUAGE:
        return config
    architecture, model_type = LANGUAGE[name]
    found = {**config["text_config"], "architectures": [architecture], "model_type": model_type}
    return {**found, **{key: config[key] for key in ("quantization_config",) if key in config}}


def questions(folder: Path) -> Iterator[tuple[str, Path]]:
    for key in catalogue.MODELS:
        place = folder / key
        place.mkdir()
        config = language_model(made.published(key)["config"])
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield key, place


def test_shapes_and_caches_are_those_of_the_real_library(tmp_path: Path, notes: Notes) -> None:
    environment = subprocess.run(
        [CLONE / "tools" / "vllm-ready"], check=True, capture_output=True, text=True, timeout=3600
    ).stdout.split()[-1]
    folders = dict(questions(tmp_path))
    cases = cache_cases.cases()
    asked = {"cases": [case.question() for case in cases], "configs": [str(folder) for folder in folders.values()]}
    answer = subprocess.run(
        [Path(environment) / "bin" / "python", CLONE / "tests" / "vllm" / "cache_rules.py"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    for case, sizes in zip(cases, found["cases"]):
        assert case.answers() == sizes, case
    for key, theirs in zip(folders, found["configs"]):
        ours = model_config.parse(json.loads((folders[key] / "config.json").read_text(encoding="utf-8")))
        assert ours.context == theirs["context"], key
        assert ours.layers == theirs["layers"], key
        assert (ours.experts, ours.vocabulary) == (theirs["experts"], theirs["vocabulary"]), key
        assert (ours.latent or ours.head_dim) == theirs["width"], key
        assert bool(ours.latent) == theirs["latent"], key
        assert max(layers.window for layers in ours.attention if layers.kind != "sliding") == (theirs["chunk"] or 0), (
            key
        )
        heads = {size: 1 if ours.latent else heads_per_gpu(ours, int(size)) for size in theirs["heads"]}
        assert heads == theirs["heads"], key
        assert bool(ours.quantization) == bool(theirs["quantization"]), key
    notes.add(f"{len(cases)} caches and {len(folders)} shapes are those of vLLM")
