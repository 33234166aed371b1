# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime of a tier's job: the program that the job script executes.

It starts the engines as steps of the job, the workers before the head, holds the head back until every worker is ready,
and writes the job's entry in the registry. It supervises processes and connections, and asks the head for its state. It
never connects to a worker that serves.
A draining job first leaves the registry, then finishes its running requests, stops its processes and requeues itself,
all within the grace.
"""

from __future__ import annotations

import http.client
import json
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.engine.rpc_protocol import parse_version
from ...core.engine.worker_readiness import ExpectedWorker, ReadinessCheck, least_memory
from ...core.errors import HerdError, reason_of
from ...core.slurm import drain as job_drain
from ...core.slurm import job_spec
from ..common import command, engine_api
from ..common.log import log_with_time as log
from ..services import wait_for_workers
from . import engine_monitor, orders, running_requests, slurm_times
from .registry_entry import RegistryEntry
from .steps import Step

TICK_S = 0.2
#: Seconds between two reads of the engine's counters, for the status page.
LOAD_EVERY_S = 5.0
#: Seconds without a message after which a step's node counts as lost. Slurm notices only after minutes.
STEP_SILENT_S = 20.0
STOP_HEAD_S = 2.0
AGAIN_S = 5.0
#: Seconds of service after which earlier failures no longer count.
WELL_S = 600.0


class DrainError(Exception):
    """The job must drain.

    :param until: when its processes must begin to stop; None if the tier's grace decides.
    """

    def __init__(self, reason: str, until: float | None = None) -> None:
        super().__init__(reason)
        self.until = until


class GroupLostError(Exception):
    """A process of the group has ended or cannot start. The others are useless without it."""


class Runtime:
    """One run of a tier's job."""

    def __init__(self, job: job_spec.JobSpec, hosts: Sequence[str], job_id: str) -> None:
        self.job, self.job_id = job, job_id
        self.head, self.workers = job_spec.assign_nodes(job, hosts)
        self.release = orders.Release(job.prefix)
        self.folder = Path(job.logs) / job_id
        self.events: queue.Queue[tuple[Step, dict[str, Any]]] = queue.Queue()
        self.signals: queue.Queue[str] = queue.Queue()
        self.steps: dict[str, Step] = {}
        self.registry = RegistryEntry(Path(job.registry), job_spec.endpoint(job, self.head, job_id, self.release.id))
        self.api: engine_api.Api | None = None
        self.renewal: job_drain.Renewal | None = None
        # The idle window in which an outdated job requeues itself; None while it is not outdated.
        self.idle: job_drain.IdleWindow | None = None
        self.remote = 0
        # Models of a router without a file on this node.
        self.missing: set[str] = set()
        self.ticked = time.monotonic()
        self.monitor: engine_monitor.Monitor | None = None
        self.times = slurm_times.SlurmTimesPoller(job_id, lambda: self.registry.state == "ready")
        self.requests = running_requests.RequestCounter(self.count_busy, self._needs_count)

    # Events

    def tick(self, timeout_s: float = TICK_S) -> None:
        """Handle signals, Slurm's answers and one event of a step.

        :raises DrainError: if the job must drain.
        :raises GroupLostError: if the group must start again.
        """
        with suppress(queue.Empty):
            self._signal(self.signals.get_nowait(), "the job's script")
        with suppress(queue.Empty):
            self._apply_times(*self.times.answers.get_nowait())
        if self.monitor and (lost := self.monitor.poll()):
            raise GroupLostError(lost)
        try:
            step, event = self.events.get(timeout=timeout_s)
        except queue.Empty:
            self._check_silence()
            return
        step.silence = 0.0
        if event.get("event") == "signal":
            self._signal(str(event["name"]), f"step {step.name}")
        elif self.steps.get(step.name) is step:
            self._apply_event(step, event)

    def _apply_event(self, step: Step, event: dict[str, Any]) -> None:
        kind, where = event.get("event"), f"{step.name} on {step.host}"
        if kind == "started":
            step.port = int(event["port"])
            log(f"{where}: process {event['pid']}, port {step.port}; {event['binding']}")
            if step.name == "head":
                self._monitor(int(event["pid"]))
        elif kind == "listening":
            step.is_listening = True
            log(f"{where} listens on port {event['port']}")
        elif kind == "progress":
            size = self.job.models[0].size if self.job.models else 0
            self.registry.load(job_spec.percent(int(event["read"]), size, int(event["sent"]), self.remote))
        elif kind == "alive" and self.monitor:
            self.monitor.receive(step.host, event.get("worker") or {})
        elif kind == "gpus":
            self.registry.gpus[step.host] = list(event["gpus"])
        elif kind == "note":
            log(f"{where}: {event['text']}")
        elif kind == "error":
            raise GroupLostError(f"{where}: {event['text']}")
        elif kind == "exit":
            raise GroupLostError(f"{where} has ended {_how(int(event['status']))}")
        elif kind == "gone":
            raise GroupLostError(f"the step {where} has ended: srun ended {_how(event['status'])}")

    def _check_silence(self) -> None:
        """Find steps that send no messages. Time in which this process itself was stopped does not count."""
        now = time.monotonic()
        passed, self.ticked = min(now - self.ticked, 2 * TICK_S), now
        for step in self.steps.values():
            step.silence += passed if step.port else 0.0
            if step.silence > STEP_SILENT_S:
                raise GroupLostError(
                    f"{step.name} on {step.host} has sent nothing for {STEP_SILENT_S:.0f} seconds: is the node down?"
                )

    def _signal(self, name: str, where: str) -> None:
        if name == "SIGUSR1":
            if self.renewal is None:
                # With PreemptParameters=send_user_signal, Slurm announces a preemption by this signal, too.
                self.times.ask()
                self.renewal = job_drain.renewal_for(self.job.timing, time.monotonic())
                log(f"the time limit is near: waiting for an idle window ({name} at {where})")
        elif name == "SIGUSR2":
            if self.idle is None:
                self.idle = job_drain.IdleWindow()
                log(f"the tier has changed: waiting for an idle window to requeue this job ({name} at {where})")
        elif name in ("SIGTERM", "SIGINT", "SIGHUP"):
            # The grace may differ from the tier's.
            self.times.ask()
            raise DrainError(f"{name} at {where}")

    def _apply_times(self, times: job_drain.SlurmJobTimes, passed: float) -> None:
        now = time.monotonic()
        if times.is_preempted:
            left = times.grace(time.time(), passed)
            until = job_drain.grace_until(self.job.timing, now, left)
            raise DrainError(f"preempted, {left:.0f} seconds are left", until)
        if self.renewal and times.end is not None:
            self.renewal.limit(self.job.timing, now, times.end - time.time())

    def _monitor(self, pid: int) -> None:
        if self.job.kind == job_spec.ROUTER:
            self.monitor = engine_monitor.ModelsMonitor(pid, log)
        else:
            ports = {step.host: step.port for step in self.steps.values() if step.name != "head"}
            endpoints = {node.name: f"{node.fabric}:{ports[node.name]}" for node in self.workers}
            self.monitor = engine_monitor.HeadMonitor(pid, endpoints, log)

    def wait(self, until: float, what: str, is_done: Callable[[], bool]) -> None:
        """Wait until something is done, and handle events meanwhile."""
        while not is_done():
            if time.monotonic() >= until:
                raise GroupLostError(f"{what} takes too long")
            self.tick()

    def _in_thread(self, work: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """Return the result of work that may take so many seconds, and handle events meanwhile."""
        results: list[Any] = []
        threading.Thread(target=lambda: results.append(work()), daemon=True).start()
        self.wait(time.monotonic() + timeout_s + 10, what, lambda: bool(results))
        return results[0]

    # Starting

    def _start(self, name: str, node: job_spec.Node, order: dict[str, Any]) -> Step:
        step = Step(name, node.name, order, self.folder, self.events)
        self.steps[name] = step
        return step

    def start_workers(self) -> dict[str, int]:
        """Start the workers, and return the port of each."""
        until, program = time.monotonic() + self.job.timing.start, self.release.program("worker")
        steps = [
            self._start(f"rpc-{node.name}", node, orders.worker_order(self.job, node, self.head, program, self.folder))
            for node in self.workers
        ]
        self.wait(until, "the start of the workers", lambda: all(step.is_listening for step in steps))
        return {step.host: step.port for step in steps}

    def wait_for_workers(self, ports: dict[str, int]) -> None:
        """Wait until every worker answers with the right protocol and devices."""
        expected = tuple(
            ExpectedWorker(node.name, node.fabric, ports[node.name], max(1, node.gpus), least_memory(node.memory_mib))
            for node in self.workers
        )
        limit_s = self.job.timing.start
        rule = ReadinessCheck(parse_version(str(self.release.manifest["rpc_protocol"])), limit_s, expected)
        found = self._in_thread(lambda: wait_for_workers.wait_for(rule, log), limit_s, "the worker readiness check")
        if found:
            raise GroupLostError("; ".join(str(verdict.error) for verdict in found))

    def start_head(self, ports: dict[str, int]) -> None:
        """Start the head or the router, and wait until it answers."""
        program, manifest = self.release.program("head"), self.release.manifest
        if self.job.kind == job_spec.DISTRIBUTED:
            placed = job_spec.devices(self.job, self.head, self.workers, ports)
            log("layers: " + ", ".join(f"{d.name} {d.host} {d.layers}" for d in placed))
            self.remote = job_spec.remote_bytes(placed, self.job.models[0].size)
            line = job_spec.head_line(self.job, program, manifest, placed, self.head)
        else:
            presets = self.folder / "models.ini"
            line = job_spec.router_line(self.job, program, manifest, self.head, str(presets))
            presets.write_text(line.presets, encoding="utf-8")
        for warning in line.warnings:
            log(f"warning: {warning}")
        order = orders.head_order(self.job, self.head, line.argv, self.folder)
        order["environment"].update(line.environment)
        step = self._start("head", self.head, order)
        began = time.monotonic()
        self.wait(began + self.job.timing.start, "the start of the head", lambda: step.is_listening)
        self.registry.set_port(step.port)
        alias = self.job.models[0].id if self.job.models else ""
        self.api = engine_api.Api(self.head.address, step.port, self.job.key_file, alias)
        self.wait(began + self.job.timing.load, "loading the model", self._is_healthy)
        self._prove(self.api)
        step.send("loaded")
        log(f"ready after {time.monotonic() - began:.0f} seconds at {self.head.address}:{step.port}")

    def _is_healthy(self) -> bool:
        if self.monitor and self.monitor.health:
            return self.monitor.health == "ok"
        # The monitor has not asked yet, or this node hides the engine's process.
        return self.api is not None and engine_api.health(self.api) == "ok"

    def _token(self, api: engine_api.Api, timeout_s: float) -> str:
        """Ask for a token; return why none came, or an empty text."""

        def ask() -> str:
            try:
                engine_api.complete(api, timeout_s)
            except Exception as error:
                return reason_of(error)
            return ""

        return str(self._in_thread(ask, timeout_s, "the first token"))

    def _prove(self, api: engine_api.Api) -> None:
        """Ask for a token. The health shows neither a failed worker nor a router's broken model."""
        if self.job.kind == job_spec.DISTRIBUTED:
            if found := self._token(api, self.job.timing.start):
                raise GroupLostError(found)
            return
        self.missing = {model.id for model in self.job.models if not Path(model.path).is_file()}
        why = []
        for model in self.job.models:
            if model.id in self.missing:
                found = f"its file {model.path} is not on {self.head.name}"
            else:
                found = self._token(replace(api, model=model.id), self.job.timing.load)
            if not found:
                return
            # The other models may still work.
            why.append(f"model {model.id} gives no token: {found}")
            log(f"warning: {why[-1]}")
        raise GroupLostError(f"no model can be used; {why[0]}" if why else "the tier has no models")

    # Serving

    def _models(self) -> list[str]:
        offered = [model.id for model in self.job.models]
        if self.job.kind == job_spec.ROUTER and self.api is not None:
            with suppress(OSError, ValueError, HerdError, KeyError, TypeError, http.client.HTTPException):
                _status, body = engine_api.ask(self.api, "GET", "/v1/models", engine_api.SLOTS_TIMEOUT_S)
                offered = [str(model["id"]) for model in json.loads(body)["data"]]
        there = [name for name in offered if name not in self.missing]
        # The gateway passes on all names that it knows.
        return [*there, *(alias for model in self.job.models if model.id in there for alias in model.aliases)]

    def count_busy(self) -> int | None:
        """Count the running requests; None if the engine does not say."""
        return running_requests.count(self.api, self.job.kind == job_spec.ROUTER)

    def _needs_count(self) -> bool:
        return self.registry.state == "draining" or self.renewal is not None or self.idle is not None

    def _follow_load(self) -> None:
        """Read the engine's counters in a thread. It would load a router's models or wake a sleeping engine."""
        while self.job.kind == job_spec.DISTRIBUTED and not self.job.sleep_idle_seconds:
            api = self.api
            self.registry.engine_load.add(engine_api.metrics(api) if api and self.registry.state == "ready" else {})
            time.sleep(LOAD_EVERY_S)

    def serve(self) -> None:
        """Supervise the group until it is lost or must drain."""
        self.registry.ready(self._models())
        while True:
            self.tick()
            now = time.monotonic()
            if self.renewal and (reason := self.renewal.reason(now, self.requests.busy(now))):
                raise DrainError(reason, self.renewal.drain_until(self.job.timing, now))
            if self.idle and self.idle.is_open(now, self.requests.busy(now)):
                raise DrainError("the tier has changed, and no request runs")

    # Draining

    def stop_group(self, gently: bool) -> None:
        """Stop the head, then the workers."""
        monitor, self.monitor = self.monitor, None
        if monitor:
            monitor.end()
        steps, self.steps = dict(self.steps), {}
        head = steps.pop("head", None)
        if head:
            head.stop(STOP_HEAD_S if gently else 0.0)
        for step in steps.values():
            step.send("stop 0")
        for step in steps.values():
            step.stop(0.0)
        self.api = None

    def drain(self, cause: DrainError) -> None:
        """Leave the registry, finish the running requests, and stop the group."""
        was_ready = self.registry.state == "ready"
        timing, began = self.job.timing, time.monotonic()
        until = job_drain.grace_until(timing, began) if cause.until is None else cause.until
        rule = job_drain.Drain(began, until, timing.settle)
        self.registry.drain()
        log(f"draining: {cause}; running requests have at most {max(0.0, until - began):.0f} seconds")
        busy: int | None = 0
        while was_ready:
            now = time.monotonic()
            busy = self.requests.busy(now)
            if rule.may_stop(now, busy, self.requests.counted_at):
                break
            try:
                self.tick()
            except DrainError as error:
                # A job that renews itself may be preempted meanwhile, and the grace may be shorter.
                now = time.monotonic()
                sooner = job_drain.grace_until(timing, now) if error.until is None else error.until
                if sooner < rule.until - TICK_S:
                    log(f"{error}: running requests have {max(0.0, sooner - now):.0f} more seconds")
                rule.hurry(sooner)
            except GroupLostError as error:
                log(f"{error}; the job is draining")
                break
        count = "an unknown number of" if busy is None else busy or "no"
        log(f"stopping after {time.monotonic() - began:.1f} seconds, {count} requests still run")
        self.stop_group(gently=True)
        self.registry.remove()

    def requeue(self) -> int:
        """Requeue the job, unless it was cancelled or has ended, and return the exit status."""
        status, text = command.run(
            ["squeue", "--noheader", f"--jobs={self.job_id}", "--format=%T"], slurm_times.TIMEOUT_S
        )
        state = text.strip()
        if status == 0 and state not in ("RUNNING", ""):
            log(f"the job is {state}: it is not requeued")
            return 143
        status, text = command.run(["scontrol", "requeue", self.job_id], slurm_times.TIMEOUT_S)
        if status:
            log(f"scontrol requeue {self.job_id} ended with {status}: {text.strip()}")
            return 143
        # Exit at once: the nodes are free when the last process has ended.
        log("requeued")
        return 0

    def run(self) -> int:
        """Start the group, serve, drain, and return the exit status."""
        self.folder.mkdir(parents=True, exist_ok=True)
        restarts: list[float] = []
        for work in (self.requests.follow, self._follow_load, self.times.follow):
            threading.Thread(target=work, daemon=True).start()
        self.registry.begin()
        log(
            f"tier {self.job.tier}, job {self.job_id}: head {self.head.name}"
            + (f", workers {', '.join(here.name for here in self.workers)}" if self.workers else "")
            + f", release {self.release.id}"
        )
        try:
            while True:
                try:
                    ports = self.start_workers()
                    if ports:
                        self.wait_for_workers(ports)
                    self.start_head(ports)
                    self.serve()
                except GroupLostError as error:
                    now = time.monotonic()
                    restarts = [*(at for at in restarts if now - at < WELL_S), now]
                    self.registry.begin()
                    log(f"lost: {error}")
                    self.stop_group(gently=False)
                    if len(restarts) > self.job.restarts:
                        log(f"giving up after {len(restarts)} failures within {WELL_S:.0f} seconds")
                        return 1
                    self._pause(AGAIN_S * len(restarts))
        except DrainError as cause:
            self.drain(cause)
            return self.requeue()
        finally:
            self.stop_group(gently=False)
            self.registry.remove()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(GroupLostError):
                self.tick()


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
