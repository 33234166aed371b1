# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which heads and models count as hung, and which are only busy, loading or asleep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.actions import LOG, PROBE, RESTART, Action
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.limits import Backoff, RecoveryLimits
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import (
    HeadObservation,
    ProbeResult,
)
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.supervisor import Supervisor
from tests.unit.core.supervision.group import LOADING, RUNNING, Group, compute, probes


def suspicious(slots_known: bool | None, busy: int) -> HeadObservation:
    return replace(RUNNING, slots_known=slots_known, busy=busy)


@pytest.mark.parametrize(
    ("slots_known", "busy", "after"),
    [(None, 1, 180), (True, 1, 180), (True, 0, 900)],
    ids=["its slots do not answer", "busy without progress", "idle"],
)
@pytest.mark.parametrize("answered", [True, False])
def test_head_under_suspicion_is_probed(
    group: Group, slots_known: bool | None, busy: int, after: float, answered: bool
) -> None:
    group.head = suspicious(slots_known, busy)
    assert not [action for action in group.run(after - 10) if action.kind == "probe"]
    assert len([action for action in group.run(20) if action.kind == "probe"]) == 1
    assert not [action for action in group.run(100) if action.kind == "probe"]
    group.step(probe=ProbeResult(answered, "none within 120 seconds"))
    assert len(group.restarts()) == (0 if answered else 1)


def test_token_during_a_probe_ends_the_suspicion(group: Group) -> None:
    group.head = suspicious(True, 1)
    group.run(200)
    group.head = replace(group.head, progress="1")
    group.step()
    group.step(probe=ProbeResult(False, "none"))
    assert group.restarts() == []


def test_probe_that_cannot_be_sent_is_repeated(group: Group) -> None:
    group.head = suspicious(True, 1)
    for probed in (1, 2):
        group.run(200)
        assert len(probes(group)) == probed
        group.step(probe=ProbeResult(False, "no key", asked=False))
    assert group.restarts() == []
    assert [said for said in group.said() if "no key" in said] == ["no completion can be asked for: no key"]


def test_idle_head_is_not_probed_if_disabled() -> None:
    group = Group(RecoveryLimits(idle_probe_s=0))
    assert not [action for action in group.run(3000) if action.kind == "probe"]


@pytest.mark.parametrize(
    ("health", "share", "asked_after"),
    [
        ("silent", 0.0, 60),
        ("refused", 0.0, 60),
        # What clients cost that wait: they look once a second whether there is an answer.
        ("silent", 0.0005, 60),
        ("silent", 0.5, 1800),
        ("silent", 0.01, 1800),
        ("loading", 0.01, 0),
        ("ok", 0.0, 0),
    ],
)
def test_head_with_a_silent_api_is_probed(group: Group, health: str, share: float, asked_after: float) -> None:
    group.head = replace(group.head, health=health, slots_known=None if health == "ok" else False, busy=-1)
    if not asked_after:
        compute(group, 170, share)
        assert probes(group) == []
        return
    compute(group, asked_after - 1, share)
    assert probes(group) == []
    assert group.supervisor.state == "mute"
    compute(group, 15, share)
    word = "closed" if health == "refused" else "silent"
    assert [reason.partition(" for ")[0] for reason in probes(group)] == [f"its API has been {word}"]
    assert group.restarts() == []
    group.step(probe=ProbeResult(False, "none within 120 seconds"))
    assert group.restarts()[0].startswith(f"the head is hung: its API has been {word} for ")


@pytest.mark.parametrize("health", ["silent", "refused"])
def test_api_that_never_answered_is_ignored(health: str) -> None:
    group = Group()
    group.head = replace(RUNNING, health=health, slots_known=False)
    group.run(4000)
    assert (probes(group), group.restarts()) == ([], [])


def test_api_that_answers_again_ends_the_suspicion(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(70)
    assert len(probes(group)) == 1
    group.head = RUNNING
    group.step()
    group.step(probe=ProbeResult(False, "none within 120 seconds"))
    assert group.restarts() == []
    assert group.supervisor.state == "watching"
    # A silence of its own begins anew.
    group.head = replace(group.head, health="silent")
    group.run(50)
    assert len(probes(group)) == 1


def test_answered_probe_restarts_the_timers(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(70)
    group.step(probe=ProbeResult(True, "1.00 seconds"))
    group.run(50)
    assert (len(probes(group)), group.restarts()) == (1, [])


@pytest.mark.parametrize(("share", "restarts"), [(0.0, 1), (0.0005, 1), (0.01, 0)])
def test_head_that_loads_without_activity_is_restarted(share: float, restarts: int) -> None:
    group = Group()
    group.head = LOADING
    compute(group, 170, share)
    assert group.restarts() == []
    compute(group, 25, share)
    assert len(group.restarts()) == restarts


def test_silence_during_a_pause_of_the_agent_does_not_count(group: Group) -> None:
    group.head = replace(group.head, health="silent")
    group.run(50)
    group.step(400)
    group.run(50)
    assert probes(group) == []


@pytest.mark.parametrize("health", ["silent", "refused", "loading"])
def test_head_under_a_debugger_is_not_restarted(group: Group, health: str) -> None:
    group.head = replace(group.head, state="t", health=health, slots_known=False)
    group.run(4000)
    assert (probes(group), group.restarts()) == ([], [])


def test_stopped_head_is_restarted(group: Group) -> None:
    group.head = replace(group.head, state="T", health="silent", slots_known=None)
    group.run(4)
    assert group.restarts() == ["the head's process 77 has been stopped for 3 seconds"]


class Model:
    """The process of a router's model, supervised over time."""

    def __init__(self, **changes: Any) -> None:
        self.supervisor = Supervisor(RecoveryLimits(), "the model a", Backoff((0.0, 60.0), 600.0))
        self.now, self.view = 1000.0, replace(RUNNING, links={}, may_sleep=True, busy=1, progress="x", **changes)

    def run(self, seconds: float, computes: float = 0.0, probe: ProbeResult | None = None) -> list[Action]:
        done: list[Action] = []
        for _each in range(round(seconds / 0.5)):
            self.now += 0.5
            self.view = replace(self.view, cpu_s=self.view.cpu_s + 0.5 * computes)
            done += self.supervisor.step(self.now, self.view, {}, probe=probe)
        return [action for action in done if action.kind != LOG]


def test_model_without_progress_is_restarted() -> None:
    model = Model()
    model.run(1)
    (asked,) = model.run(185)
    assert asked.kind == PROBE
    (ended,) = model.run(0.5, probe=ProbeResult(False, "none within 120 seconds"))
    assert (ended.kind, ended.reason[:21]) == (RESTART, "the model a is hung: ")


def test_waking_model_may_take_long() -> None:
    model = Model()
    assert model.run(1200, computes=0.3) == []
    model = Model(slots_known=None)
    assert model.run(1200, computes=0.3) == []


def test_sleeping_model_is_not_probed() -> None:
    model = Model(slots_known=False)
    model.view = replace(model.view, busy=0)
    assert model.run(3600) == []
