# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses between tries, sizes of requests, and limits of the bandwidth."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    MIB,
    Backoff,
    BandwidthLimit,
    Pace,
    SlowTransferDetector,
)


@pytest.mark.parametrize(
    ("failures", "asked", "pause"),
    [
        (1, None, 1.0),
        (2, None, 2.0),
        (5, None, 16.0),
        (6, None, None),
        (1, 7.0, 7.0),
        (3, 0.0, 4.0),
        (1, 600.0, 600.0),
        (1, 601.0, None),
        (6, 1.0, None),
    ],
)
def test_pause_follows_failures_and_retry_after(failures: int, asked: float | None, pause: float | None) -> None:
    assert Backoff().pause(failures, asked) == pause


def test_pauses_are_bounded() -> None:
    assert Backoff(retries=99).pause(60, None) == 60.0
    assert Backoff(retries=0).pause(1, None) is None


@pytest.mark.parametrize("connections", [1, 3, 8, 32])
def test_requests_shrink_towards_the_end(connections: int) -> None:
    pace = Pace(connections=connections)
    left, sizes = 4096 * MIB, []
    while left > 0:
        sizes.append(min(left, pace.request_size(left)))
        left -= sizes[-1]
    assert all(before >= after for before, after in pairwise(sizes))
    assert max(sizes) <= 32 * MIB and sizes[-2] == MIB


def test_loss_of_power_costs_at_most_48_mebibytes() -> None:
    assert Pace().checkpoint < Pace().unsafe <= 48 * MIB
    assert Pace().ahead > 2 * Pace().block, "or the connections would wait for the checksum, and that for them"


def test_bandwidth_limit_keeps_the_rate_for_all_piece_sizes() -> None:
    limit, now, sent = BandwidthLimit(1000.0), 0.0, 0
    for size in (1, 500, 999, 3000, 10) * 20:
        now += limit.take(size, now)
        sent += size
    assert sent / 1000 - BandwidthLimit.BURST <= now <= sent / 1000


def test_bandwidth_limit_allows_no_burst_after_a_pause() -> None:
    limit = BandwidthLimit(1000.0)
    limit.take(1, 0.0)
    assert limit.take(1000, 3600.0) == 1.0 - BandwidthLimit.BURST
    assert BandwidthLimit(0).take(10**12, 0.0) == 0.0


@pytest.mark.parametrize(
    ("pieces", "slow"),
    [
        ([(1, 1.0)] * 60, False),
        ([(1, 1.0)] * 61, True),
        ([(2000, 1.0)] * 600, False),
        # A long pause after a fast transfer is left to the timeout.
        ([(10**7, 0.1), (1, 50.0)], False),
        ([(10**7, 0.1), (1, 61.0)], True),
    ],
)
def test_trickling_connection_is_distinguished_from_a_slow_line(pieces: list[tuple[int, float]], slow: bool) -> None:
    detector = SlowTransferDetector(60.0)
    assert any(detector.is_too_slow(came, waited) for came, waited in pieces) == slow
