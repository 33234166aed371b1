# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests a key may make, on a clock that stands where we put it."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import (
    MOST_BUCKETS,
    RateLimiter,
    RateLimits,
)


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    buckets, limits = RateLimiter(), RateLimits(requests_per_minute=60, burst=3, concurrency=8)
    assert [buckets.take("ann", limits, 0.0) for _each in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert buckets.take("ann", limits, 0.5) == 0.5
    assert buckets.take("ann", limits, 1.0) == 0.0
    assert buckets.take("bob", limits, 1.0) == 0.0


def test_a_long_pause_allows_one_burst() -> None:
    buckets, limits = RateLimiter(), RateLimits(requests_per_minute=60, burst=2, concurrency=8)
    buckets.take("ann", limits, 0.0)
    assert [buckets.take("ann", limits, 1e6) > 0 for _each in range(3)] == [False, False, True]


def test_a_rate_of_zero_is_no_limit() -> None:
    assert not any(
        RateLimiter().take("ann", RateLimits(requests_per_minute=0, burst=1, concurrency=8), 0.0)
        for _each in range(100)
    )


def test_a_clock_that_goes_back_adds_no_tokens() -> None:
    buckets, limits = RateLimiter(), RateLimits(requests_per_minute=60, burst=1, concurrency=8)
    assert buckets.take("ann", limits, 10.0) == 0.0
    assert buckets.take("ann", limits, 5.0) == 1.0


def test_full_buckets_are_dropped() -> None:
    buckets, limits = RateLimiter(), RateLimits(requests_per_minute=60, burst=1, concurrency=8)
    for number in range(MOST_BUCKETS + 10):
        buckets.take(str(number), limits, number * 10.0)
    assert len(buckets._levels) < 20
