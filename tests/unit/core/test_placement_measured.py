# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner, held to what workers and head of both releases allocated (`make accuracy` measured it)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.model_shape import from_data, shape_of
from tests.engine.accuracy import DATA, MARGIN, SHARE, judge, load, predicted
from tests.engine.models import header_of, models, published

FILES = sorted(DATA.glob("*.json"))
SMALL = {model.name for model in models()}
MIB = 1 << 20


def test_there_are_enough_of_them() -> None:
    assert {path.stem for path in FILES} >= SMALL
    assert len(SMALL) >= 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_caches_states_and_layers_are_the_engines_to_the_byte(path: Path) -> None:
    shape, runs = load(path)
    for case, devices, _head in runs:
        wrong = [each for each in judge(from_data(shape), case, devices) if not each.is_exact]
        assert not wrong, case


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_device_gets_more_than_was_foreseen(path: Path) -> None:
    shape, runs = load(path)
    for case, devices, _head in runs:
        under = [each for each in judge(from_data(shape), case, devices) if each.is_under]
        assert not under, case


@pytest.mark.parametrize(("release", "share"), [("0c1e57098", 0.94), ("b7836", 0.72)])
def test_compute_buffers_are_near(release: str, share: float) -> None:
    """Where they are not, the page of the reference says by how much; a change must not make it worse."""
    within = everything = 0
    for path in FILES:
        shape, runs = load(path)
        for case, devices, _head in runs:
            if path.stem in SMALL and case.release == release:
                judged = list(judge(from_data(shape), case, devices))
                everything += len(judged)
                within += sum(each.is_within for each in judged)
    assert within >= share * everything


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_heads_own_buffer(path: Path) -> None:
    shape, runs = load(path)
    for case, _devices, head in runs:
        _plans, foreseen = predicted(from_data(shape), case)
        measured = head.get("compute CPU", 0.0) * MIB
        # The head prints two decimals.
        assert measured - 0.011 * MIB <= foreseen <= measured + max(SHARE * measured, MARGIN), case


def test_the_shapes_are_those_of_the_generator() -> None:
    made = {model.name: shape_of(header_of(model)) for model in (*models(), *published())}
    for path in FILES:
        assert from_data(load(path)[0]) == made[path.stem], path.stem
