# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervise a router of models, and the process of each model in memory, by the rules for a head.

A router that hangs is restarted, with its models' processes. A model's process that hangs is unloaded through the
router, which starts another one for the next request. If the router does not end the process, it is restarted itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...core.engine import router_mode
from ...core.engine.command_line import value_of
from ...core.errors import HerdError, reason_of
from ...core.host import proc_net
from ...core.supervision import heartbeat
from ...core.supervision.actions import Action
from ...core.supervision.limits import Backoff, RecoveryLimits
from ...core.supervision.observations import HeadObservation
from ...core.supervision.supervisor import Supervisor
from ...core.text import plain
from ..common import engine_api
from . import local_state
from .engine_poller import EnginePoller
from .supervised_engine import ObservedProcess, SupervisedEngine, service_fields

#: Seconds for the router to answer without a model.
LOOK_UP_S = 10.0
#: Seconds between two questions for the models that the router offers, and their largest number.
MODELS_S, MOST_MODELS = 15.0, 64
# States of supervision without a problem.
QUIET = ("watching", "loading", "starting")


@dataclass(frozen=True)
class Actions:
    """What the host of a router monitor provides.

    :param order: runs a request to systemd, which may take long.
    :param restart: restarts a unit by name, process and reason.
    """

    make_poller: Callable[[], EnginePoller]
    order: Callable[[Callable[[], None]], None]
    restart: Callable[[str, int, str], None]
    log: Callable[[str], None]


@dataclass
class _Model(SupervisedEngine):
    """A model's process.

    :ivar clients: ports from which requests came at the last step.
    :ivar restarts: how often its end was decided.
    :ivar file: name of the model's file.
    """

    started: float = 0.0
    clients: frozenset[int] = frozenset()
    restarts: int = 0
    file: str = ""


def models_of(pid: int) -> dict[str, tuple[int, local_state.Process]]:
    """Return the models' processes of a router, by the model's name."""
    found = {}
    for child in local_state.children(pid):
        process = local_state.process(child)
        name = value_of(process.arguments, "--alias", "-a").partition(",")[0]
        if name and "--port" in process.arguments:
            found[name] = (child, process)
    return found


def clients_of(process: local_state.Process, table: Sequence[proc_net.TcpSocket]) -> frozenset[int]:
    """Return the ports from which requests to a model's process come: one connection of the router for each."""
    port = value_of(process.arguments, "--port")
    return frozenset(s.remote_port for s in proc_net.established_from(table, int(port) if port.isdigit() else 0))


def asked(api: engine_api.Api, method: str, path: str, body: Any = None, timeout_s: float = LOOK_UP_S) -> Any:
    """Send a request to a router and return its answer."""
    expected = f"an answer of the router at {api.endpoint}"
    # Only root and the router's user may read the key file.
    remedy = "run this as root; look at its journal or its job"
    return json.loads(engine_api.answer_of(api, method, path, timeout_s, body, expected, remedy))


def states(api: engine_api.Api, timeout_s: float = LOOK_UP_S) -> list[router_mode.RouterModelState]:
    """Return the models of a router and their states, without loading or waking any."""
    return router_mode.states(asked(api, "GET", "/models", timeout_s=timeout_s))


class RouterMonitor:
    """Supervise one router."""

    def __init__(
        self, observed: ObservedProcess, limits: RecoveryLimits, actions: Actions, lists_models: bool = False
    ) -> None:
        """Create the monitor.

        :param lists_models: whether the heartbeat names the models that the router offers.
        """
        self.limits, self.actions, self.observed = limits, actions, observed
        self.own = SupervisedEngine(
            Supervisor(limits, "the router"), actions.make_poller(), actions.log, self._restart, self._ask_router
        )
        self.own.poller.may_ask = False
        self.own.begin()
        self.models: dict[str, _Model] = {}
        self.offered: tuple[str, ...] = ()
        self._lists_models, self._listed_at = lists_models, -MODELS_S
        self._backoffs: dict[str, Backoff] = {}
        self._recovered = 0
        self._causes: Counter[str] = Counter()

    def _track_models(self, found: dict[str, tuple[int, local_state.Process]], api: engine_api.Api | None) -> None:
        """Supervise the models' processes that exist now, each from its start."""
        for name in list(self.models):
            if name not in found or found[name][1].started != self.models[name].started:
                gone = self.models.pop(name)
                gone.poller.ended = True
                self._recovered += gone.supervisor.recoveries
                self._causes += gone.supervisor.causes
        for name, (_pid, process) in found.items():
            if name not in self.models and api is not None:
                backoff = self._backoffs.setdefault(name, Backoff(self.limits.backoff_s, self.limits.calm_s))
                supervisor = Supervisor(self.limits, f"the model {name}", backoff)
                poller, own = self.actions.make_poller(), engine_api.of(process.arguments)
                poller.api = own and replace(own, key_file=api.key_file, certificate="", model="")
                model = _Model(supervisor, poller, self.actions.log, partial(self._end_model, name))
                model.started = process.started
                model.file = Path(value_of(process.arguments, "--model", "-m")).name
                model.begin()
                self.models[name] = model

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
        # A request for the slots wakes a model that sleeps, and keeps it awake. So ask only while a connection lasts,
        # which is not one of this agent's own.
        state.may_ask = not view.may_sleep or bool(clients & model.clients)
        model.clients = clients
        slots = state.slots
        view = replace(view, pid=pid, slots_known=slots.known, busy=slots.busy, progress=slots.progress)
        model.step(now, view, {}, hold)

    def step(self, now: float, table: Sequence[proc_net.TcpSocket], hold: str) -> heartbeat.Head | None:
        """Observe once and apply the decisions.

        :returns: the router's part of the heartbeat; None if its unit is not loaded.
        """
        self.observed.refresh(now)
        unit, process = self.observed.unit, self.observed.process
        state = self.own.poller
        state.api = engine_api.of(process.arguments)
        found = models_of(unit.pid) if process.started else {}
        self._track_models(found, state.api)
        if not unit.loaded:
            return None
        if self._lists_models and state.health == "ok" and state.api and now - self._listed_at >= MODELS_S:
            self._listed_at = now
            threading.Thread(target=self._list_models, args=(state.api,), daemon=True).start()
        for name, (pid, child) in found.items():
            if name in self.models:
                self._observe_model(now, name, pid, child, table, hold)
        progress = [
            (pid, self.models[name].view.progress) for name, (pid, _child) in found.items() if name in self.models
        ]
        view = local_state.engine_view(unit, process, state.health)
        # Its models sleep; the router itself does not, and has no slots.
        view = replace(view, may_sleep=False, slots_known=True, busy=0, progress=json.dumps(progress))
        self.own.step(now, view, {}, hold)
        return self._report(now, view)

    def _report(self, now: float, view: HeadObservation) -> heartbeat.Head:
        api, own = self.own.poller.api, self.own.supervisor
        ill = [model.supervisor for model in self.models.values() if model.supervisor.state not in QUIET]
        said = own if own.state not in QUIET or not ill else ill[0]
        slots = [model.poller.slots for model in self.models.values() if model.poller.slots.known]
        return heartbeat.Head(
            **service_fields(self.observed, now),
            pid=view.pid,
            api=api.endpoint if api else "",
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
            models=self.offered,
        )

    @property
    def causes(self) -> Counter[str]:
        """Return how often a restart was decided, by cause, with those of its models."""
        return sum((one.supervisor.causes for one in (self.own, *list(self.models.values()))), self._causes)

    def end(self) -> None:
        """End all pollers."""
        for engine in (self.own, *self.models.values()):
            engine.poller.ended = True

    def _list_models(self, api: engine_api.Api) -> None:
        """Read the names of the router's models; the last known ones stay if it does not answer."""
        try:
            found = states(api)
        except (HerdError, ValueError, KeyError, TypeError, AttributeError, OSError):
            return
        names = dict.fromkeys(name for model in found for name in (model.id, *model.aliases))
        # A name that a heartbeat cannot hold would make all of it invalid.
        self.offered = tuple(name for name in names if name == plain(name))[:MOST_MODELS]

    def _restart(self, action: Action) -> None:
        self.actions.log(f"restarting the router: {action.reason}")
        self._order_restart(0 if action.gently else self.own.view.pid, action.reason)

    def _order_restart(self, pid: int, reason: str) -> None:
        self.actions.order(lambda: self.actions.restart(self.observed.name, pid, reason))

    def _ask_router(self) -> str:
        """Request a token from an idle model in memory, or the list of models if there is none."""
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

    def _end_model(self, name: str, action: Action) -> None:
        model = self.models[name]
        model.restarts += 1
        if model.restarts > 1:
            reason = f"it did not end the model {name}: {action.reason}"
            self.actions.log(f"restarting the router: {reason}")
            self._order_restart(self.own.view.pid, reason)
        else:
            self.actions.log(f"unloading the model {name}, which the next request loads again: {action.reason}")
            threading.Thread(target=self._unload, args=(name,), daemon=True).start()

    def _unload(self, name: str) -> None:
        api = self.own.poller.api
        try:
            if api is None:
                raise ValueError("its command line names no port")
            asked(api, "POST", "/models/unload", {"model": name})
        except Exception as error:
            # Also if the key cannot be read. If the process stays, the next step restarts the router.
            self.actions.log(f"the router does not unload {name}: {reason_of(error)}")
