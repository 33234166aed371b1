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


def test_keys_and_values_of_different_types_are_exact() -> None:
    mixed = [each for each in found(PLACE / "llama.json") if each.case.value_type]
    assert mixed and all(each.is_exact for each in mixed)


def test_metadata_equals_that_of_fixture() -> None:
    made = {model.name: metadata_of(header_of(model)) for model in every_architecture()}
    for path in FILES:
        assert from_data(json.loads(path.read_text())["metadata"]) == made[path.stem], path.stem
