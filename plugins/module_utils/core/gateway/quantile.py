# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimate quantiles of a histogram."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Estimate a quantile by linear interpolation between two bounds; None without a value.

    :param buckets: upper bounds, each with the number of values up to it; the last bound is infinite.
    """
    if not buckets or not buckets[-1][1]:
        return None
    wanted = share * buckets[-1][1]
    lower = seen = 0.0
    for bound, count in buckets[:-1]:
        if count > seen and count >= wanted:
            return round(lower + (bound - lower) * (wanted - seen) / (count - seen), 4)
        lower, seen = bound, count
    return lower
