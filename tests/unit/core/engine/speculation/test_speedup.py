# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed-up follows acceptance, length and costs."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import speedup


@pytest.mark.parametrize(
    ("acceptance", "expected"),
    [
        (0.5, {1: 1.43, 2: 1.59, 3: 1.63, 4: 1.61, 6: 1.53, 8: 1.43}),
        (0.7, {1: 1.62, 2: 1.99, 3: 2.20, 4: 2.31, 6: 2.35, 8: 2.28}),
        (0.9, {1: 1.81, 2: 2.46, 3: 2.99, 4: 3.41, 6: 4.01, 8: 4.38}),
    ],
)
def test_speedup_with_flat_costs_and_a_draft_of_five_percent(acceptance: float, expected: dict[int, float]) -> None:
    assert {n: round(speedup.speedup(acceptance, n, 0.05), 2) for n in expected} == expected


def test_processor_that_computes_each_token_gains_nothing() -> None:
    # CPU time of a model of 12 layers for batches of 1 to 4: 25, 51, 56 and 69 ms.
    costs = {1: 1.0, 2: 51 / 25, 3: 56 / 25, 4: 69 / 25}
    assert speedup.speedup(0.5, 1, 0.05, costs.__getitem__) < 0.75
    assert speedup.speedup(0.9, 3, 0.05, costs.__getitem__) == pytest.approx(1.18, abs=0.01)


def test_rejected_draft_costs_its_time() -> None:
    assert speedup.mean_length(0.0, 3) == 1
    assert speedup.speedup(0.0, 3, 0.1) == pytest.approx(1 / 1.3)


def test_mean_length_of_counters() -> None:
    # 119 of 120 tokens in 40 steps: the engine's log says mean len = 3.98.
    assert round(speedup.mean_acceptance(119, 40), 2) == 3.98
    assert speedup.mean_acceptance(0, 0) == 1
