# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format times and durations for people and for other programs."""

from __future__ import annotations

from datetime import datetime, timezone

DAY = 86400
_ISO = "%Y-%m-%dT%H:%M:%SZ"


def iso(seconds: float) -> str:
    """Return a UNIX time as ISO 8601 in UTC, such as C(2026-11-21T12:20:42Z)."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def unix(text: str | None) -> float | None:
    """Return the UNIX time of a text in the format of C(iso), or None for any other text."""
    try:
        return datetime.strptime(text or "", _ISO).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def clock(seconds: float, now: float) -> str:
    """Return the time of day in UTC, preceded by the date unless it is the date of C(now)."""
    text = iso(seconds)
    hour = f"{text[11:16]} UTC"
    return hour if text[:10] == iso(now)[:10] else f"{text[:10]} {hour}"


def span(seconds: float) -> str:
    """Return a duration in the unit that fits: C(40 seconds), C(12 minutes), C(3 hours), C(2 days)."""
    for size, name, limit in ((1, "second", 90), (60, "minute", 90), (3600, "hour", 48)):
        count = round(max(0.0, seconds) / size)
        if count < limit:
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{round(seconds / DAY)} days"
