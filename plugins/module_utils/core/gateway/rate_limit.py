# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limit the request rate of each key with a token bucket."""

from __future__ import annotations

from dataclasses import dataclass

#: Beyond this number, full buckets are dropped.
MOST_BUCKETS = 4096


@dataclass(frozen=True)
class RateLimits:
    """The limits of a class of keys.

    :ivar requests_per_minute: average rate; 0 for no limit.
    :ivar burst: requests that are allowed at once after a pause.
    :ivar concurrency: requests that may run at the same time; 0 for no limit. nginx enforces it.
    """

    requests_per_minute: float
    burst: int
    concurrency: int


class RateLimiter:
    """The token buckets of all keys."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, limits: RateLimits, now: float) -> float:
        """Take a token from a key's bucket.

        :param now: seconds of a monotonic clock.
        :returns: 0 if there was a token; else the seconds until there is one.
        """
        if limits.requests_per_minute <= 0:
            return 0.0
        rate, most = limits.requests_per_minute / 60, float(max(1, limits.burst))
        level, then = self._levels.get(key, (most, now))
        level = min(most, level + max(0.0, now - then) * rate)
        if level < 1:
            self._levels[key] = (level, now)
            return (1 - level) / rate
        self._levels[key] = (level - 1, now)
        if len(self._levels) > MOST_BUCKETS:
            self._levels = {name: held for name, held in self._levels.items() if held[1] > now - 60 * most}
        return 0.0
