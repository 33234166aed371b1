# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget of tokens of a key in a calendar month of UTC: what is left, and the error when it is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ... import timefmt
from ..api_errors import ApiError
from . import counts


@dataclass(frozen=True)
class MonthBudget:
    """A key's budget at a time.

    :ivar budget: tokens of a month.
    :ivar used: tokens that ended requests have used, and estimates of those that run.
    :ivar wall: UNIX time.
    """

    budget: int
    used: int
    wall: float

    @property
    def remaining(self) -> int:
        """Return the tokens that are left."""
        return max(0, self.budget - self.used)

    @property
    def resets(self) -> int:
        """Return the UNIX time at which the next month begins."""
        return counts.month_end(self.wall)

    @property
    def seconds(self) -> int:
        """Return the seconds until then."""
        return max(1, int(self.resets - self.wall) + 1)

    def headers(self, name: str) -> dict[str, str]:
        """Return the C(x-ratelimit-) headers of this name."""
        return {
            f"x-ratelimit-limit-{name}": str(self.budget),
            f"x-ratelimit-remaining-{name}": str(self.remaining),
            f"x-ratelimit-reset-{name}": f"{self.seconds}s",
        }

    def as_data(self) -> dict[str, Any]:
        """Return what is left, for programs."""
        return {
            "limit": "tokens_per_month",
            "allowed": self.budget,
            "remaining": self.remaining,
            "resets": timefmt.iso(self.resets),
        }

    def check(self, estimate: int) -> None:
        """Check that the budget holds a request.

        :param estimate: tokens that it will probably take.
        :raises ApiError: if it does not.
        """
        if self.used + estimate <= self.budget:
            return
        when = f"{timefmt.iso(self.resets)}, in {timefmt.span(self.seconds)}"
        month = counts.month_of(self.wall)
        if self.remaining:
            message = (
                f"This request may take {estimate:,} tokens, and {self.remaining:,} of this key's {self.budget:,}"
                f" tokens for {month} are left. Ask for fewer tokens (max_tokens), or wait until {when}."
            )
        else:
            message = (
                f"This key has spent its budget of {self.budget:,} tokens for {month}. The next one begins at {when}."
            )
        more = {"herd": self.as_data()}
        raise ApiError(429, message, "insufficient_quota", more=more, retry_after=self.seconds)
