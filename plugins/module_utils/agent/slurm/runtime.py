# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime of a tier's job: what the job script ends in.

It starts the engines as steps of the job, the workers before the head, holds the head back until every worker is ready,
and tells the registry what there is. It looks after processes and their connections, and asks the engine that answers;
a worker's port is never touched once it serves.
When the job has to go, it leaves the registry first, lets running answers end, stops the processes, and has itself
requeued, all within the grace.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import pwd
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.engine.rpc_protocol import parse_version
from ...core.engine.worker_readiness import ExpectedWorker, ReadinessCheck, least_memory
from ...core.errors import HerdError, InvalidInputError, MismatchError, NotFoundError, RemoteFailureError
from ...core.host import proc_net
from ...core.slurm import drain as job_drain
from ...core.slurm import job_spec
from ...core.slurm import revision as job_revision
from ..common import command, engine_api
from ..common.log import log_with_time as log
from ..services import wait_for_workers
from ..supervisor import local_state
from . import engine_monitor, job_spec_store, model_discovery, port_guard
from . import step as job_step
from .registry_entry import Registry

TICK_S = 0.2
# Seconds between two looks at the engine's counters, for the status page.
LOAD_EVERY_S = 5.0
# A count of what runs that is older than this is none: whoever was asked does not answer.
COUNTED_S = 1.0
# A step of which nothing has been heard for so long is on a node that is gone; Slurm itself notices after minutes, and
# the engines never.
STEP_SILENT_S = 20.0
SLURM_TIMEOUT_S = 15.0
# Seconds between two questions to Slurm, where it is asked at all.
SLURM_EVERY_S, AGAIN_SLURM_S = 5.0, 2.0
STOP_HEAD_S = 2.0
AGAIN_S = 5.0
# A group that has served for so long is taken for well again.
WELL_S = 600.0
# Its writer lives no more: a sign of life comes every two seconds.
FORGOTTEN_S = 86400.0


class EndingError(Exception):
    """The job has to go.

    :param until: when its processes must begin to stop; None is what its own grace leaves.
    """

    def __init__(self, reason: str, until: float | None = None) -> None:
        super().__init__(reason)
        self.until = until


class GroupLostError(Exception):
    """A process of the group has ended, or cannot begin: none of them is of use without it."""


class Step:
    """An engine on a node, as a step of the job."""

    def __init__(self, name: str, host: str, order: dict[str, Any], folder: Path, events: queue.Queue[Any]) -> None:
        self.name, self.host, self.port, self.is_listening = name, host, 0, False
        self.silence = 0.0
        path = folder / f"{name}.json"
        path.write_text(json.dumps(order, indent=2) + "\n", encoding="utf-8")
        argv = [
            "srun",
            "--overlap",
            "--nodes=1",
            "--ntasks=1",
            f"--nodelist={host}",
            f"--cpus-per-task={order['cpus']}",
        ]
        argv += ["--mem=0", "--cpu-bind=none", "--unbuffered", f"--job-name={name}"]
        with (folder / f"{name}.step.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, sys.executable, str(Path(sys.argv[0]).absolute()), "job", "step", "--order", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # A signal for the job's own process group is not one for the steps.
                start_new_session=True,
            )
        self._events = events
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with suppress(ValueError):
                self._events.put((self, json.loads(line)))
        self._events.put((self, {"event": "gone", "status": self.process.wait()}))

    def tell(self, text: str) -> None:
        """Tell the step something; one that is gone needs no telling."""
        with suppress(OSError, ValueError):
            if self.process.stdin:
                self.process.stdin.write(f"{text}\n")
                self.process.stdin.flush()

    def stop(self, patience_s: float) -> None:
        """Have the engine ended, and wait for it."""
        self.tell(f"stop {patience_s:g}")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s + 3.0)
        if self.process.poll() is None:
            self.process.kill()


class Release:
    """The release in use, the same for all engines of the job."""

    def __init__(self, prefix: str) -> None:
        link = Path(prefix) / "current"
        try:
            self.folder = link.resolve(strict=True)
            self.manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotFoundError(f"a release at {link}", str(error), "run playbooks/slurm.yml --tags release") from error

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.manifest["id"])

    def program(self, role: str) -> str:
        """The program of the head or of the worker."""
        return str(self.folder / "bin" / self.manifest["programs"][role])


class Runtime:
    """One job."""

    def __init__(self, job: job_spec.Job, hosts: Sequence[str], job_id: str) -> None:
        self.job, self.job_id = job, job_id
        self.head, self.workers = job_spec.crew(job, hosts)
        self.release = Release(job.prefix)
        self.folder = Path(job.logs) / job_id
        self.events: queue.Queue[tuple[Step, dict[str, Any]]] = queue.Queue()
        self.signals: queue.Queue[str] = queue.Queue()
        self.steps: dict[str, Step] = {}
        self.registry = Registry(job, self.head, job_id, self.release.id)
        self.api: engine_api.Api | None = None
        self.renewal: job_drain.Renewal | None = None
        # Since it is outdated: the moment to make way for another job of the tier.
        self.moment: job_revision.Moment | None = None
        self.remote = 0
        # Models of a router whose files are not there.
        self.missing: set[str] = set()
        # Requests that run, and when they were counted.
        self.counted: tuple[int | None, float] = (None, 0.0)
        self.looked = time.monotonic()
        self.poller: engine_monitor.Poller | None = None
        # What Slurm said last, how long before that this process did not know it, and whether it is asked again.
        self.words: queue.Queue[tuple[job_drain.Word, float]] = queue.Queue()
        self.asks_slurm = threading.Event()

    # What happens

    def look(self, timeout_s: float = TICK_S) -> None:
        """Take what has happened; what ends the group or the job is raised."""
        with suppress(queue.Empty):
            self._signal(self.signals.get_nowait(), "the job's script")
        with suppress(queue.Empty):
            self._hear_slurm(*self.words.get_nowait())
        if self.poller and (lost := self.poller.poll()):
            raise GroupLostError(lost)
        try:
            step, event = self.events.get(timeout=timeout_s)
        except queue.Empty:
            self._listen_for_silence()
            return
        step.silence = 0.0
        kind = event.get("event")
        if kind == "signal":
            self._signal(str(event["name"]), f"step {step.name}")
        elif self.steps.get(step.name) is not step:
            return
        elif kind == "started":
            step.port = int(event["port"])
            log(f"{step.name} on {step.host}: process {event['pid']}, port {step.port}; {event['binding']}")
            if step.name == "head":
                self._watch(int(event["pid"]))
        elif kind == "listening":
            step.is_listening = True
            log(f"{step.name} on {step.host} listens on port {event['port']}")
        elif kind == "progress":
            size = self.job.models[0].size if self.job.models else 0
            self.registry.load(job_spec.percent(int(event["read"]), size, int(event["sent"]), self.remote))
        elif kind == "alive" and self.poller:
            self.poller.monitor.hear(step.host, event.get("worker") or {})
        elif kind == "gpus":
            self.registry.gpus[step.host] = list(event["gpus"])
        elif kind == "note":
            log(f"{step.name} on {step.host}: {event['text']}")
        elif kind == "error":
            raise GroupLostError(f"{step.name} on {step.host}: {event['text']}")
        elif kind == "exit":
            raise GroupLostError(f"{step.name} on {step.host} has ended {_how(int(event['status']))}")
        elif kind == "gone":
            raise GroupLostError(f"the step {step.name} on {step.host} is gone, srun ended {_how(event['status'])}")

    def _listen_for_silence(self) -> None:
        """Count for how long a step has said nothing. Time in which this process itself stood still does not count."""
        now = time.monotonic()
        passed, self.looked = min(now - self.looked, 2 * TICK_S), now
        for step in self.steps.values():
            step.silence += passed if step.port else 0.0
            if step.silence > STEP_SILENT_S:
                raise GroupLostError(
                    f"{step.name} on {step.host} has said nothing for {STEP_SILENT_S:.0f} seconds: is the node gone?"
                )

    def _signal(self, name: str, where: str) -> None:
        if name == "SIGUSR1":
            if self.renewal is None:
                # It may be a preemption: Slurm can be told to say that with this signal too (send_user_signal).
                self.asks_slurm.set()
                self.renewal = job_drain.renewal_for(self.job.timing, time.monotonic())
                log(f"the time limit is near: looking for a quiet moment ({name} at {where})")
        elif name == "SIGUSR2":
            if self.moment is None:
                self.moment = job_revision.Moment()
                log(f"the tier has changed: looking for a quiet moment to make way for another job ({name} at {where})")
        elif name in ("SIGTERM", "SIGINT", "SIGHUP"):
            # The grace may be another one than the tier's.
            self.asks_slurm.set()
            raise EndingError(f"{name} at {where}")

    # What Slurm says

    def _follow_slurm(self) -> None:
        """In a thread of its own: an answer may take long. A job of which no step runs is told nothing by a signal."""
        known = time.monotonic()
        while True:
            is_asked = self.asks_slurm.wait(SLURM_EVERY_S)
            if not is_asked and self.registry.state == "ready":
                known = time.monotonic()
                continue
            self.asks_slurm.clear()
            asked = time.monotonic()
            argv = ["env", "SLURM_TIME_FORMAT=%s", "scontrol", "show", "job", self.job_id]
            status, text = command.run(argv, SLURM_TIMEOUT_S)
            word = job_drain.parse_word(text)
            if status == 0 and word.end is not None:
                self.words.put((word, time.monotonic() - known))
                known = asked
            elif is_asked:
                time.sleep(AGAIN_SLURM_S)
                self.asks_slurm.set()

    def _hear_slurm(self, word: job_drain.Word, passed: float) -> None:
        now = time.monotonic()
        if word.is_preempted:
            left = word.grace(time.time(), passed)
            until = job_drain.grace_until(self.job.timing, now, left)
            raise EndingError(f"preempted, {left:.0f} seconds are left", until)
        if self.renewal and word.end is not None:
            self.renewal.limit(self.job.timing, now, word.end - time.time())

    # What the engines do

    def _watch(self, pid: int) -> None:
        monitor: engine_monitor.Monitor
        if self.job.kind == job_spec.ROUTER:
            monitor = engine_monitor.ModelsMonitor(pid, log)
        else:
            ports = {step.host: step.port for step in self.steps.values() if step.name != "head"}
            reached = {here.name: f"{here.fabric}:{ports[here.name]}" for here in self.workers}
            monitor = engine_monitor.HeadMonitor(pid, reached, log)
        self.poller = engine_monitor.Poller(monitor, log)

    def wait(self, until: float, what: str, is_done: Any) -> None:
        """Wait for something, while everything is watched."""
        while not is_done():
            if time.monotonic() >= until:
                raise GroupLostError(f"{what} takes too long")
            self.look()

    # Starting

    def _order(self, role: str, here: job_spec.Node, argv: list[str], first: int) -> dict[str, Any]:
        address = here.fabric if role == "worker" else here.address
        name = "head" if role == "head" else f"rpc-{here.name}"
        order: dict[str, Any] = {
            "role": role,
            "argv": argv,
            "address": address,
            "port": first,
            "ports": self.job.ports,
            "cpus": self.job.cpus,
            "interface": here.interface,
            "log": str(self.folder / f"{name}.log"),
            "environment": {
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                # Its crash handler would ask for a debugger.
                "GGML_NO_BACKTRACE": "1",
                **(self.job.environment or {}),
            },
        }
        if role == "worker":
            cache = self.job.cache or {}
            order.update(guard=self.job.guard, allow=self.head.fabric, cache=cache.get("prune", []))
            if cache:
                order["environment"]["LLAMA_CACHE"] = cache["folder"]
        return order

    def _start(self, name: str, here: job_spec.Node, order: dict[str, Any]) -> Step:
        step = Step(name, here.name, order, self.folder, self.events)
        self.steps[name] = step
        return step

    def start_workers(self) -> dict[str, int]:
        """Start the workers; the port of each."""
        until = time.monotonic() + self.job.timing.start
        steps = []
        for here in self.workers:
            argv = job_spec.worker_argv(
                self.release.program("worker"), here.fabric, self.job.cpus, bool(self.job.cache)
            )
            steps.append(self._start(f"rpc-{here.name}", here, self._order("worker", here, argv, self.job.worker_port)))
        self.wait(until, "the start of the workers", lambda: all(step.is_listening for step in steps))
        return {step.host: step.port for step in steps}

    def await_workers(self, ports: dict[str, int]) -> None:
        """Wait until every worker answers with the right protocol and devices, before there is a head."""
        expected = tuple(
            ExpectedWorker(here.name, here.fabric, ports[here.name], max(1, here.gpus), least_memory(here.memory_mib))
            for here in self.workers
        )
        rule = ReadinessCheck(
            parse_version(str(self.release.manifest["rpc_protocol"])), self.job.timing.start, expected
        )
        verdicts: list[Any] = []
        done = threading.Event()

        def ask() -> None:
            verdicts.extend(wait_for_workers.wait_for(rule, log))
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        self.wait(time.monotonic() + self.job.timing.start + 10, "the worker readiness check", done.is_set)
        if verdicts:
            raise GroupLostError("; ".join(str(verdict.error) for verdict in verdicts))

    def start_head(self, ports: dict[str, int]) -> None:
        """Start the engine that answers, and wait until it does."""
        program, manifest = self.release.program("head"), self.release.manifest
        if self.job.kind == job_spec.DISTRIBUTED:
            placed = job_spec.devices(self.job, self.head, self.workers, ports)
            log("layers: " + ", ".join(f"{d.name} {d.host} {d.layers}" for d in placed))
            self.remote = job_spec.remote_bytes(placed, self.job.models[0].size)
            line = job_spec.head_line(self.job, program, manifest, placed, self.head)
        else:
            line = job_spec.router_line(self.job, program, manifest, self.head)
        for warning in line.warnings:
            log(f"warning: {warning}")
        argv = list(line.argv)
        for mark, text in line.files.items():
            path = self.folder / "models.ini"
            path.write_text(text, encoding="utf-8")
            argv[argv.index(mark)] = str(path)
        order = self._order("head", self.head, argv, self.job.port)
        order["environment"].update(line.environment)
        step = self._start("head", self.head, order)
        began = time.monotonic()
        self.wait(began + self.job.timing.start, "the start of the head", lambda: step.is_listening)
        self.registry.at(step.port)
        alias = self.job.models[0].id if self.job.models else ""
        self.api = engine_api.Api(self.head.address, step.port, self.job.key_file, alias)
        self.wait(began + self.job.timing.load, "loading the model", self._is_healthy)
        self._prove(self.api)
        step.tell("loaded")
        log(f"ready after {time.monotonic() - began:.0f} seconds at {self.head.address}:{step.port}")

    def _is_healthy(self) -> bool:
        if self.poller and self.poller.monitor.health:
            return self.poller.monitor.health == "ok"
        # Nothing has been asked yet, or this node does not show the engine's process.
        return self.api is not None and engine_api.health(self.api) == "ok"

    def _token(self, api: engine_api.Api, timeout_s: float) -> str:
        """Ask for a token; why none came, nothing if one did."""
        found: list[str] = []
        done = threading.Event()

        def ask() -> None:
            try:
                engine_api.complete(api, timeout_s)
            except Exception as error:
                found.append(str(error) or type(error).__name__)
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        self.wait(time.monotonic() + timeout_s + 10, "the first token", done.is_set)
        return found[0] if found else ""

    def _prove(self, api: engine_api.Api) -> None:
        """Health says nothing of the workers, and nothing of a router's models; a token does."""
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
            # The others do not suffer for it.
            why.append(f"the model {model.id} gives no token: {found}")
            log(f"warning: {why[-1]}")
        raise GroupLostError(f"none of the models can be used; {why[0]}" if why else "the tier has no models")

    # Serving

    def _models(self) -> list[str]:
        offered = [model.id for model in self.job.models]
        if self.job.kind == job_spec.ROUTER and self.api is not None:
            with suppress(OSError, ValueError, HerdError, KeyError, TypeError, http.client.HTTPException):
                _status, body = engine_api.ask(self.api, "GET", "/v1/models", engine_api.SLOTS_TIMEOUT_S)
                offered = [str(model["id"]) for model in json.loads(body)["data"]]
        there = [name for name in offered if name not in self.missing]
        # A gateway passes on what it knows.
        return [*there, *(alias for model in self.job.models if model.id in there for alias in model.aliases)]

    def count_busy(self) -> int | None:
        """How many requests run; None where nobody says."""
        api = self.api
        if api is None:
            return 0
        if self.job.kind == job_spec.DISTRIBUTED:
            slots = engine_api.slots(api)
            return slots.busy if slots.known else None
        # A router does not tell of requests that wait for their model, or for another one to make room; but everybody
        # who waits for an answer is connected. A gateway's connection that only was kept is closed after 4 seconds.
        try:
            # What this process asks is not meant; one that it has just closed is shown as root's.
            return len(proc_net.clients_of(local_state.sockets(), api.port, "", (0, os.getuid())))
        except (OSError, ValueError):
            return None

    def _follow_busy(self) -> None:
        """In a thread of its own: an engine that computes may let one wait for an answer."""
        while True:
            # Only when it matters: the engine writes a line for every question.
            is_needed = self.registry.state == "draining" or self.renewal is not None or self.moment is not None
            at = time.monotonic()
            self.counted = (self.count_busy() if is_needed else None, at)
            time.sleep(TICK_S)

    def _busy(self, now: float) -> int | None:
        """How many requests run at the moment, if that is known."""
        busy, at = self.counted
        return busy if now - at <= COUNTED_S else None

    def _follow_load(self) -> None:
        """In a thread of its own too. A router is not asked: it would load models for it; neither what may sleep."""
        while self.job.kind == job_spec.DISTRIBUTED and not self.job.sleep_idle_seconds:
            api = self.api
            self.registry.doing.add(engine_api.metrics(api) if api and self.registry.state == "ready" else {})
            time.sleep(LOAD_EVERY_S)

    def serve(self) -> None:
        """Look after the group until it is lost or has to go."""
        self.registry.ready(self._models())
        while True:
            self.look()
            now = time.monotonic()
            if self.renewal and (reason := self.renewal.reason(now, self._busy(now))):
                raise EndingError(reason, self.renewal.drain_until(self.job.timing, now))
            if self.moment and self.moment.is_now(now, self._busy(now)):
                raise EndingError("the tier has changed, and this is a quiet moment")

    # Ending

    def stop_group(self, gently: bool) -> None:
        """Stop the head, then the workers."""
        poller, self.poller = self.poller, None
        if poller:
            poller.monitor.end()
        steps, self.steps = dict(self.steps), {}
        head = steps.pop("head", None)
        if head:
            head.stop(STOP_HEAD_S if gently else 0.0)
        for step in steps.values():
            step.tell("stop 0")
        for step in steps.values():
            step.stop(0.0)
        self.api = None

    def drain(self, ending: EndingError) -> None:
        """Leave the registry, let running answers end, stop."""
        was_ready = self.registry.state == "ready"
        timing, began = self.job.timing, time.monotonic()
        until = job_drain.grace_until(timing, began) if ending.until is None else ending.until
        rule = job_drain.Drain(began, until, timing.settle)
        self.registry.drain()
        log(f"draining: {ending}; running answers have at most {max(0.0, until - began):.0f} seconds")
        busy: int | None = 0
        while was_ready:
            now = time.monotonic()
            busy = self._busy(now)
            if rule.may_stop(now, busy, self.counted[1]):
                break
            try:
                self.look()
            except EndingError as error:
                # One that renews itself may be preempted meanwhile, and a grace be shorter than it should be.
                now = time.monotonic()
                sooner = job_drain.grace_until(timing, now) if error.until is None else error.until
                if sooner < rule.until - TICK_S:
                    log(f"{error}: running answers have {max(0.0, sooner - now):.0f} seconds more")
                rule.hurry(sooner)
            except GroupLostError as error:
                log(f"{error}; it was to end anyway")
                break
        count = "an unknown number of" if busy is None else busy or "no"
        log(f"stopping after {time.monotonic() - began:.1f} seconds, {count} requests still run")
        self.stop_group(gently=True)
        self.registry.remove()

    def requeue(self) -> int:
        """Go back into the queue; one that somebody cancelled, or that is over anyway, does not."""
        status, text = command.run(["squeue", "--noheader", f"--jobs={self.job_id}", "--format=%T"], SLURM_TIMEOUT_S)
        state = text.strip()
        if status == 0 and state not in ("RUNNING", ""):
            log(f"the job is {state}: it is not requeued")
            return 143
        status, text = command.run(["scontrol", "requeue", self.job_id], SLURM_TIMEOUT_S)
        if status:
            log(f"scontrol requeue {self.job_id} ended with {status}: {text.strip()}")
            return 143
        # At once: the nodes are free for the others when the last process has ended.
        log("requeued")
        return 0

    def live(self) -> int:
        """Begin, serve, end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        restarts: list[float] = []
        threading.Thread(target=self._follow_busy, daemon=True).start()
        threading.Thread(target=self._follow_load, daemon=True).start()
        threading.Thread(target=self._follow_slurm, daemon=True).start()
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
                        self.await_workers(ports)
                    self.start_head(ports)
                    self.serve()
                except GroupLostError as error:
                    now = time.monotonic()
                    restarts = [*(at for at in restarts if now - at < WELL_S), now]
                    log(f"lost: {error}")
                    self.registry.begin()
                    self.stop_group(gently=False)
                    if len(restarts) > self.job.restarts:
                        log(f"giving up after {len(restarts)} failures within {WELL_S:.0f} seconds")
                        return 1
                    self._pause(AGAIN_S * len(restarts))
        except EndingError as ending:
            self.drain(ending)
            return self.requeue()
        finally:
            self.stop_group(gently=False)
            self.registry.remove()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(GroupLostError):
                self.look()


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def _hosts() -> list[str]:
    listed = os.environ.get("SLURM_JOB_NODELIST", "")
    if not listed or "SLURM_JOB_ID" not in os.environ:
        raise InvalidInputError(
            "to be inside a Slurm job", "no SLURM_JOB_NODELIST", "submit the job script with sbatch"
        )
    status, text = command.run(["scontrol", "show", "hostnames", listed], SLURM_TIMEOUT_S)
    if status:
        raise RemoteFailureError(f"the nodes in {listed} from scontrol show hostnames", text.strip(), "see slurmctld")
    return text.split()


def _sweep(job: job_spec.Job, now: float) -> None:
    """Remove the logs of jobs that have long ended, and entries of the registry that nobody can have written lately."""
    logs, oldest = Path(job.logs), now - job.log_days * 86400
    for entry in logs.glob("[0-9]*") if job.log_days > 0 else ():
        with suppress(OSError):
            if max((file.stat().st_mtime for file in entry.iterdir()), default=entry.stat().st_mtime) < oldest:
                shutil.rmtree(entry)
    for path in logs.glob("slurm-*.out") if job.log_days > 0 else ():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
    for path in Path(job.registry).glob(f"*{job.tier}-*.json*"):
        with suppress(OSError):
            if path.stat().st_mtime < now - FORGOTTEN_S:
                path.unlink()


def run_command(arguments: argparse.Namespace) -> int:
    """Be the job."""
    job = job_spec_store.read(Path(arguments.data), arguments.plan, Path(arguments.kept))
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user != job.user:
        raise MismatchError(f"to run as {job.user}", user, f"submit it as that user: sudo -u {job.user} sbatch …")
    hosts = _hosts()
    job_spec.crew(job, hosts)
    runtime = Runtime(model_discovery.with_found(job, hosts[0], log), hosts, os.environ["SLURM_JOB_ID"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _frame: runtime.signals.put(signal.Signals(received).name))
    _sweep(job, time.time())
    return runtime.live()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl job)."""
    job = commands.add_parser("job", description="Run a tier inside a Slurm job.")
    what = job.add_subparsers(dest="what", required=True)
    run = what.add_parser("run", help="start the tier's engines and look after them until the job has to go")
    run.add_argument("--data", required=True, help="the tier's data, beside its job script")
    run.add_argument("--plan", default="", help="the mark of the data that the script was submitted with")
    run.add_argument("--kept", default="tier.json", help="where they are kept for when the job is requeued")
    run.set_defaults(run=run_command)
    step = what.add_parser("step", help="run one engine on its node (what srun starts)")
    step.add_argument("--order", required=True)
    step.set_defaults(run=job_step.step_command)
    only = what.add_parser("engine", help="become the engine, with the signals of the job kept from it")
    only.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    only.set_defaults(run=job_step.engine_command)
    guard = what.add_parser("guard", help="open a worker's port to its head alone (what herd-job-guard.service runs)")
    guard.add_argument("--config", default=port_guard.DEFAULT_PATH)
    guard.set_defaults(run=port_guard.guard_command)
