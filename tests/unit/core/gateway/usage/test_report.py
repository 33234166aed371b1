# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of usage: their period, their groups and their table."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage import report
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.counts import Usage, UsageKey
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.report import Period

NOW = 1796040000.0  # 2026-11-30T12:00:00Z
HOUR, DAY = 3600, 86400
ROWS = [
    (UsageKey(int(NOW) - DAY, "ann", "ann", "weather", "small", "fast"), Usage(2, 1, 10, 20, 5)),
    (UsageKey(int(NOW), "ann", "ann", "weather", "large", "reasoning"), Usage(1, 0, 100, 200)),
    (UsageKey(int(NOW), "bob-2", "bob", "", "small", "fast"), Usage(4, 0, 1, 2)),
]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", Period(int(NOW) + HOUR - 30 * DAY, int(NOW) + HOUR)),
        ("12h", "", Period(int(NOW) - 12 * HOUR, int(NOW) + HOUR)),
        ("7d", "1d", Period(int(NOW) - 7 * DAY, int(NOW) - DAY)),
        ("2026-11-01", "2026-11-02", Period(1793491200, 1793577600)),
        ("2026-11-30T10:30:00Z", "2026-11-30T11:59:00Z", Period(int(NOW) - 2 * HOUR, int(NOW) - HOUR)),
    ],
)
def test_a_period_is_whole_hours(since: str, until: str, expected: Period) -> None:
    assert report.period(since, until, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-11-31", "-5d", "5m", "99999d", "0000-01-01", "²d"])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="a day"):
        report.period(text, "", NOW)


def test_an_empty_period_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least an hour"):
        report.period("2026-11-30", "2026-11-30", NOW)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("key", ["ann", "bob-2"]),
        ("user", ["ann", "bob"]),
        ("project", ["weather", ""]),
        ("model", ["large", "small"]),
        ("tier", ["reasoning", "fast"]),
        ("day", ["2026-11-29", "2026-11-30"]),
        ("month", ["2026-11"]),
    ],
)
def test_rows_are_grouped(by: str, names: list[str]) -> None:
    found = report.grouped(ROWS, by)
    assert list(found) == names
    assert sum(found.values(), Usage()) == Usage(7, 1, 111, 222, 5)


def test_data_and_table_have_the_same_sums() -> None:
    covered = Period(int(NOW) - DAY, int(NOW) + HOUR)
    groups = report.grouped(ROWS, "project")
    data = report.as_data(groups, "project", covered)
    assert data["rows"][0] == {
        "project": "weather",
        "requests": 3,
        "cut": 1,
        "prompt_tokens": 110,
        "completion_tokens": 220,
        "estimated_tokens": 5,
        "tokens": 335,
    }
    assert data["total"]["tokens"] == 338
    lines = report.as_text(groups, "project", covered).splitlines()
    assert lines[0] == "Usage by project from 2026-11-29T12:00:00Z to 2026-11-30T13:00:00Z"
    assert lines[1].split() == ["PROJECT", "REQUESTS", "CUT", "PROMPT", "COMPLETION", "ESTIMATED", "TOKENS"]
    assert lines[3].split() == ["-", "4", "0", "1", "2", "0", "3"]
    assert lines[4].split() == ["total", "7", "1", "111", "222", "5", "338"]


def test_an_empty_report_says_so() -> None:
    assert report.as_text({}, "key", Period(0, HOUR)).endswith("no request")
