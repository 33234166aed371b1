# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments and spans, as people and programs read them."""

from __future__ import annotations

import re

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z")
DAY = 86400
_DAYS_OF_ERA, _DAYS_TO_1970 = 146097, 719468


def _date(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970, in years that begin in March and eras of 400 of them."""
    era, day_of_era = divmod(days + _DAYS_TO_1970, _DAYS_OF_ERA)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def iso(seconds: float) -> str:
    """A UNIX time as ISO 8601 has it, such as C(2026-11-21T12:20:42Z)."""
    days, rest = divmod(int(seconds), DAY)
    year, month, day = _date(days)
    return f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"


def unix(moment: str | None) -> float | None:
    """Back from C(iso) to a UNIX time; None for what is none."""
    match = _ISO.fullmatch(moment or "")
    if not match:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    # In years that begin in March, so that a leap day is the last one.
    years = year - (month <= 2)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = 365 * years + years // 4 - years // 100 + years // 400 + day_of_year - _DAYS_TO_1970
    return float(days * DAY + hour * 3600 + minute * 60 + second)


def clock(seconds: float, now: float) -> str:
    """A UNIX time for people who read it now: the time of day, with the date where that is not today's."""
    text = iso(seconds)
    hour = f"{text[11:16]} UTC"
    return hour if text[:10] == iso(now)[:10] else f"{text[:10]} {hour}"


def span(seconds: float) -> str:
    """How long something takes, in the unit that fits: C(40 seconds), C(12 minutes), C(3 hours), C(2 days)."""
    for size, name, limit in ((1, "second", 90), (60, "minute", 90), (3600, "hour", 48)):
        count = round(max(0.0, seconds) / size)
        if count < limit:
            return f"{count} {name}{'' if count == 1 else 's'}"
    count = round(seconds / DAY)
    return f"{count} days"
