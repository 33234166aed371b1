# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import TokenBucket


def test_a_bucket_starts_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(60, 2)
    assert bucket.wait_for(1, 0.0) == 0
    bucket.charge(2, 0.0)
    assert bucket.wait_for(1, 0.0) == pytest.approx(1)
    assert bucket.wait_for(1, 1.0) == 0
    assert bucket.level(100.0) == 2
    assert bucket.is_full(100.0)


def test_a_cost_beyond_the_size_needs_a_full_bucket() -> None:
    bucket = TokenBucket(600, 100)
    assert bucket.wait_for(5000, 0.0) == 0
    bucket.charge(5000, 0.0)
    assert bucket.level(0.0) == -100
    assert bucket.wait_for(1, 0.0) == pytest.approx(10.1)
    bucket.charge(-100, 0.0)
    assert bucket.level(0.0) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(60, 1)
    bucket.charge(1, 100.0)
    assert bucket.wait_for(1, 50.0) == pytest.approx(1)
