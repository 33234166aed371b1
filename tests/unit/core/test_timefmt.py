"""Times and durations are formatted for people and for other programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.core import timefmt


@given(st.integers(0, 253402300799))
def test_unix_reads_the_output_of_iso(seconds: int) -> None:
    assert timefmt.unix(timefmt.iso(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1795263642.9, "2026-11-21T12:20:42Z"), (-1, "1969-12-31T23:59:59Z")],
)
def test_iso_is_in_utc_and_drops_fractions(seconds: float, text: str) -> None:
    assert timefmt.iso(seconds) == text


@pytest.mark.parametrize(
    "text", [None, "", "yesterday", "2026-11-21", "2026-11-21T12:20:42", "2026-02-30T12:20:42Z", "2026-11-21T25:00:00Z"]
)
def test_unix_returns_none_for_other_texts(text: str | None) -> None:
    assert timefmt.unix(text) is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 seconds"),
        (-5, "0 seconds"),
        (1, "1 second"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (720, "12 minutes"),
        (5399, "1 hour"),
        (5400, "2 hours"),
        (86400 * 2 - 1, "2 days"),
        (86400 * 9, "9 days"),
    ],
)
def test_span_uses_the_unit_that_fits(seconds: float, expected: str) -> None:
    assert timefmt.span(seconds) == expected


def test_clock_adds_the_date_of_another_day() -> None:
    noon = 1763726400.0
    assert timefmt.clock(noon + 300, noon) == "12:05 UTC"
    assert timefmt.clock(noon + 86400, noon) == "2025-11-22 12:00 UTC"
