# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the set of bytes of a file that have arrived, as intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Extents:
    """Sorted, disjoint intervals, each from its first byte to the one after its last."""

    def __init__(self, pairs: Iterable[Iterable[int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in pairs:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends)))

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def total(self) -> int:
        return sum(self._ends) - sum(self._starts)

    @property
    def end(self) -> int:
        """Position after the last byte."""
        return self._ends[-1] if self._ends else 0

    def copy(self) -> Extents:
        other = Extents()
        other._starts, other._ends = self._starts[:], self._ends[:]
        return other

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        # Intervals that touch are merged.
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def cut(self, start: int, end: int) -> None:
        if start >= end:
            return
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if first >= last:
            return
        left, right = self._starts[first], self._ends[last - 1]
        kept = [(left, start)] * (left < start) + [(end, right)] * (end < right)
        self._starts[first:last] = [low for low, _high in kept]
        self._ends[first:last] = [high for _low, high in kept]

    def within(self, start: int, end: int) -> Extents:
        """Intersect with an interval."""
        return Extents((max(low, start), min(high, end)) for low, high in self if low < end and high > start)

    def reach(self, position: int) -> int:
        """Find the first missing byte at or after a position."""
        index = bisect_right(self._starts, position) - 1
        return max(position, self._ends[index]) if index >= 0 else position

    def first_gap(self, start: int, end: int) -> tuple[int, int] | None:
        """Find the first missing bytes of an interval; None if it is complete."""
        low = self.reach(start)
        if low >= end:
            return None
        index = bisect_right(self._starts, low)
        return low, min(end, self._starts[index]) if index < len(self._starts) else end
