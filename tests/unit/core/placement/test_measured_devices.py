# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner, held to what workers and head of both releases allocated (`make accuracy` measured it)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import compute_buffer
from tests.engine.accuracy import MARGIN, SHARE, Judged, judge, load
from tests.engine.generated.model import header_of
from tests.engine.generated.planning import DATA, planner
from tests.engine.models import models, published

FILES = sorted(DATA.glob("*.json"))
SMALL = {model.name for model in models()}
MIB = 1 << 20


def test_fixtures_cover_enough_models() -> None:
    assert {path.stem for path in FILES} >= SMALL
    assert len(SMALL) >= 12


@cache
def judged(path: Path) -> tuple[Judged, ...]:
    """Every device of every case of a model."""
    data, runs = load(path)
    metadata = from_data(data)
    return tuple(each for case, devices, _head in runs for each in judge(metadata, case, devices))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_caches_states_and_layers_are_exact(path: Path) -> None:
    assert not [each for each in judged(path) if not each.is_exact]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plan_is_never_below_measurement(path: Path) -> None:
    assert not [each for each in judged(path) if each.is_under]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_compute_buffers_are_close_to_measurement(path: Path) -> None:
    assert not [each for each in judged(path) if not each.is_within]


def test_compute_buffers_are_exact() -> None:
    """A change of the graph that is wrong by little shows here first."""
    different = [each for path in FILES for each in judged(path) if each.foreseen != each.measured]
    assert not different


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_metadata_without_details_gets_bound(path: Path) -> None:
    data, runs = load(path)
    metadata = replace(from_data(data), details=None)
    for case, devices, _head in runs:
        assert not [each for each in judge(metadata, case, devices) if each.is_under], case


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_head_buffer_equals_measurement(path: Path) -> None:
    data, runs = load(path)
    metadata = from_data(data)
    for case, _devices, head in runs:
        made = planner(metadata, case)
        cache = made.request.cache
        foreseen = compute_buffer.head_bytes(metadata, cache, made.rules, made.copies, case.flash_attention != "off")
        measured = head.get("compute CPU", 0.0) * MIB
        # The head prints two decimals.
        assert measured - 0.011 * MIB <= foreseen <= measured + max(SHARE * measured, MARGIN), case


def test_metadata_equals_that_of_fixture() -> None:
    made = {model.name: metadata_of(header_of(model)) for model in (*models(), *published())}
    for path in FILES:
        assert from_data(load(path)[0]) == made[path.stem], path.stem
