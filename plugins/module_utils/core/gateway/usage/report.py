# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report usage: the period that an operator names, and rows grouped for people and programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from ... import timefmt
from ...errors import InvalidInputError
from ...text import plain, text_table
from .counts import HOUR_S, Usage, UsageKey

SCHEMA = 1
#: What usage can be grouped by.
GROUPS = ("key", "user", "project", "model", "tier", "day", "month")
#: Days that a report covers if no begin is given.
DEFAULT_DAYS = 30
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_AGO = re.compile(r"(\d{1,4})([hd])")
_UNITS = {"h": HOUR_S, "d": timefmt.DAY}


@dataclass(frozen=True)
class Period:
    """Whole hours, from one UNIX time up to another one, which is not part of it."""

    since: int
    until: int


def _moment(text: str, now: float, name: str) -> int:
    ago = _AGO.fullmatch(text)
    if ago:
        return int(now - int(ago[1]) * _UNITS[ago[2]])
    try:
        if _DAY.fullmatch(text):
            return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp())
        found = timefmt.unix(text)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise InvalidInputError(
            f"a day (2026-11-30), a time (2026-11-30T12:00:00Z) or an age (12h, 30d) for --{name}",
            repr(text),
            "write it in UTC",
        )
    return int(found)


def period(since: str, until: str, now: float) -> Period:
    """Read the period of a report, in whole hours of UTC.

    :param since: its begin; by default DEFAULT_DAYS before the end.
    :param until: its end, which is not part of it; by default now.
    :param now: UNIX time.
    """
    end = _moment(until, now, "until") if until else int(now) + HOUR_S
    begin = _moment(since, now, "since") if since else end - DEFAULT_DAYS * timefmt.DAY
    found = Period(max(0, begin // HOUR_S * HOUR_S), max(0, end // HOUR_S * HOUR_S))
    if found.since >= found.until:
        raise InvalidInputError(
            "a begin at least an hour before the end",
            f"--since {timefmt.iso(found.since)} and --until {timefmt.iso(found.until)}",
            "usage is counted by hour; name an earlier begin",
        )
    return found


def group_of(row: UsageKey, by: str) -> str:
    """Return the group of a row."""
    if by == "day":
        return timefmt.iso(row.hour)[:10]
    if by == "month":
        return timefmt.iso(row.hour)[:7]
    return str(getattr(row, by))


def grouped(rows: Iterable[tuple[UsageKey, Usage]], by: str) -> dict[str, Usage]:
    """Sum rows by group: days and months in order of time, all others by tokens."""
    found: dict[str, Usage] = {}
    for row, usage in rows:
        name = group_of(row, by)
        found[name] = found.get(name, Usage()) + usage
    if by in ("day", "month"):
        return dict(sorted(found.items()))
    return dict(sorted(found.items(), key=lambda item: (-item[1].tokens, item[0])))


def as_data(groups: dict[str, Usage], by: str, covered: Period) -> dict[str, Any]:
    """Write a report as data."""
    return {
        "schema": SCHEMA,
        "by": by,
        "since": timefmt.iso(covered.since),
        "until": timefmt.iso(covered.until),
        "rows": [{by: name, **numbers(usage)} for name, usage in groups.items()],
        "total": numbers(sum(groups.values(), Usage())),
    }


def numbers(usage: Usage) -> dict[str, int]:
    """Return the numbers of usage by name, with the sum of its tokens."""
    return {**asdict(usage), "tokens": usage.tokens}


def as_text(groups: dict[str, Usage], by: str, covered: Period) -> str:
    """Write a report as a table."""
    title = f"Usage by {by} from {timefmt.iso(covered.since)} to {timefmt.iso(covered.until)}"
    if not groups:
        return f"{title}: no request"
    columns = {"requests": "requests", "cut": "cut", "prompt_tokens": "prompt", "completion_tokens": "completion"}
    columns |= {"estimated_tokens": "estimated", "tokens": "tokens"}
    total = {"total": sum(groups.values(), Usage())} if len(groups) > 1 else {}
    rows = [
        {by: plain(name), **{short: f"{numbers(usage)[long]:,}" for long, short in columns.items()}}
        for name, usage in [*groups.items(), *total.items()]
    ]
    return f"{title}\n{text_table(rows, [by, *columns.values()])}"
