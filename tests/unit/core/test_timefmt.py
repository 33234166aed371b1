"""Moments and spans, as people and programs read them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.core import timefmt


@given(st.integers(0, 253402300799))
def test_iso_is_that_of_the_library(seconds: int) -> None:
    expected = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    # strftime does not pad years below 1000, and there are none here.
    assert timefmt.iso(seconds) == expected
    assert timefmt.unix(expected) == seconds


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-11-21", "2026-11-21T12:20:42"])
def test_what_is_no_moment_is_none(text: str | None) -> None:
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
def test_a_span_has_the_unit_that_fits(seconds: float, expected: str) -> None:
    assert timefmt.span(seconds) == expected


def test_a_moment_of_another_day_has_its_date() -> None:
    noon = 1763726400.0
    assert timefmt.clock(noon + 300, noon) == "12:05 UTC"
    assert timefmt.clock(noon + 86400, noon) == "2025-11-22 12:00 UTC"
