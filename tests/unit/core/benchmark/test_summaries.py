# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import math

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import summaries

#: Two groups of repetitions whose means lie 1.55 apart, each with a spread of 0.4 at most.
FIRST, SECOND = (14.2, 14.5, 14.1, 14.4), (12.7, 12.9, 12.6, 12.8)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 2.5), (95, 3.85), (99, 3.97), (100, 4.0)])
def test_percentiles_are_interpolated(percent: float, expected: float) -> None:
    assert summaries.percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


def test_summary_of_one_sample_and_of_none() -> None:
    assert summaries.summary([]) is None
    one = summaries.summary([7.0])
    assert one is not None
    assert (one.count, one.mean, one.p50, one.p99, one.least, one.most) == (1, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_interval_of_three_repetitions() -> None:
    found = summaries.mean_interval([9.0, 10.0, 11.0])
    assert found is not None
    assert found.mean == 10
    assert found.half_width == pytest.approx(4.303 / math.sqrt(3))
    assert (found.low, found.high) == (10 - found.half_width, 10 + found.half_width)


def test_interval_of_one_repetition_is_unbounded() -> None:
    found = summaries.mean_interval([9.0])
    assert found is not None
    assert found.half_width == math.inf
    assert summaries.mean_interval([]) is None


@pytest.mark.parametrize(("degrees", "expected"), [(1, 12.706), (10.9, 2.228), (11, 2.228), (59, 2.042), (1e6, 1.98)])
def test_quantile_between_two_rows_is_the_wider_one(degrees: float, expected: float) -> None:
    assert summaries.student(degrees) == expected


def test_clearly_different_means_differ() -> None:
    assert summaries.differ(FIRST, SECOND) is True


def test_means_within_the_noise_do_not_differ() -> None:
    assert summaries.differ((12.0, 13.5, 11.0), (12.4, 14.0, 10.9)) is False


def test_nothing_is_known_of_the_noise_of_one_repetition() -> None:
    assert summaries.differ((12.0,), SECOND) is None


def test_equal_repetitions_have_no_noise() -> None:
    assert summaries.differ((12.0, 12.0), (12.0, 12.0)) is False
    assert summaries.differ((12.0, 12.0), (12.5, 12.5)) is True
