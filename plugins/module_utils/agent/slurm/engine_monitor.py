# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitor the engines of a tier's job by the supervisor's rules for a head, its workers and a router.

The job's runtime and its head share a node, so it reads the head's process and connections itself. A worker's step
sends the same of the worker with each heartbeat. Where the rules would restart a process, the whole group starts again.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...core.host import proc_net
from ...core.host.unacked_connections import UnackedConnections
from ...core.supervision import heartbeat
from ...core.supervision.actions import Action
from ...core.supervision.limits import RecoveryLimits
from ...core.supervision.observations import PeerObservation, WorkerObservation
from ...core.supervision.supervisor import Supervisor
from ...core.supervision.worker_monitor import WorkerMonitor
from ..common import engine_api
from ..supervisor import local_state
from ..supervisor.engine_poller import TICK_S, EnginePoller
from ..supervisor.router_monitor import Actions, RouterMonitor
from ..supervisor.supervised_engine import SupervisedEngine

#: The runtime itself handles silent steps. A worker's end is reported by its step first.
LIMITS = RecoveryLimits(silent_s=math.inf, confirm_s=2.0)
#: Seconds between two questions to an engine: it logs lines for each, and the log is kept for weeks.
ASK_EVERY_S = 10.0
Log = Callable[[str], None]


class ChildProcess:
    """A process that the job has started. The rules treat it like a systemd unit."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.unit = local_state.Unit(True, "active", "running", False, pid, 0)
        self.process = local_state.process(pid)
        self._started = self.process.started

    def refresh(self, now: float) -> None:
        """Read the process again. Another process may have its number; its step reports the end."""
        found = local_state.process(self.unit.pid)
        self.process = found if found.started == self._started else local_state.Process()

    def age_s(self, now: float) -> float:
        """Return the age of the state: it is always read directly."""
        return 0.0


class _Worker:
    """The last heartbeat of one worker."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        address, _colon, port = endpoint.rpartition(":")
        self.address, self.port = address, int(port)
        self.monitor = WorkerMonitor(LIMITS)
        self.facts: Mapping[str, Any] = {}
        self.at, self.sequence = 0.0, 0

    def receive(self, facts: Mapping[str, Any]) -> None:
        """Record a heartbeat."""
        self.facts, self.at, self.sequence = facts, time.monotonic(), self.sequence + 1

    def view(self) -> WorkerObservation:
        """Convert it for the worker's rules."""
        facts = self.facts
        return WorkerObservation("active", False, facts["pid"], facts["started"], facts["state"], facts["stale"])

    def observation(self) -> PeerObservation:
        """Convert it for the head's rules."""
        if not self.facts:
            return PeerObservation("silent", detail="its step has sent no heartbeat yet")
        facts = self.facts
        worker = heartbeat.Worker(
            unit=self.name,
            active="active",
            sub="running",
            job=False,
            pid=facts["pid"],
            started=facts["started"],
            state=facts["state"],
            restarts=0,
            release="",
            protocol="",
            listening=True,
            clients=tuple(facts["clients"]),
            stale=facts["stale"],
            unit_age_s=0.0,
        )
        return PeerObservation(
            "heartbeat",
            heartbeat.Heartbeat(self.name, "step", self.sequence, self.name, 0.0, worker=worker),
            at=self.at,
        )


class Monitor(ABC):
    """Monitors an engine; C(lost) says why the group is lost. An error in its rules is logged and ends no engine."""

    def __init__(self, poller: EnginePoller, log: Log) -> None:
        self.poller, self.log, self.lost = poller, log, ""
        self.workers: dict[str, _Worker] = {}
        self._checked, self._logged = -TICK_S, ""

    @property
    def health(self) -> str:
        """Health that the engine reports."""
        return self.poller.health

    def receive(self, host: str, facts: Mapping[str, Any]) -> None:
        """Record a worker's heartbeat."""
        if host in self.workers:
            self.workers[host].receive(facts)

    @abstractmethod
    def step(self, now: float, table: Sequence[proc_net.TcpSocket]) -> None:
        """Check once."""

    @abstractmethod
    def end(self) -> None:
        """Stop asking the engine."""

    def poll(self) -> str:
        """Check if it is time to; return why the group is lost, or an empty text."""
        now = time.monotonic()
        if now - self._checked >= TICK_S:
            self._checked = now
            try:
                self.step(now, local_state.sockets())
            except Exception as error:
                text = f"the engines cannot be monitored: {type(error).__name__}: {error}"
                if text != self._logged:
                    self._logged = text
                    self.log(text)
        return self.lost


class HeadMonitor(Monitor):
    """Monitors a head and its workers.

    :param endpoints: address and port of each worker, by the host's name.
    """

    def __init__(self, pid: int, endpoints: Mapping[str, str], log: Log) -> None:
        super().__init__(EnginePoller(ASK_EVERY_S), log)
        self.head = ChildProcess("the head", pid)
        self.workers = {name: _Worker(name, endpoint) for name, endpoint in endpoints.items()}
        self.engine = SupervisedEngine(Supervisor(LIMITS), self.poller, log, self._lose)
        self.engine.begin()
        self.links = UnackedConnections()

    def step(self, now: float, table: Sequence[proc_net.TcpSocket]) -> None:
        """Check once; C(lost) says why the group is lost."""
        self.head.refresh(now)
        self.poller.api = engine_api.of(self.head.process.arguments)
        found = {w.name: proc_net.established_to(table, w.address, w.port) for w in self.workers.values()}
        ends = {name: tuple(f"{s.local_address}:{s.local_port}" for s in links) for name, links in found.items()}
        observations = {worker.name: worker.observation() for worker in self.workers.values()}
        self.engine.step(now, self.engine.head_view(self.head, ends), observations, "")
        for worker in self.workers.values():
            for action in worker.monitor.step(now, worker.view()) if worker.facts else ():
                self.engine.apply(replace(action, reason=f"{worker.name}: {action.reason}"))
        silent = {name for name, links in found.items() if any(link.is_unacked for link in links)}
        silent |= {worker.name for worker in self.workers.values() if worker.facts.get("unanswered")}
        self.lost = self.lost or self.links.step(now, silent)

    def _lose(self, action: Action) -> None:
        self.lost = self.lost or action.reason

    def end(self) -> None:
        """Stop asking the engine."""
        self.poller.ended = True


class ModelsMonitor(Monitor):
    """Monitors a router and its models' processes. A hanging model is unloaded, and the next request loads it."""

    def __init__(self, pid: int, log: Log) -> None:
        actions = Actions(lambda: EnginePoller(ASK_EVERY_S), lambda work: work(), self._lose, log)
        self.router = RouterMonitor(ChildProcess("the router", pid), LIMITS, actions)
        super().__init__(self.router.own.poller, log)

    def step(self, now: float, table: Sequence[proc_net.TcpSocket]) -> None:
        """Check once; C(lost) says why the group is lost."""
        self.router.step(now, table, "")

    def _lose(self, name: str, pid: int, reason: str) -> None:
        self.lost = self.lost or reason

    def end(self) -> None:
        """Stop asking the engine."""
        self.router.end()
