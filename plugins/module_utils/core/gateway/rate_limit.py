# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests a key may make: a bucket of tokens for each, which fills at the allowed rate."""

from __future__ import annotations

from dataclasses import dataclass

#: Buckets that are full again are forgotten beyond so many.
MOST_BUCKETS = 4096


@dataclass(frozen=True)
class Limits:
    """Limits of a class of keys.

    :ivar requests_per_minute: what may be asked on average; 0 for any number.
    :ivar burst: what may be asked at once after a pause.
    :ivar concurrency: what may run at the same time; 0 for any number. nginx counts these.
    """

    requests_per_minute: float = 120.0
    burst: int = 30
    concurrency: int = 8


class Buckets:
    """A bucket for each key."""

    def __init__(self) -> None:
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, limits: Limits, now: float) -> float:
        """Take a token.

        :param now: seconds of any clock that does not jump.
        :returns: 0 where there was one; otherwise the seconds after which there will be.
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
