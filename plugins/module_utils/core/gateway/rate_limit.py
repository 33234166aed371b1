# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets, which limit the rate of requests and of tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimits:
    """The limits of a class of keys.

    :ivar requests_per_minute: average rate; 0 for no limit.
    :ivar burst: requests that are allowed at once after a pause.
    :ivar concurrency: requests that may run at the same time; 0 for no limit.
    :ivar tokens_per_minute: average rate of prompt and completion tokens; 0 for no limit.
    :ivar tokens_per_month: tokens of a calendar month; 0 for no limit.
    :ivar queue_timeout: seconds for which a request waits while as many run as may; 0 to refuse it at once.
    """

    requests_per_minute: float
    burst: int
    concurrency: int
    tokens_per_minute: float = 0.0
    tokens_per_month: int = 0
    queue_timeout: float = 0.0


class TokenBucket:
    """A bucket that fills at a constant rate.

    Its level may be negative, down to one bucket: a cost that is only known afterwards is charged then.

    :ivar size: most that it holds.
    """

    def __init__(self, per_minute: float, size: float) -> None:
        self.size = size
        self._rate = per_minute / 60
        self._level, self._then = size, float("-inf")

    def level(self, now: float) -> float:
        """Return what it holds.

        :param now: seconds of a monotonic clock.
        """
        if now > self._then:
            gained = self._rate * (now - self._then)
            self._level, self._then = min(self.size, self._level + gained), now
        return self._level

    def wait_for(self, cost: float, now: float) -> float:
        """Return the seconds until it holds the cost, or is full if the cost is larger; 0 if it does."""
        return max(0.0, (min(cost, self.size) - self.level(now)) / self._rate)

    def charge(self, cost: float, now: float) -> None:
        """Take the cost out of it; a negative cost is given back."""
        self._level = max(-self.size, min(self.size, self.level(now) - cost))

    def is_full(self, now: float) -> bool:
        """Return whether it holds the most: it can be forgotten."""
        return self.level(now) >= self.size
