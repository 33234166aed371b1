# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervise one engine's process: a head, a router of models, or a model of a router."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...core.supervision.actions import PROBE, RESTART, Action
from ...core.supervision.observations import HeadObservation, PeerObservation, ProbeResult
from ...core.supervision.supervisor import Supervisor
from ..common import engine_api
from . import local_state
from .engine_poller import EnginePoller


class ObservedProcess(Protocol):
    """A process and its unit of systemd, or its job."""

    name: str
    unit: local_state.Unit
    process: local_state.Process

    def refresh(self, now: float) -> None:
        """Read the state of the unit and its process."""

    def age_s(self, now: float) -> float:
        """Return the age of the unit's state in seconds."""


def service_fields(observed: ObservedProcess, now: float) -> dict[str, Any]:
    """Return the fields of a heartbeat's worker or head that come from the unit and its process."""
    unit, process = observed.unit, observed.process
    return {
        "unit": observed.name,
        "active": unit.active,
        "sub": unit.sub,
        "job": unit.job,
        "started": process.started,
        "restarts": unit.restarts,
        "release": local_state.release_of(process.arguments),
        "unit_age_s": observed.age_s(now),
    }


@dataclass
class SupervisedEngine:
    """One engine's process, the poller of its API, and its supervisor.

    :param restart: acts on a decision to restart the engine.
    :param question: asks the engine for a sign of life; by default for one token.
    :ivar view: the last observation.
    """

    supervisor: Supervisor
    poller: EnginePoller
    log: Callable[[str], None]
    restart: Callable[[Action], None]
    question: Callable[[], str] | None = None
    view: HeadObservation = field(default_factory=HeadObservation)
    probe: ProbeResult | None = None

    def begin(self) -> None:
        """Start to poll its API."""
        threading.Thread(target=self.poller.run, daemon=True).start()

    def head_view(self, observed: ObservedProcess, links: Mapping[str, tuple[str, ...]]) -> HeadObservation:
        """Return the observation of a head from its process, its connections and the slots that its API shows."""
        state = self.poller
        return replace(
            local_state.engine_view(observed.unit, observed.process, state.health),
            links=links,
            slots_known=state.slots.known,
            busy=state.slots.busy,
            progress=f"{state.slots.progress} {state.tokens}",
        )

    def step(self, now: float, view: HeadObservation, peers: Mapping[str, PeerObservation], hold: str) -> None:
        """Evaluate one observation and apply the decisions."""
        probe, self.probe, self.view = self.probe, None, view
        for action in self.supervisor.step(now, view, peers, hold, probe):
            self.apply(action)

    def apply(self, action: Action) -> None:
        """Log, restart or probe. A probe runs in a thread, because its answer may take long."""
        if action.kind == RESTART:
            self.restart(action)
        elif action.kind == PROBE:
            self.log(f"asking {self.supervisor.name}{'' if self.question else ' for a token'}: {action.reason}")
            threading.Thread(target=self.ask, daemon=True).start()
        else:
            self.log(action.reason)

    def ask(self) -> None:
        """Ask the question and keep the result for the next step."""
        self.probe = engine_api.probe(self.question or self._ask_for_token)

    def _ask_for_token(self) -> str:
        return engine_api.token(self.poller.api, self.supervisor.limits.probe_s)
