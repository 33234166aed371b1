# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw plots as inline SVG. Colours are classes of the page's style, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
#: Colours of series in the page's style.
COLOURS = 6
_ROW = 30
_LABEL = 190


@dataclass(frozen=True)
class Point:
    """A point of a line, with half the width of its interval."""

    x: float
    y: float
    half_width: float = 0.0


@dataclass(frozen=True)
class Series:
    """A named line."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Range:
    """A distribution: its least and largest value, and three percentiles."""

    name: str
    least: float
    p50: float
    p95: float
    p99: float
    most: float


def number(value: float) -> str:
    """Format a value with three significant digits: C(0.123), C(12.3), C(1,230)."""
    if not math.isfinite(value):
        return "—"
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"


def ticks(most: float) -> list[float]:
    """Return four to six round values from 0 to at least C(most)."""
    if not 0 < most < math.inf:
        return [0.0, 1.0]
    raw = most / 4
    base = float(10 ** math.floor(math.log10(raw)))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw * 0.999)
    return [step * index for index in range(math.ceil(most / step - 1e-9) + 1)]


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


class _Scale:
    """Maps values from 0 to the largest onto pixels."""

    def __init__(self, marks: Sequence[float], start: float, end: float) -> None:
        self.marks, self._start, self._end = list(marks), start, end

    def at(self, value: float) -> float:
        return self._start + (self._end - self._start) * value / self.marks[-1]


def lines(
    series: Sequence[Series], title: str, x_name: str, y_name: str, limit: float | None = None, most: float = 0.0
) -> str:
    """Draw lines over one another.

    :param limit: a value to mark with a dashed line.
    :param most: the least end of the vertical axis.
    """
    points = [point for one in series for point in one.points]
    top = max([most, limit or 0.0, *(point.y + point.half_width for point in points)])
    across = _Scale(ticks(max((point.x for point in points), default=1.0)), LEFT, WIDTH - RIGHT)
    up = _Scale(ticks(top), HEIGHT - BOTTOM, TOP)
    parts = [_line(LEFT, up.at(mark), WIDTH - RIGHT, up.at(mark), "grid") for mark in up.marks]
    parts += [_text(LEFT - 8, up.at(mark) + 4, number(mark), "end") for mark in up.marks]
    parts += [_text(across.at(mark), HEIGHT - BOTTOM + 18, number(mark)) for mark in across.marks]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_name, style="axis"))
    turned = f"translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.1f}) rotate(-90)"
    parts.append(f'<text class="axis" text-anchor="middle" transform="{turned}">{escape(y_name)}</text>')
    if limit is not None:
        parts.append(_line(LEFT, up.at(limit), WIDTH - RIGHT, up.at(limit), "limit"))
    for index, one in enumerate(series):
        parts += _drawn(one, index % COLOURS, across, up)
    return _svg(HEIGHT, title, parts)


def _drawn(one: Series, colour: int, across: _Scale, up: _Scale) -> list[str]:
    places = [(across.at(point.x), up.at(point.y), point) for point in one.points]
    path = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y, _point) in enumerate(places))
    parts = [f'<path class="line s{colour}" d="{path}"/>'] if path else []
    if len(places) <= 24:
        for x, y, point in places:
            if point.half_width:
                low, high = up.at(max(0.0, point.y - point.half_width)), up.at(point.y + point.half_width)
                parts.append(_line(x, low, x, high, f"bar s{colour}"))
            hint = escape(f"{one.name}: {number(point.y)} at {number(point.x)}")
            parts.append(
                f'<circle class="dot s{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{hint}</title></circle>'
            )
    return parts


def ranges(rows: Sequence[Range], title: str, x_name: str) -> str:
    """Draw one distribution a row: from the least to the largest value, the middle to p95 as a bar, and p99."""
    height = TOP + _ROW * len(rows) + BOTTOM
    across = _Scale(ticks(max((row.most for row in rows), default=1.0)), _LABEL, WIDTH - RIGHT - 8)
    bottom = height - BOTTOM
    parts = [_line(across.at(mark), TOP, across.at(mark), bottom, "grid") for mark in across.marks]
    parts += [_text(across.at(mark), bottom + 18, number(mark)) for mark in across.marks]
    parts.append(_text((_LABEL + WIDTH - RIGHT) / 2, height - 6, x_name, style="axis"))
    for index, row in enumerate(rows):
        y = TOP + _ROW * (index + 0.5)
        shown = row.name if len(row.name) <= 22 else f"{row.name[:21]}…"
        start, end = across.at(row.p50), across.at(row.p95)
        hint = escape(f"{row.name}: p50 {number(row.p50)}, p95 {number(row.p95)}, p99 {number(row.p99)}")
        parts += [
            _text(_LABEL - 10, y + 4, shown, "end"),
            _line(across.at(row.least), y, across.at(row.most), y, "bar s0"),
            f'<rect class="fill s0" x="{start:.1f}" y="{y - 7:.1f}" width="{max(2.0, end - start):.1f}" height="14">'
            f"<title>{hint}</title></rect>",
            _line(start, y - 9, start, y + 9, "middle"),
            _line(across.at(row.p99), y - 7, across.at(row.p99), y + 7, "bar s1"),
        ]
    return _svg(height, title, parts)


def legend(names: Sequence[str]) -> str:
    """Name the colours of a plot's lines."""
    rows = "".join(
        f'<li><span class="key k{index % COLOURS}"></span>{escape(name)}</li>' for index, name in enumerate(names)
    )
    return f'<ul class="legend">{rows}</ul>'
