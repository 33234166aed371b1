# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router of models, and the process of each model in memory: watched by the very rules that a head is watched by.

A router that hangs is restarted; it takes its models' processes with it. A model's process that hangs is unloaded
through the router, which ends it and starts another for the next request; if the router cannot, it is restarted itself.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ...core.engine import router_mode
from ...core.engine.command_line import value_of
from ...core.errors import RemoteFailureError
from ...core.host import proc_net
from ...core.supervision import heartbeat
from ...core.supervision.actions import PROBE, RESTART, Action
from ...core.supervision.limits import Backoff, RecoveryLimits
from ...core.supervision.observations import HeadObservation, ProbeResult
from ...core.supervision.supervisor import Supervisor
from ...core.text import plain
from ..common import engine_api
from . import local_state
from .engine_poller import EnginePoller

#: Seconds for the router to answer what it only has to look up.
LOOK_UP_S = 10.0
# States of supervision in which nothing is said of a process.
QUIET = ("watching", "loading", "starting")


class Process(Protocol):
    """The router's process and what it belongs to: a unit of systemd, or a job."""

    name: str
    unit: local_state.Unit
    process: local_state.Process

    def refresh(self, now: float) -> None:
        """Read the state of the unit and its process."""

    def age_s(self, now: float) -> float:
        """How old the word on the unit is."""


@dataclass(frozen=True)
class Actions:
    """What the agent can do, and how it asks."""

    make_poller: Callable[[], EnginePoller]
    order: Callable[[Callable[[], None]], None]
    restart: Callable[[str, int, str], None]
    log: Callable[[str], None]


@dataclass
class _Engine:
    """One process, its API, and the rules for it."""

    supervisor: Supervisor
    poller: EnginePoller
    started: int = 0
    probe: ProbeResult | None = None
    clients: frozenset[int] = frozenset()
    told: int = 0
    view: HeadObservation = field(default_factory=HeadObservation)

    def begin(self) -> _Engine:
        """Ask its API from now on."""
        threading.Thread(target=self.poller.run, daemon=True).start()
        return self

    def step(self, now: float, view: HeadObservation, hold: str) -> list[Action]:
        """Look once and say what is to be done."""
        probe, self.probe, self.view = self.probe, None, view
        return self.supervisor.step(now, view, {}, hold, probe)

    def ask(self, question: Callable[[], str]) -> None:
        """Ask for something that may take long."""

        def answer() -> None:
            self.probe = engine_api.probe(question)

        threading.Thread(target=answer, daemon=True).start()


def models_of(pid: int) -> dict[str, tuple[int, local_state.Process]]:
    """The models' processes of a router, by the model's name."""
    found = {}
    for child in local_state.children(pid):
        process = local_state.process(child)
        name = value_of(process.arguments, "--alias", "-a").partition(",")[0]
        if name and "--port" in process.arguments:
            found[name] = (child, process)
    return found


def clients_of(process: local_state.Process, table: Sequence[proc_net.TcpSocket]) -> frozenset[int]:
    """Ports from which requests to a model's process come; the router opens a connection for each."""
    port = value_of(process.arguments, "--port")
    return frozenset(s.remote_port for s in proc_net.established_from(table, int(port) if port.isdigit() else 0))


def asked(api: engine_api.Api, method: str, path: str, body: Any = None, timeout_s: float = LOOK_UP_S) -> Any:
    """What a router answers."""
    try:
        status, answer = engine_api.ask(api, method, path, timeout_s, body)
    except OSError as error:
        # Of the key file too, which only root and the router's user read.
        found = str(error) or type(error).__name__
    except http.client.HTTPException as error:
        found = type(error).__name__
    else:
        if status == 200:
            return json.loads(answer)
        found = f"status {status}: {answer[:200].decode(errors='replace')}"
    raise RemoteFailureError(
        f"an answer of the router at {api.address}:{api.port}",
        found,
        "run this as root; look at its journal or its job",
    )


def states(api: engine_api.Api, timeout_s: float = LOOK_UP_S) -> list[router_mode.RouterModelState]:
    """What a router offers; loads nothing and wakes nobody."""
    return router_mode.states(asked(api, "GET", "/models", timeout_s=timeout_s))


class RouterMonitor:
    """Watches one router."""

    def __init__(self, observed: Process, limits: RecoveryLimits, actions: Actions) -> None:
        self.limits, self.actions, self.observed = limits, actions, observed
        self.own = _Engine(Supervisor(limits, "the router"), actions.make_poller()).begin()
        self.own.poller.may_ask = False
        self.models: dict[str, _Engine] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._recovered = 0

    # What is seen

    def _track_models(self, found: dict[str, tuple[int, local_state.Process]], api: engine_api.Api | None) -> None:
        """Watch the processes that there are, each one from its start."""
        for name in list(self.models):
            if name not in found or found[name][1].started != self.models[name].started:
                gone = self.models.pop(name)
                gone.poller.ended = True
                self._recovered += gone.supervisor.recoveries
        for name, (_pid, process) in found.items():
            if name not in self.models and api is not None:
                backoff = self._backoffs.setdefault(name, Backoff(self.limits.backoff_s, self.limits.calm_s))
                supervisor = Supervisor(self.limits, f"the model {name}", backoff)
                self.models[name] = _Engine(supervisor, self.actions.make_poller(), process.started).begin()
                own = engine_api.of(process.arguments)
                self.models[name].poller.api = own and replace(own, key_file=api.key_file, certificate="", model="")

    def _observe_model(
        self,
        now: float,
        name: str,
        pid: int,
        process: local_state.Process,
        table: Sequence[proc_net.TcpSocket],
        hold: str,
    ) -> None:
        model, unit = self.models[name], self.observed.unit
        state, clients = model.poller, clients_of(process, table)
        view = local_state.engine_view(unit, process, state.health)
        # Whoever asks for the slots of a model that sleeps wakes it, and keeps awake one that would sleep. Connections
        # that were there before are no questions of this agent's own.
        state.may_ask = not view.may_sleep or bool(clients & model.clients)
        model.clients = clients
        slots = state.slots
        view = replace(view, pid=pid, slots_known=slots.known, busy=slots.busy, progress=slots.progress)
        for action in model.step(now, view, hold):
            self._apply_to_model(action, name, model)

    def step(self, now: float, table: Sequence[proc_net.TcpSocket], hold: str) -> heartbeat.Head | None:
        """Look once and do what is to be done; what is told of it."""
        self.observed.refresh(now)
        unit, process = self.observed.unit, self.observed.process
        state = self.own.poller
        state.api = engine_api.of(process.arguments)
        found = models_of(unit.pid) if process.started else {}
        self._track_models(found, state.api)
        if not unit.loaded:
            return None
        for name, (pid, child) in found.items():
            if name in self.models:
                self._observe_model(now, name, pid, child, table, hold)
        progress = [
            (pid, self.models[name].view.progress) for name, (pid, _child) in found.items() if name in self.models
        ]
        view = local_state.engine_view(unit, process, state.health)
        # What sleeps are its models; it has no slots of its own.
        view = replace(view, may_sleep=False, slots_known=True, busy=0, progress=json.dumps(progress))
        for action in self.own.step(now, view, hold):
            self._apply(action)
        return self._report(now, view)

    def _report(self, now: float, view: HeadObservation) -> heartbeat.Head:
        unit, api, own = self.observed.unit, self.own.poller.api, self.own.supervisor
        ill = [model.supervisor for model in self.models.values() if model.supervisor.state not in QUIET]
        said = own if own.state not in QUIET or not ill else ill[0]
        slots = [model.poller.slots for model in self.models.values() if model.poller.slots.known]
        return heartbeat.Head(
            unit=self.observed.name,
            active=unit.active,
            sub=unit.sub,
            job=unit.job,
            pid=view.pid,
            started=view.started,
            restarts=unit.restarts,
            release=view.release,
            api=f"{api.address}:{api.port}" if api else "",
            health=view.health,
            workers=(),
            lost=(),
            slots=sum(one.total for one in slots),
            busy=sum(one.busy for one in slots),
            waiting=-1,
            tokens_total=-1,
            tokens_per_second=round(sum(model.poller.rate() for model in self.models.values()), 2),
            supervision=said.state,
            reason=plain(said.reason),
            recoveries=self._recovered + sum(one.supervisor.recoveries for one in (self.own, *self.models.values())),
            draining=False,
            unit_age_s=self.observed.age_s(now),
        )

    def end(self) -> None:
        """Ask nobody any more."""
        for engine in (self.own, *self.models.values()):
            engine.poller.ended = True

    # What is done

    def _apply(self, action: Action) -> None:
        pid = self.own.view.pid
        if action.kind == RESTART:
            self.actions.log(f"restarting the router: {action.reason}")
            self.actions.order(
                lambda: self.actions.restart(self.observed.name, 0 if action.gently else pid, action.reason)
            )
        elif action.kind == PROBE:
            self.actions.log(f"asking the router: {action.reason}")
            self.own.ask(self._ask_router)
        else:
            self.actions.log(action.reason)

    def _ask_router(self) -> str:
        """Have it pass on a question to a model that is awake and idle; where there is none, look up its models."""
        api = self.own.poller.api
        if api is None:
            raise ValueError("its command line names no port")
        began = time.monotonic()
        awake = {state.id for state in states(api, self.limits.probe_s) if state.state == "loaded"}
        idle = [n for n, m in self.models.items() if m.view.busy == 0 and m.supervisor.state == "watching"]
        for name in (name for name in idle if name in awake):
            engine_api.complete(replace(api, model=name), self.limits.probe_s)
            return f"{time.monotonic() - began:.2f} seconds for a token of {name}"
        return f"{time.monotonic() - began:.2f} seconds for its models"

    def _apply_to_model(self, action: Action, name: str, model: _Engine) -> None:
        if action.kind == RESTART:
            model.told += 1
            if model.told > 1:
                reason = f"it did not end the model {name}: {action.reason}"
                self.actions.log(f"restarting the router: {reason}")
                self.actions.order(lambda: self.actions.restart(self.observed.name, self.own.view.pid, reason))
            else:
                self.actions.log(f"unloading the model {name}, which the next request loads again: {action.reason}")
                threading.Thread(target=self._unload, args=(name,), daemon=True).start()
        elif action.kind == PROBE:
            self.actions.log(f"asking the model {name} for a token: {action.reason}")
            model.ask(lambda: self._ask_model(model))
        else:
            self.actions.log(action.reason)

    def _ask_model(self, model: _Engine) -> str:
        if model.poller.api is None:
            raise ValueError("its command line names no port")
        return f"{engine_api.complete(model.poller.api, self.limits.probe_s):.2f} seconds"

    def _unload(self, name: str) -> None:
        api = self.own.poller.api
        try:
            if api is None:
                raise ValueError("its command line names no port")
            asked(api, "POST", "/models/unload", {"model": name})
        except Exception as error:
            # Also a key that cannot be read. What is not gone soon is told again, and then the router is restarted.
            self.actions.log(f"the router does not unload {name}: {str(error) or type(error).__name__}")
