# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extents compared with a plain set of positions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents

PAIR = st.tuples(st.integers(0, 40), st.integers(0, 40))
STEPS = st.lists(st.tuples(st.booleans(), PAIR), max_size=25)


def both(steps: list[tuple[bool, tuple[int, int]]]) -> tuple[Extents, set[int]]:
    extents, positions = Extents(), set[int]()
    for adds, (start, end) in steps:
        if adds:
            extents.add(start, end)
            positions |= set(range(start, end))
        else:
            extents.cut(start, end)
            positions -= set(range(start, end))
    return extents, positions


@given(STEPS)
def test_extents_equal_a_set_of_positions(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    extents, positions = both(steps)
    assert {position for start, end in extents for position in range(start, end)} == positions
    assert extents.total == len(positions) and bool(extents) == bool(positions)
    assert extents.end == max(positions, default=-1) + 1
    pairs = list(extents)
    assert all(end < start for (_low, end), (start, _high) in zip(pairs, pairs[1:], strict=False)), "none that touch"
    assert list(Extents(pairs)) == list(extents.copy()) == pairs


@given(STEPS, PAIR)
def test_queries_of_an_interval_equal_those_of_a_set(
    steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    extents, positions = both(steps)
    start, end = asked
    assert {p for low, high in extents.within(start, end) for p in range(low, high)} == positions & set(
        range(start, end)
    )
    reached = extents.reach(start)
    assert set(range(start, reached)) <= positions and reached not in positions
    gap = extents.first_gap(start, end)
    missing = [position for position in range(start, end) if position not in positions]
    if not missing:
        assert gap is None
    else:
        assert gap is not None and gap[0] == missing[0]
        assert not positions & set(range(*gap)) and (gap[1] == end or gap[1] in positions)
