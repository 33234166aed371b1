# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the history of a tier as small charts: a line of inline SVG each, with its values as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from .text import number, quantity

#: Height of a chart in its own units. A minute is one unit wide.
_HEIGHT = 20
Values = Sequence["float | None"]


def _maximum(values: Values) -> float:
    return max((value for value in values if value), default=0.0)


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    """Yield the successive known values, each with its place."""
    run: list[tuple[int, float]] = []
    for place, value in enumerate(values):
        if value is not None:
            run.append((place, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def line(values: Values, label: str) -> str:
    """Draw values as a line with gaps where they are unknown.

    :param label: what the chart shows, for readers who do not see it.
    """
    most = _maximum(values) or 1.0
    parts = []
    for run in _runs(values):
        points = [f"{place} {_HEIGHT - 1 - (_HEIGHT - 2) * value / most:.1f}" for place, value in run]
        # A single point is a line without length, which its round ends make a dot.
        parts.append("M" + "L".join(points) + ("h0" if len(points) == 1 else ""))
    return (
        f'<svg class="chart" viewBox="0 0 {max(1, len(values) - 1)} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path d="{"".join(parts)}"/></svg>'
    )


def _described(values: Values, unit: str, what: str) -> str:
    """Describe a line in words."""
    known = [value for value in values if value is not None]
    latest = "none" if values[-1] is None else f"{number(values[-1])} {unit}"
    return (
        f"{what} in the last hour: from {number(min(known))} to {number(max(known))} {unit}, "
        f"in the latest minute {latest}."
    )


def _most(text: str) -> str:
    return quantity("up to", text)


def _chart(title: str, values: Values, label: str, shown: str) -> str:
    return f"<div><dt>{escape(title)}</dt><dd>{line(values, label)} {shown}</dd></div>"


def charts(history: Mapping[str, Any] | None) -> str:
    """Draw the last hour of a tier; nothing if it had no request."""
    if not history or (not any(history["requests"]) and not any(history["tokens_per_s"])):
        return ""
    requests, speeds, waits = history["requests"], history["tokens_per_s"], history["ttft_s"]
    count = sum(filter(None, requests))
    parts = [
        _chart("Requests", requests, _described(requests, "a minute", "Requests"), quantity(number(count), "in all")),
        _chart("Tokens/s", speeds, _described(speeds, "tokens/s", "Generated tokens"), _most(number(_maximum(speeds)))),
    ]
    if any(wait is not None for wait in waits):
        label = _described(waits, "s", "Mean time to the first token")
        parts.append(_chart("First token", waits, label, _most(f"{number(_maximum(waits))} s")))
    return f'<h3>Last hour</h3><dl class="charts">{"".join(parts)}</dl>'
