# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests a key may make, on a clock that stands where we put it."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import (
    MOST_BUCKETS,
    Buckets,
    Limits,
)


def test_a_burst_then_the_rate() -> None:
    buckets, limits = Buckets(), Limits(requests_per_minute=60, burst=3)
    assert [buckets.take("ann", limits, 0.0) for _each in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert buckets.take("ann", limits, 0.5) == 0.5
    assert buckets.take("ann", limits, 1.0) == 0.0
    assert buckets.take("bob", limits, 1.0) == 0.0


def test_a_pause_gives_no_more_than_the_burst() -> None:
    buckets, limits = Buckets(), Limits(requests_per_minute=60, burst=2)
    buckets.take("ann", limits, 0.0)
    assert [buckets.take("ann", limits, 1e6) > 0 for _each in range(3)] == [False, False, True]


def test_no_limit() -> None:
    assert not any(Buckets().take("ann", Limits(requests_per_minute=0, burst=1), 0.0) for _each in range(100))


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets, limits = Buckets(), Limits(requests_per_minute=60, burst=1)
    assert buckets.take("ann", limits, 10.0) == 0.0
    assert buckets.take("ann", limits, 5.0) == 1.0


def test_buckets_that_are_full_again_are_forgotten() -> None:
    buckets, limits = Buckets(), Limits(requests_per_minute=60, burst=1)
    for number in range(MOST_BUCKETS + 10):
        buckets.take(str(number), limits, number * 10.0)
    assert len(buckets._levels) < 20
