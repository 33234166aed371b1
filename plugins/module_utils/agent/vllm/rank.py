# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrapper of one rank of a vLLM job: it starts vLLM, watches it and the other ranks, and ends all together.

vLLM reports each unplanned end with exit status 0, and no rank of it notices the loss of another one while it is idle.
The wrapper turns both into an end of the whole job with a reason.
"""

from __future__ import annotations

import functools
import os
import queue
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from ...core.errors import HerdError, InsufficientError, reason_of
from ...core.text import plain
from ...core.vllm import diagnosis, job_status, progress
from ...core.vllm.job import command, heartbeat_message, requeue, watch
from ...core.vllm.job import drain as job_drain
from ...core.vllm.job import run as job_run
from ...core.vllm.job import spec as job_spec
from ..common.log import log_with_time
from ..common.output import write_line
from . import (
    engine_process,
    heartbeat,
    job_files,
    leftovers,
    memory_report,
    node_report,
    probe,
    publisher,
    rank_ports,
)

TICK_S = 0.1
#: Seconds between two looks at the processes, and for vLLM's clients to hear that it ends.
LOOK_S, FAREWELL_S = 1.0, 3.0
#: Seconds for a vLLM whose API does not answer to end by itself.
DYING_S = 2.0
#: Seconds for which a rank that has failed waits for the others: Slurm kills them when it ends.
LINGER_S = 6.0
#: Seconds between two lines of the log about pauses.
PAUSE_LOG_S = 60.0
#: Seconds between two completions of a serving job.
PROBE_EVERY_S = 30.0


def log(text: str) -> None:
    """Write a line of the wrapper into the job's log."""
    with suppress(OSError):
        log_with_time(f"herd: {text}")


class Rank:
    """One rank of the job."""

    def __init__(
        self,
        folder: job_files.JobFolder,
        run: job_run.Run,
        rank: int,
        limits: watch.WatchLimits,
        signals: queue.SimpleQueue[str],
    ) -> None:
        self.folder, self.spec, self.run_facts, self.rank, self.limits = folder, folder.spec, run, rank, limits
        self.here = run.ranks[rank]
        self.signals = signals
        self.publisher = publisher.Publisher()
        self.status = publisher.StatusFile(folder, run, self.publisher) if rank == 0 else None
        self.registry = publisher.registry_entry(self.spec, run) if rank == 0 else None
        self.orders = publisher.OrderReader(folder) if rank == 0 else None
        self.progress = progress.LoadProgress()
        self.memory: memory_report.MemoryReport | None = None
        self.log_reader = diagnosis.LogReader()
        self.engine: engine_process.Engine | None = None
        self.health: probe.HealthPoller | None = None
        self.drain: job_drain.Drain | None = None
        self.drain_rule = job_drain.DrainRule(self.spec.timing)
        self.phase, self.end, self.reason = job_status.STARTING, "", ""
        now = time.monotonic()
        self.began, self.engine_began, self.ready_at, self.looked_at = now, now, 0.0, 0.0
        self.pauses, self.paused_at = watch.PauseDetector(now, limits.pause_s), -PAUSE_LOG_S
        secret = bytes.fromhex(run.secret)
        others = {other: place.address for other, place in enumerate(run.ranks) if other != rank}
        self.ports: rank_ports.RankPorts | None = None
        self.receiver: heartbeat.HeartbeatReceiver | None = None
        self.sender: heartbeat.HeartbeatSender | None = None
        if others:
            where = (self.here.address, run.heartbeat_port)
            self.receiver = heartbeat.HeartbeatReceiver(rank, where, secret, others)
            self.sender = heartbeat.HeartbeatSender(
                rank, self.here.address, secret, others, run.heartbeat_port, self.heartbeat, watch.EVERY_S
            )

    # What others see

    def heartbeat(self) -> heartbeat_message.Heartbeat:
        """Return the current heartbeat."""
        ports = self.ports.own_ports if self.ports else ()
        return heartbeat_message.Heartbeat(
            self.rank, self.phase, self.progress.percent, self.end, plain(self.reason), ports
        )

    def _publish(self) -> None:
        if self.status is None:
            return
        now = time.monotonic()
        ranks = [job_status.RankStatus(0, self.here.host, "up")]
        for peer in self._peers(now):
            is_up = peer.heard_s is not None and peer.heard_s < self.limits.silent_s
            ranks.append(job_status.RankStatus(peer.rank, peer.host, "up" if is_up else "lost"))
        percent = 100 if self.is_ready else self.progress.percent
        self.status.set(phase=self.phase, percent=percent, reason=self.reason, ranks=tuple(ranks))
        if self.registry and self.phase in (job_status.LOADING, job_status.WARMING):
            self.publisher.put("the registry's progress", functools.partial(self.registry.load, percent))

    def _set_phase(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            log(f"rank {self.rank} on {self.here.host}: {phase}")

    # What it sees

    @property
    def is_ready(self) -> bool:
        """Whether the job serves, by rank 0's word."""
        if self.rank == 0:
            return self.health is not None and self.health.is_ready
        first = self.receiver.heard.get(0) if self.receiver else None
        return first is not None and first[1].phase in (job_status.READY, job_status.DRAINING)

    def _peers(self, now: float) -> list[watch.Peer]:
        heard = self.receiver.heard if self.receiver else {}
        found = []
        for other, place in enumerate(self.run_facts.ranks):
            if other != self.rank:
                at, last = heard.get(other, (None, None))
                silent = None if at is None else self.pauses.since(at, now)
                found.append(watch.Peer(other, place.host, place.address, silent, last))
        return found

    def _on_line(self, line: str) -> None:
        with suppress(OSError, ValueError):
            write_line(line)
        self.progress.feed(line)
        if self.memory:
            self.memory.feed(line)
        self.log_reader.feed(line)

    def _verdict(self) -> watch.Verdict | None:
        now = time.monotonic()
        if self.pauses.look(now) and now - self.paused_at >= PAUSE_LOG_S:
            self.paused_at = now
            log("this wrapper was stopped, or got no processor; the times of all limits start again")
        processes = watch.Processes()
        if self.engine:
            if now - self.looked_at >= LOOK_S:
                self.looked_at = now
                self.engine.look(now)
            processes = self.engine.observe(now, self.pauses)
        is_draining = self.drain is not None
        if is_draining:
            # The engine ends as asked. A peer that is lost meanwhile still ends the drain.
            processes = watch.Processes()
        unhealthy = self.health.unhealthy if self.health and not is_draining else ""
        seen = watch.Observation(
            self.rank,
            self.here.host,
            self.pauses.since(self.began, now),
            self.pauses.since(self.engine_began, now),
            self.is_ready,
            self._peers(now),
            processes,
            unhealthy,
        )
        return watch.judge(seen, self.limits)

    # What it does

    def step(self) -> watch.Verdict | None:
        """Look once; return a verdict if the rank must end."""
        with suppress(queue.Empty):
            name = self.signals.get_nowait()
            return watch.Verdict(f"{name}: Slurm, or a person, ends the job", was_ready=self.is_ready, is_signal=True)
        if verdict := self._verdict():
            return verdict
        if self.engine and self.phase in (job_status.STARTING, job_status.RENDEZVOUS, job_status.LOADING):
            self._set_phase(self.progress.phase)
        if self.is_ready and self.phase not in (job_status.READY, job_status.DRAINING):
            self._serve()
        if self.rank == 0:
            if verdict := self._obey(time.monotonic()):
                return verdict
            self._publish()
        return None

    def _serve(self) -> None:
        self.progress.ready()
        self.ready_at = time.monotonic()
        self._set_phase(job_status.READY)
        if self.rank == 0:
            place, port = self.here, self.run_facts.port
            took = self.ready_at - self.began
            log(f"ready after {took:.0f} seconds at http://{place.client}:{port}/v1")
            if self.memory:
                self.memory.start(log)
            if self.registry:
                self.publisher.put("the registry", functools.partial(self.registry.ready, self.spec.names))

    def _obey(self, now: float) -> watch.Verdict | None:
        """Follow an order of the batch script, and a drain to its end."""
        order, seconds, at = self.orders.order if self.orders else ("", 0.0, 0.0)
        end = at + seconds if seconds else 0.0
        if order and self.drain is None and self._may_drain(order, end, now):
            self.drain = job_drain.Drain(order, self.drain_rule.until(end, now), now, self.is_ready)
            self._start_drain(self.drain)
        if self.drain is None:
            return None
        # A job that renews itself may be preempted meanwhile.
        if order == requeue.PREEMPTED and order != self.drain.order and end:
            self.drain.hurry(order, end)
        return self._follow_drain(self.drain, now)

    def _may_drain(self, order: str, end: float, now: float) -> bool:
        if not self.is_ready or self.health is None:
            return True
        was_waiting = self.drain_rule.is_waiting
        may_begin = self.drain_rule.may_begin(order, end, now, self.health.busy, self.health.counted_at)
        if self.drain_rule.is_waiting and not was_waiting:
            log(f"{order}: waiting for a time without requests")
        return may_begin

    def _start_drain(self, drain: job_drain.Drain) -> None:
        log(f"draining ({drain.order}): running requests have at most {drain.until - time.monotonic():.0f} seconds")
        self.reason = f"draining: {drain.order}"
        self._set_phase(job_status.DRAINING)
        if self.registry:
            self.publisher.put("the registry", self.registry.drain)

    def _follow_drain(self, drain: job_drain.Drain, now: float) -> watch.Verdict | None:
        engine = self.engine
        if engine is None or not drain.was_ready:
            return watch.Verdict(f"ended before it was ready ({drain.order})", is_done=True)
        if not drain.is_told and now >= drain.began + self.spec.timing.settle:
            drain.is_told = True
            if self.health:
                self.health.end()
            engine.terminate()
        if engine.process.poll() is not None:
            return watch.Verdict(f"drained: {drain.order}", is_done=True, was_ready=True)
        if now >= drain.until + 2.0:
            return watch.Verdict(f"the drain took too long ({drain.order})", is_done=True, was_ready=True)
        return None

    # The course of a run

    def start(self, scratch: Path) -> watch.Verdict | None:
        """Wait for the other ranks, then start vLLM; return a verdict if that fails."""
        self._log_start()
        if self.registry:
            self.publisher.put("the registry", self.registry.begin)
        while self.receiver and len(self.receiver.heard) < len(self.run_facts.ranks) - 1:
            if verdict := self.step():
                return verdict
            time.sleep(TICK_S)
        self._close_ports()
        if len(self.run_facts.ranks) > 1 and self.rank == 0:
            taken = node_report.ports_in_use(self.spec)
            if self.run_facts.master_port in taken:
                raise InsufficientError(
                    f"port {self.run_facts.master_port} to be free for the rendezvous of the ranks",
                    "another program on it",
                    "the job chooses another port at its next start; ss -tanp on the node names the program",
                )
        key = job_files.read_key(Path(self.spec.key_file))
        engine_config = scratch / "engine.yaml"
        engine_config.touch(0o600)
        engine_config.write_text(command.engine_config(key), encoding="ascii")
        argv = command.rank_command(self.spec, self.run_facts, self.rank, str(engine_config))
        environment = command.rank_environment(
            self.spec, self.run_facts, self.rank, os.environ, str(scratch), self.spec.key_file, _library()
        )
        log(f"starting: {' '.join(argv)}")
        if self.rank == 0:
            cache = Path(environment["HF_HOME"]) / "hub"
            self.memory = memory_report.MemoryReport(self.spec.source, cache, self.spec.gpus, self.spec.arguments)
        self.engine = engine_process.Engine(argv, environment, self._on_line)
        self.engine_began = time.monotonic()
        if self.rank == 0:
            api = probe.VllmApi(self.here.client, self.run_facts.port, key, self.spec.names[0])
            timeout_s = self.spec.timing.step + 10.0
            self.health = probe.HealthPoller(api, PROBE_EVERY_S, timeout_s, lambda: self.drain_rule.is_waiting)
            self.health.start()
        return None

    def _log_start(self) -> None:
        if self.rank == 0:
            spec, run = self.spec, self.run_facts
            log(f"Master address: {run.ranks[0].address}")
            log(f"Master port: {run.master_port}")
            log(f"Starting {spec.model} on {spec.nodes} nodes ({spec.gpus} GPUs)...")
            log(f"Tensor Parallel Size: {spec.gpus}")
        interface = self.here.interface or "no interface"
        log(f"rank {self.rank} on {self.here.host}: fabric {self.here.address} ({interface})")

    def _close_ports(self) -> None:
        """Close the ports between the ranks to all others, where the site has a guard for it."""
        if self.spec.guard and len(self.run_facts.ranks) > 1:
            fixed: dict[str, tuple[int, ...]] = {place.address: () for place in self.run_facts.ranks}
            fixed[self.run_facts.ranks[0].address] = (self.run_facts.master_port,)
            self.ports = rank_ports.RankPorts(
                self.spec.guard, self.here.address, fixed, self.run_facts.port, self._peer_ports, log
            )
            self.ports.start()

    def _peer_ports(self) -> dict[str, tuple[int, ...]]:
        """Return the ports of the other ranks, as their heartbeats report them."""
        heard = dict(self.receiver.heard) if self.receiver else {}
        return {self.run_facts.ranks[other].address: last.ports for other, (_at, last) in heard.items()}

    def run(self) -> int:
        """Run the rank to its end, and return the exit status."""
        engine_process.adopt_orphans()
        scratch: leftovers.Scratch | None = None
        try:
            scratch = leftovers.Scratch(self.run_facts.job_id)
            verdict = self.start(scratch.path)
            while verdict is None:
                time.sleep(TICK_S)
                verdict = self.step()
        except Exception as error:
            # An unforeseen error ends the job as well, and with a reason.
            kind = "" if isinstance(error, (HerdError, OSError)) else f"{type(error).__name__}: "
            verdict = watch.Verdict(f"rank {self.rank} on {self.here.host}: {kind}{reason_of(error)}")
        try:
            return self._finish(verdict)
        finally:
            # Whatever went wrong above, no process of vLLM stays.
            if self.engine is not None and not self.engine.kill():
                log("processes of vLLM do not end: their node needs an administrator")
            if scratch is not None:
                scratch.remove()

    def _cause(self, verdict: watch.Verdict) -> str:
        """Add what vLLM's log says about the cause on this node."""
        if not verdict.is_own or verdict.is_done or verdict.is_signal or self.engine is None:
            return verdict.reason
        if self.health and self.health.unhealthy:
            # An API that does not answer may belong to a vLLM that is about to end, with the cause in its last lines.
            with suppress(subprocess.TimeoutExpired):
                self.engine.process.wait(DYING_S)
        if self.engine.process.poll() is not None:
            self.engine.read_rest(1.0)
        found = self.log_reader.diagnosis()
        if found is not None and not found.is_warning:
            return f"{verdict.reason}: {found.reason}"
        first = self.log_reader.first_error
        return f"{verdict.reason}: {first}" if first else verdict.reason

    def _is_permanent(self, verdict: watch.Verdict) -> bool:
        """Say whether the settings or the model are the cause of a start that failed, so that each start fails."""
        if self.ready_at:
            return False
        found = self.log_reader.diagnosis() if self.engine else diagnosis.diagnose([verdict.reason])
        return found is not None and found.is_permanent

    def _finish(self, verdict: watch.Verdict) -> int:
        """End this rank: tell the others, publish the reason, and end all processes of vLLM."""
        if self.health:
            self.health.end()
        self.reason = plain(self._cause(verdict))
        self.end = heartbeat_message.DONE if verdict.is_done else heartbeat_message.FAILED
        log(f"rank {self.rank} on {self.here.host} ends: {self.reason}")
        served_s = time.monotonic() - self.ready_at if self.ready_at else 0.0
        facts = {"rank": self.rank, "host": self.here.host, "end": self.end, "reason": self.reason}
        facts.update(is_own=verdict.is_own, served_s=served_s, is_permanent=self._is_permanent(verdict))
        self.publisher.put("the report", lambda: self.folder.write_end(self.rank, facts))
        if self.registry:
            self.publisher.put("the registry", self.registry.remove)
        # Whether the job has failed or is requeued, the batch script decides.
        self.phase = job_status.DRAINING
        self._publish()
        if self.sender:
            self.sender.tell(1.0)
        if self.engine:
            # An API that got SIGTERM tells its clients nothing any more: their streams are cut at once.
            is_gone = self.engine.end(FAREWELL_S if self.rank == 0 and not verdict.is_signal else 0.0)
            log("all processes of vLLM have ended" if is_gone else "some processes of vLLM do not end")
        self.publisher.finish(5.0)
        if self.end == heartbeat_message.FAILED:
            self._linger()
        return 0 if self.end == heartbeat_message.DONE else 1

    def _linger(self) -> None:
        """Wait until the other ranks have ended, too: Slurm kills them when this one fails."""
        until = time.monotonic() + LINGER_S
        while time.monotonic() < until:
            peers = self._peers(time.monotonic())
            if all(p.heard_s is None or p.heard_s > 2.0 or (p.last and p.last.end) for p in peers):
                # Their processes need a moment more.
                time.sleep(FAREWELL_S if peers and self.rank else 0.0)
                return
            time.sleep(TICK_S)


def _library() -> str:
    """Return the folder of the package that vLLM imports the key guard from."""
    return str(Path(__file__).resolve().parents[3])


def run_rank(
    spec: job_spec.JobSpec, job_id: str, rank: int, restarts: int, limits: watch.WatchLimits | None = None
) -> int:
    """Run one rank of a job in a step of Slurm.

    :param restarts: how often Slurm has requeued the job, so that no file of an earlier run is used.
    :param limits: other limits than those of the specification.
    """
    signals: queue.SimpleQueue[str] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: signals.put(signal.Signals(received).name))
    # Slurm sends these to the batch script only. A rank that gets one goes on.
    # They are not ignored, since vLLM would inherit that.
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, lambda _received, _frame: None)
    folder = job_files.JobFolder(spec, job_id)
    limits = limits or watch.WatchLimits(join_s=float(spec.timing.join), load_s=float(spec.timing.load))
    run = folder.read_run(restarts)
    try:
        one = Rank(folder, run, rank, limits, signals)
    except OSError as error:
        where = f"{run.ranks[rank].address}:{run.heartbeat_port}"
        reason = f"rank {rank} on {run.ranks[rank].host}: heartbeats cannot be received at {where}: {error.strerror}"
        log(reason)
        folder.write_end(rank, {"rank": rank, "end": heartbeat_message.FAILED, "reason": reason, "is_own": True})
        return 1
    return one.run()
