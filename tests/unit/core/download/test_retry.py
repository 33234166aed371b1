# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to try again, and how fast to go."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import MIB, Backoff, Bucket, Drip, Pace


@pytest.mark.parametrize(
    ("failures", "asked", "pause"),
    [
        (1, None, 1.0),
        (2, None, 2.0),
        (5, None, 16.0),
        (6, None, None),
        (1, 7.0, 7.0),
        (3, 0.0, 0.0),
        (1, 600.0, 600.0),
        (1, 601.0, None),
        (6, 1.0, None),
    ],
)
def test_pauses(failures: int, asked: float | None, pause: float | None) -> None:
    assert Backoff().pause(failures, asked) == pause


def test_pauses_do_not_grow_for_ever() -> None:
    assert Backoff(retries=99).pause(60, None) == 60.0
    assert Backoff(retries=0).pause(1, None) is None


@pytest.mark.parametrize("connections", [1, 3, 8, 32])
def test_requests_become_smaller_so_that_all_end_together(connections: int) -> None:
    pace = Pace(connections=connections)
    left, sizes = 4096 * MIB, []
    while left > 0:
        sizes.append(min(left, pace.request(left)))
        left -= sizes[-1]
    assert all(before >= after for before, after in pairwise(sizes))
    assert max(sizes) <= 32 * MIB and sizes[-2] == MIB


def test_what_a_loss_of_power_costs_is_a_few_tens_of_mebibytes() -> None:
    assert Pace().checkpoint < Pace().unsafe <= 48 * MIB
    assert Pace().ahead > 2 * Pace().block, "or the connections would wait for the checksum, and that for them"


def test_a_bucket_keeps_the_rate_whatever_the_pieces() -> None:
    bucket, now, sent = Bucket(1000.0), 0.0, 0
    for size in (1, 500, 999, 3000, 10) * 20:
        now += bucket.take(size, now)
        sent += size
    assert sent / 1000 - Bucket.BURST <= now <= sent / 1000


def test_a_pause_of_the_server_saves_up_next_to_nothing() -> None:
    bucket = Bucket(1000.0)
    bucket.take(1, 0.0)
    assert bucket.take(1000, 3600.0) == 1.0 - Bucket.BURST
    assert Bucket(0).take(10**12, 0.0) == 0.0


@pytest.mark.parametrize(
    ("pieces", "slow"),
    [
        ([(1, 1.0)] * 60, False),
        ([(1, 1.0)] * 61, True),
        ([(2000, 1.0)] * 600, False),
        # A long wait after much that came quickly is the timeout's business.
        ([(10**7, 0.1), (1, 50.0)], False),
        ([(10**7, 0.1), (1, 61.0)], True),
    ],
)
def test_a_drip_is_told_from_a_slow_line(pieces: list[tuple[int, float]], slow: bool) -> None:
    drip = Drip(60.0)
    assert any(drip.too_slow(came, waited) for came, waited in pieces) == slow
