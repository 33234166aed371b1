# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses between recoveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.limits import Backoff, RecoveryLimits
from tests.unit.core.supervision.group import RUNNING, Group, lose


def flap(group: Group, minutes: float) -> list[float]:
    """Every head that starts loses a worker a second later."""
    pid = 100
    for _each in range(round(minutes * 60 / 3)):
        pid += 1
        group.head = replace(RUNNING, pid=pid, started=pid)
        group.run(1)
        lose(group)
        group.run(2)
    return [when for when, action in group.done if action.kind == "restart"]


def test_repeated_recoveries_slow_down_and_never_stop(group: Group) -> None:
    times = flap(group, 60)
    gaps = [round(later - earlier) for earlier, later in zip(times, times[1:], strict=False)]
    assert gaps[0] <= 3
    assert gaps[3] >= 14
    assert all(299 <= gap <= 306 for gap in gaps[5:])
    assert len(gaps) > 10
    assert any("recoveries one after the other: the next one waits 300 seconds" in said for said in group.said())


def test_pause_is_logged_once(group: Group) -> None:
    flap(group, 1)
    group.head = replace(RUNNING, pid=900, started=900)
    group.run(1)
    lose(group)
    group.run(200)
    group.head = replace(group.head, pid=901, started=901)
    group.run(10)
    before = len(group.said())
    group.run(100)
    assert group.supervisor.state == "waiting"
    assert len(group.said()) == before


@pytest.mark.parametrize(
    ("steps", "waits"),
    [
        ([0, 0, 0], [0, 0, 5]),
        ([0, 10, 10, 10, 100, 100], [0, 0, 0, 5, 0, 200]),
        ([0, 0, 601, 0], [0, 0, 0, 0]),
    ],
)
def test_pauses_grow_and_start_again_after_calm(steps: Sequence[float], waits: Sequence[float]) -> None:
    backoff, now, found = Backoff(RecoveryLimits.backoff_s, RecoveryLimits.calm_s), 50.0, []
    for step in steps:
        now += step
        found.append(backoff.wait(now))
        backoff.note(now)
    assert found == pytest.approx(list(waits))
