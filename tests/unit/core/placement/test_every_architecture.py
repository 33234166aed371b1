# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No plan is below what an engine would allocate, whatever the architecture (`make accuracy` asked both engines)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from tests.engine.generated import real_starts
from tests.engine.generated.every_architecture import every_architecture
from tests.engine.generated.listed import PLACE, Compared, compared
from tests.engine.generated.model import header_of

FILES = sorted(PLACE.glob("*.json"))
#: Their caches were planned too small or too large before: an indexer, shared layers, windows, hidden states.
EXACT_CACHES = (
    "deepseek32", "glm-dsa", "gemma4", "gemma4-moe", "gemma3n", "exaone4", "qwen35", "qwen35moe", "granitehybrid",
    "rwkv7", "minimax-m2", "command-r", "step35",
)  # fmt: skip


@cache
def found(path: Path) -> tuple[Compared, ...]:
    return tuple(compared(path))


def test_fixtures_cover_most_architectures() -> None:
    assert len({json.loads(path.read_text())["metadata"]["architecture"] for path in FILES}) >= 120


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plan_is_never_below_allocation(path: Path) -> None:
    assert not [each for each in found(path) if each.is_under]


@pytest.mark.parametrize("name", EXACT_CACHES)
def test_caches_are_exact(name: str) -> None:
    different = [each for each in found(PLACE / f"{name}.json") if each.planned.kept != each.real.kept]
    assert not different


def test_windows_of_a_hybrid_model_are_exact() -> None:
    """All layers with attention have the window in 0c1e57098, and b7836 ignores it."""
    runs = found(PLACE / "lfm2.json")
    assert {each.release for each in runs} == {"0c1e57098", "b7836"}
    assert [each for each in runs if not each.is_exact] == []
    kept = {each.release: each.real.kept for each in runs if each.case.context == 32768 and each.device == 1}
    assert kept["0c1e57098"] * 20 < kept["b7836"]


def test_real_starts_equal_the_answers_and_are_never_above_the_plan() -> None:
    pairs = list(real_starts.stored())
    assert {each.case.model for each, _real in pairs} == set(real_starts.NAMES)
    assert [(each, real) for each, real in pairs if each.real != real] == []
    assert not any(real_starts.under(*pair) for pair in pairs)
    # A second cache of deepseek32 is as large as the engine's.
    kept = [real.kept for each, real in pairs if each.case.model == "deepseek32" and each.case.context == 32768]
    assert kept == [176 << 20, 176 << 20]


def test_keys_and_values_of_different_types_are_exact() -> None:
    mixed = [each for each in found(PLACE / "llama.json") if each.case.value_type]
    assert mixed and all(each.is_exact for each in mixed)


def test_metadata_equals_that_of_fixture() -> None:
    made = {model.name: metadata_of(header_of(model)) for model in every_architecture()}
    for path in FILES:
        assert from_data(json.loads(path.read_text())["metadata"]) == made[path.stem], path.stem
