# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the smallest pieces of the status page: numbers, quantities, times."""

from __future__ import annotations

from html import escape

from ... import timefmt

UNKNOWN = "not known"


def number(value: float) -> str:
    """Write a number with the digits that matter, never in scientific notation."""
    if 0.001 <= value < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}".removesuffix(".0")


def quantity(value: str, unit: str) -> str:
    """Write a value with its unit, which stay on one line."""
    return f'<span class="quantity">{escape(value)} {escape(unit)}</span>'


def amount(value: float | None, unit: str) -> str:
    """Write a number with its unit, or that it is unknown."""
    return escape(UNKNOWN) if value is None else quantity(number(value), unit)


def span(seconds: float) -> str:
    """Write a duration."""
    return quantity(*timefmt.span(seconds).split(" ", 1))


def moment(text: str | None, now: float) -> str:
    """Write a time that the page's script converts to the reader's time zone."""
    seconds = timefmt.unix(text)
    if text is None or seconds is None:
        return escape(UNKNOWN)
    return f'<time datetime="{escape(text)}">{escape(timefmt.clock(seconds, now))}</time>'
