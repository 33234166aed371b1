# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the last hour of a tier's requests, by minute, for the charts of the status page.

The history is in the memory of the gateway's process. Each minute takes one bucket, whatever its number of requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...timefmt import iso

MINUTES, MINUTE_S = 60, 60.0


@dataclass
class Minute:
    """What happened in one minute.

    :ivar requests: number of requests that ended.
    :ivar tokens: number of tokens that were generated.
    :ivar ttft_s: sum of the seconds to the first token, over all streams that ended.
    :ivar streams: number of these streams.
    """

    requests: int = 0
    tokens: float = 0.0
    ttft_s: float = 0.0
    streams: int = 0


class TierHistory:
    """The last hour of one tier.

    :param began: when the process began. All times are in seconds of a clock that never goes back.
    """

    def __init__(self, began: float) -> None:
        self._first = int(began // MINUTE_S)
        self._minutes: dict[int, Minute] = {}

    def add(self, ended: float, tokens: int, written_s: float, ttft: float | None) -> None:
        """Add a request that ended just now.

        :param tokens: tokens of its response.
        :param written_s: seconds for which these tokens were generated. They are spread over its minutes.
        :param ttft: seconds until the first token of a stream; None for another response.
        """
        now = int(ended // MINUTE_S)
        oldest = max(self._first, now - MINUTES)
        for number in [number for number in self._minutes if number < oldest]:
            del self._minutes[number]
        minute = self._minute(now)
        minute.requests += 1
        if ttft is not None:
            minute.ttft_s += ttft
            minute.streams += 1
        if not tokens or written_s <= 0:
            minute.tokens += tokens
            return
        began = ended - written_s
        for number in range(max(oldest, int(began // MINUTE_S)), now + 1):
            seconds = min(ended, (number + 1) * MINUTE_S) - max(began, number * MINUTE_S)
            self._minute(number).tokens += tokens * max(0.0, seconds) / written_s

    def _minute(self, number: int) -> Minute:
        return self._minutes.setdefault(number, Minute())

    def as_data(self, now: float, wall: float) -> dict[str, Any]:
        """Return the last 60 whole minutes, oldest first. Minutes before the process began are null.

        :param wall: UNIX time of C(now).
        """
        present = int(now // MINUTE_S)
        begin = present - MINUTES
        minutes = [
            None if number < self._first else self._minutes.get(number, Minute()) for number in range(begin, present)
        ]
        return {
            "from": iso(wall - now + begin * MINUTE_S),
            "requests": [None if each is None else each.requests for each in minutes],
            "tokens_per_s": [None if each is None else round(each.tokens / MINUTE_S, 2) for each in minutes],
            "ttft_s": [round(each.ttft_s / each.streams, 3) if each and each.streams else None for each in minutes],
        }
