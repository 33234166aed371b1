# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's metrics for Prometheus. A request reads no file and runs no program: threads sample what is slow."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...core.engine.command_line import value_of
from ...core.release import units
from ...core.supervision import node_metrics
from ...core.supervision.heartbeat import Heartbeat
from ...core.supervision.metrics_text import MetricsText
from . import heartbeat_client, local_state, sampled_files
from .engine_poller import EnginePoller
from .router_monitor import RouterMonitor
from .supervised_engine import ObservedProcess, SupervisedEngine

#: Seconds for which an answer is used again, so that many requests cost little.
REUSE_S = 1.0
#: Older values of GPUs are left out: nvidia-smi hangs in the driver.
OLDEST_GPU_S = 60.0
#: The version of the installed files is the name of their folder: C(VERSION/lib/herd/agent/supervisor/metrics.py).
_VERSION_FOLDER = 4


def version() -> str:
    """Return the version of the agent's installed files."""
    return Path(__file__).resolve().parents[_VERSION_FOLDER].name


@dataclass(frozen=True)
class Parts:
    """The parts of the agent that know something.

    :param causes: recoveries by cause, of each unit.
    """

    head: ObservedProcess
    worker: ObservedProcess
    engine: SupervisedEngine
    router: RouterMonitor
    gpus: local_state.Gpus
    followers: heartbeat_client.Followers
    causes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def _add_process(text: MetricsText, observed: ObservedProcess, booted: float) -> None:
    process, name = observed.process, observed.name
    if not observed.unit.loaded or not process.started:
        return
    text.add("herd_unit_process_start_time_seconds", round(booted + process.started), name)
    text.add("herd_unit_process_cpu_seconds_total", process.cpu_s, name)
    text.add("herd_unit_process_stopped", process.state == "T", name)


def _add_engine(text: MetricsText, unit: str, model: str, file: str, poller: EnginePoller, now: float) -> None:
    slots = (poller.slots.total, poller.slots.busy, poller.waiting) if poller.slots.known else (-1, -1, -1)
    node_metrics.add_engine(text, unit, model, slots, poller.counters, max(0.0, now - poller.counted_at))
    if model or file:
        text.add("herd_model_info", 1, unit, model, file)


class AgentMetrics:
    """Write the metrics of this node."""

    def __init__(self, parts: Parts, samples: sampled_files.SampledFiles) -> None:
        self.parts, self.samples = parts, samples
        self._started = time.time()
        self._version = version()
        self._observed: tuple[float, Heartbeat | None] = (time.monotonic(), None)
        self._lock = threading.Lock()
        self._written: tuple[float, bytes] = (-REUSE_S, b"")

    def observe(self, now: float, observed: Heartbeat) -> None:
        """Keep the last observation of the node."""
        self._observed = now, observed

    def text(self) -> bytes:
        """Write all metrics; the last answer again, if it is younger than REUSE_S."""
        with self._lock:
            now = time.monotonic()
            if now - self._written[0] >= REUSE_S:
                self._written = now, self._write(now, time.time())
            return self._written[1]

    def _write(self, now: float, wall: float) -> bytes:
        text = MetricsText()
        observed_at, heartbeat = self._observed
        booted = wall - time.clock_gettime(time.CLOCK_BOOTTIME)
        text.add("herd_agent_start_time_seconds", round(self._started))
        text.add("herd_agent_tick_age_seconds", max(0.0, now - observed_at))
        text.add("herd_agent_cpu_seconds_total", sum(os.times()[:4]))
        text.add("herd_node_boot_time_seconds", round(booted))
        if heartbeat is not None:
            text.add("herd_agent_info", 1, heartbeat.node, self._version)
            self._add_heartbeat(text, heartbeat)
        for observed in (self.parts.worker, self.parts.head, self.parts.router.observed):
            _add_process(text, observed, booted)
        self._add_engines(text, now)
        self._add_peers(text, now)
        self._add_gpus(text, now)
        self.samples.add(text, now, wall)
        return text.text()

    def _add_heartbeat(self, text: MetricsText, heartbeat: Heartbeat) -> None:
        text.add("herd_node_held", heartbeat.hold is not None)
        for service in heartbeat.services:
            node_metrics.add_service(text, service)
            node_metrics.add_recoveries(text, service.unit, self.parts.causes.get(service.unit, {}))
        if heartbeat.router is not None:
            node_metrics.add_recoveries(text, units.ROUTER, self.parts.router.causes)
        for head in heartbeat.heads:
            node_metrics.add_head(text, head)
        if heartbeat.worker is not None:
            node_metrics.add_worker(text, heartbeat.worker)
        node_metrics.add_disks(text, heartbeat.disks)

    def _add_engines(self, text: MetricsText, now: float) -> None:
        arguments, poller = self.parts.head.process.arguments, self.parts.engine.poller
        if poller.api is not None:
            file = Path(value_of(arguments, "--model", "-m")).name
            _add_engine(text, units.HEAD, poller.api.model, file, poller, now)
        for name, model in list(self.parts.router.models.items()):
            _add_engine(text, units.ROUTER, name, model.file, model.poller, now)

    def _add_gpus(self, text: MetricsText, now: float) -> None:
        gpus = self.parts.gpus
        if gpus.is_known:
            age_s = max(0.0, now - gpus.answered_at) if gpus.answered_at else None
            is_old = age_s is not None and age_s > OLDEST_GPU_S
            node_metrics.add_gpus(text, None if is_old else gpus.report, age_s)

    def _add_peers(self, text: MetricsText, now: float) -> None:
        followers = self.parts.followers
        for name in followers.names():
            seen = followers.last(name, now)
            if seen is None:
                continue
            text.add("herd_peer_up", seen.heartbeat is not None, name)
            text.add("herd_peer_heartbeat_age_seconds", followers.age_s(name, now), name)
            worker = seen.heartbeat.worker if seen.heartbeat is not None else None
            if worker is not None and worker.release:
                text.add("herd_peer_release_info", 1, name, worker.release)
