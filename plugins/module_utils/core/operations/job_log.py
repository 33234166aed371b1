# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Place the lines of a Slurm job's logs in time, and read windows of time as journalctl takes them.

The runtime of a tier writes local times. An engine of llama.cpp writes minutes, seconds, milliseconds and microseconds
since its start, such as C(0.00.019.002). vLLM writes month, day and local time. A line without a time has that of the
line before it. The time of an engine's last line is that of the file's last change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import InvalidInputError

#: Converts year, month, day, hour, minute and second of local time to seconds since 1970.
LocalTime = Callable[[Sequence[int]], float]
_RANK = r"^(?:\d{1,4}: )?(?:\([^()]{0,80}\) )?"
_DATED = re.compile(_RANK + r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)")
_MONTH = re.compile(_RANK + r"[A-Z]{4,8} (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
_SINCE_START = re.compile(r"^(\d{1,7})\.(\d\d)\.(\d{3})\.(\d{3}) [A-Z] ")
_DAY_S = 86400.0
#: Names of jobs' logs that an operator may write: all, those of a job, or one of them.
_WANTED = re.compile(r"jobs|job-\d{1,12}(?:/[\w.-]{1,100})?")
_IN_FOLDER = re.compile(r"(?P<job>\d{1,12})/(?P<name>[\w.-]+)\.log")
_FLAT = re.compile(r"(?P<name>[\w.-]+)[-_](?P<job>\d{1,12})\.(?:log|out)")
_UNITS_S = {
    **dict.fromkeys(("s", "sec", "second", "seconds", ""), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), _DAY_S),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY_S),
}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_MOMENT = re.compile(r"(?:(\d{4})-(\d\d)-(\d\d))?[ T]?(?:(\d\d):(\d\d)(?::(\d\d))?)?")


def is_job(name: str) -> bool:
    """Return whether a name of a unit means logs of jobs."""
    return bool(_WANTED.fullmatch(name))


def unit_of(path: str) -> str:
    """Return the name of a log by its path below the folder of logs, such as C(job-41/head); empty if it is none."""
    if found := _IN_FOLDER.fullmatch(path):
        return f"job-{found['job']}/{found['name']}"
    flat = _FLAT.fullmatch(path)
    return f"job-{flat['job']}/{flat['name']}" if flat else ""


def is_wanted(unit: str, wanted: Sequence[str]) -> bool:
    """Return whether a log is among those that an operator names; all for an empty list."""
    return not wanted or any(name in ("jobs", unit, unit.partition("/")[0]) for name in wanted)


def moment(text: str, now: float, day: Sequence[int], local: LocalTime) -> float:
    """Return the time that an operator writes, in the syntax that journalctl takes too.

    :param day: year, month and day of today.
    :raises InvalidInputError: for any other text.
    """
    words = text.strip().lower()
    if words in ("now", "today", "yesterday"):
        return now if words == "now" else local((*day, 0, 0, 0)) - (_DAY_S if words == "yesterday" else 0.0)
    if re.fullmatch(r"@\d{1,12}", words):
        return float(words[1:])
    seconds = _span(words.removesuffix("ago").lstrip("-+ "))
    if seconds is not None and (words[:1] in "-+" or words.endswith("ago")):
        return now + seconds if words[0] == "+" else now - seconds
    found = _MOMENT.fullmatch(words)
    if found and words:
        date = [int(part) for part in found.groups()[:3] if part] or list(day)
        try:
            return local((*date, *(int(part or 0) for part in found.groups()[3:])))
        except (ValueError, OverflowError):
            pass
    raise InvalidInputError(
        "a window of time for the logs of jobs, such as -15min or 2026-11-30 10:00",
        repr(text[:80]),
        "correct since or before (logs_since, logs_until)",
    )


def _span(text: str) -> float | None:
    """Return the seconds of a span such as C(1h 30min); None for any other text."""
    found = _SPAN.findall(text)
    is_whole = bool(found) and _SPAN.sub("", text) == "" and all(unit in _UNITS_S for _number, unit in found)
    return sum(float(number) * _UNITS_S[unit] for number, unit in found) if is_whole else None


def timed(text: str, changed: float, year: int, local: LocalTime) -> list[tuple[float, str]]:
    """Return the lines of a log with their times.

    :param changed: when the file was last changed.
    :param year: of that change. vLLM writes none.
    """
    lines = text.splitlines()
    found = [_time(line, changed, year, local) for line in lines]
    times: list[float | None] = [time for time, _offset in found]
    end = changed
    later: float | None = None
    for number in reversed(range(len(lines))):
        time, offset = found[number]
        if time is not None:
            end, later = time, None
        elif offset is not None:
            # An engine that was started again begins at zero; the former one ended before.
            end -= later - offset if later is not None and later >= offset else 0.0
            times[number], later = end, offset
    first = next((time for time in times if time is not None), changed)
    placed = []
    for known, line in zip(times, lines):
        first = first if known is None else known
        placed.append((first, line))
    return placed


def _time(line: str, changed: float, year: int, local: LocalTime) -> tuple[float | None, float | None]:
    """Return the time of a line, or its seconds since the start of its engine."""
    try:
        if dated := _DATED.match(line):
            return local(tuple(map(int, dated.groups()))), None
        if month := _MONTH.match(line):
            rest = tuple(map(int, month.groups()))
            time = local((year, *rest))
            return (time if time <= changed + _DAY_S else local((year - 1, *rest))), None
    except (ValueError, OverflowError):
        return None, None
    if relative := _SINCE_START.match(line):
        minutes, seconds, milli, micro = map(int, relative.groups())
        return None, minutes * 60 + seconds + milli / 1e3 + micro / 1e6
    return None, None


def records(unit: str, lines: Sequence[tuple[float, str]], since: float, until: float) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log within a window, as those of a journal."""
    for time, text in lines:
        if since <= time <= until:
            yield {"time": int(time * 1e6), "unit": unit, "text": text}
