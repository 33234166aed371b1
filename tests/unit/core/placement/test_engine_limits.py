# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release refuses to load is never planned as fitting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import ModelMetadata, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement.kv_cache import CacheSettings
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import (
    DeviceCapacity,
    PlacementGroup,
    PlacementHost,
    PlacementRequest,
    Planner,
    rules_of,
)
from tests.engine.generated.model import header_of
from tests.engine.models import models

MODELS = {model.name: model for model in models()}
OLD, NEW = "b7836", "0c1e57098"
ROOMY = PlacementHost("vasp-02", (DeviceCapacity(1 << 40, 1 << 40, True),), memory=1 << 40)


def metadata(name: str, **changes: Any) -> ModelMetadata:
    return replace(metadata_of(header_of(MODELS[name])), **changes)


def problems(model: ModelMetadata, release: str, flash: bool = True, **cache: Any) -> list[str]:
    request = PlacementRequest(CacheSettings(4096, **cache), flash)
    return list(Planner(model, request, PlacementGroup((), ROOMY), rules_of(release)).plan().problems)


@pytest.mark.parametrize("name", ["gemma4", "qwen35", "deepseek32", "glm-dsa", "kimi-linear"])
def test_architecture_that_the_release_does_not_know_is_refused(name: str) -> None:
    model = metadata("llama", architecture=name)
    (problem,) = problems(model, OLD)
    assert problem == (
        f"expected an architecture that release b7836 knows, found {name} (general.architecture): switch to 0c1e57098."
    )
    assert problems(model, NEW) == []
    # Nothing is known of a release that is not pinned.
    assert problems(model, "b9999") == []


def test_architecture_that_no_release_knows_is_refused() -> None:
    model = metadata("llama", architecture="novel")
    assert all("found novel (general.architecture): choose" in problems(model, release)[0] for release in (OLD, NEW))


@pytest.mark.parametrize("release", [OLD, NEW])
@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q5_1", "iq4_nl"])
def test_quantised_values_need_flash_attention(release: str, kind: str) -> None:
    model = metadata("llama")
    assert problems(model, release, type_k=kind, type_v=kind) == []
    assert "found cache_type_v" in problems(model, release, flash=False, type_k=kind, type_v=kind)[0]
    assert problems(model, release, flash=False, type_k=kind) == []
    # The engine switches flash attention off for this architecture.
    assert "found cache_type_v" in problems(replace(model, architecture="grok"), release, type_k=kind, type_v=kind)[0]
    assert problems(metadata("mamba"), release, flash=False, type_k=kind, type_v=kind) == []


def test_latent_cache_has_one_type() -> None:
    model = metadata("deepseek2")
    assert "make them equal" in problems(model, NEW, type_k="f16", type_v="q8_0")[0]
    assert problems(model, OLD, type_k="f16", type_v="q8_0") == []
    assert problems(model, NEW, type_k="q8_0", type_v="q8_0") == []


def test_heads_are_whole_blocks_of_the_cache() -> None:
    model = metadata("llama")
    odd = replace(model, layers=tuple(replace(layer, key=80, value=80) for layer in model.layers))
    assert len(problems(odd, NEW, type_k="q8_0", type_v="q8_0")) == 2
    assert "found heads of 80: set cache_type_k to f16" in problems(odd, NEW, type_k="q8_0")[0]
    assert problems(odd, NEW) == problems(odd, OLD, type_k="q8_0") == []
