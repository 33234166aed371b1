# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A head and two workers over time, for tests of what the supervisor decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.supervision.actions import Action
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Heartbeat, Hold, Worker
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.limits import RecoveryLimits
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import (
    HeadObservation,
    PeerObservation,
    ProbeResult,
)
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.supervisor import Supervisor
from tests.unit.core.supervision.test_heartbeat import WORKER

A, B = "vllm-node2", "vllm-node3"
LINKS = {A: ("10.100.0.31:40112",), B: ("10.100.0.31:40113",)}
RUNNING = HeadObservation(
    active="active",
    sub="running",
    pid=77,
    started=600,
    release=WORKER.release,
    health="ok",
    links=LINKS,
    slots_known=True,
    busy=0,
    progress="0",
)
STOPPED = HeadObservation(active="inactive", sub="dead")
AUTO_RESTART = HeadObservation(active="activating", sub="auto-restart")
IN_START_PRE = HeadObservation(active="activating", sub="start-pre")
LOADING = replace(RUNNING, pid=78, started=900, health="loading", links={A: (), B: ()}, slots_known=False)
SILENT, REFUSED = PeerObservation("silent"), PeerObservation("refused", detail="connection refused")
BAD = PeerObservation("bad", detail="HTTP status 500")


class Group:
    """Head and workers over time, with one step every half second."""

    def __init__(self, limits: RecoveryLimits | None = None) -> None:
        self.supervisor = Supervisor(limits or RecoveryLimits())
        self.now, self.sequence = 1000.0, 0
        self.head = RUNNING
        self.workers: dict[str, Worker] = {n: replace(WORKER, pid=i, clients=LINKS[n]) for i, n in ((101, A), (102, B))}
        self.boots = {A: "boot-a", B: "boot-b"}
        self.instead: dict[str, PeerObservation] = {}
        self.holds: dict[str, Hold] = {}
        self.hold = ""
        self.done: list[tuple[float, Action]] = []

    def observation(self, name: str) -> PeerObservation:
        heartbeat = Heartbeat(
            name, "run", self.sequence, self.boots[name], 1.0, hold=self.holds.get(name), worker=self.workers[name]
        )
        return self.instead.get(name, PeerObservation("heartbeat", heartbeat))

    def step(self, seconds: float = 0.5, probe: ProbeResult | None = None) -> list[Action]:
        self.now += seconds
        self.sequence += 1
        seen = {name: self.observation(name) for name in self.head.links} if self.head.links else {}
        actions = self.supervisor.step(self.now, self.head, seen, self.hold, probe)
        self.done += [(self.now, action) for action in actions]
        return actions

    def run(self, seconds: float) -> list[Action]:
        """Let time pass."""
        return [action for _each in range(round(seconds / 0.5)) for action in self.step()]

    def restarts(self) -> list[str]:
        return [action.reason for _when, action in self.done if action.kind == "restart"]

    def said(self) -> list[str]:
        return [action.reason for _when, action in self.done if action.kind == "log"]


def lose(group: Group, name: str = A) -> None:
    group.head = replace(group.head, links={**group.head.links, name: ()})


def change(group: Group, name: str = A, **values: Any) -> None:
    group.workers[name] = replace(group.workers[name], **values)


def compute(group: Group, seconds: float, share: float) -> None:
    """Let time pass in which the head's process uses this share of a processor."""
    for _each in range(round(seconds / 0.5)):
        group.head = replace(group.head, cpu_s=group.head.cpu_s + 0.5 * share)
        group.step()


def probes(group: Group) -> list[str]:
    return [action.reason for _when, action in group.done if action.kind == "probe"]
