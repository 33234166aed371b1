# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier manager: keeps one Slurm job for each tier and publishes the tier status.

core/slurm/manager.py decides; this module observes, acts and logs. Slurm and the shared file system may hang, so each
is read in its own thread, and the status is written in any case.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core.errors import RemoteFailureError
from ...core.slurm import endpoint_registry, job_reasons, tier_report, tier_state, tier_status
from ...core.slurm import manager as tier_manager
from ...core.slurm.queue import Ending
from ...core.slurm.tier_state import Action, Observation, QueueSnapshot, TierSpec
from ...core.text import plain
from ..common.atomic_files import write_whole
from ..common.command import CommandResult
from ..common.log import log
from ..common.systemd_notify import notify
from .client import SBATCH_TIMEOUT_S, TIMEOUT_S, SlurmClient
from .manager_state import MOST_SLURM_S, ManagerSettings, ManualStops, TierStates
from .registry_io import read_registry

TICK_S = 0.25
REGISTRY_S = 0.5
#: Seconds until the next read of the queue, after a failure and after an action.
AFTER_FAILURE_S, AFTER_ACTION_S = 5.0, 1.0
#: Seconds after which an unanswered squeue is reported; it tries for a while before it fails.
SILENT_S = 10.0
#: Longer than any wait of the Slurm thread. After that the thread hangs, and systemd restarts the manager.
STUCK_S = max(SBATCH_TIMEOUT_S, TIMEOUT_S, MOST_SLURM_S) + 30.0
#: Seconds between two scancel calls for an orphaned job.
ORPHAN_AGAIN_S = 90.0


@dataclass(frozen=True)
class RegistrySnapshot:
    """Content of the registry when it was last read.

    :param when: monotonic time of the read; 0 before the first one.
    """

    when: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    tracker: endpoint_registry.HeartbeatTracker = field(default_factory=endpoint_registry.HeartbeatTracker)


class Manager:
    """Follows Slurm and the registry, and keeps one job for each tier."""

    def __init__(self, settings: ManagerSettings) -> None:
        self.settings = settings
        self.names = [spec.name for spec in settings.tiers]
        self.slurm, self.stops = SlurmClient(), ManualStops(settings.state)
        self.states = TierStates(settings.state / "tier-states.json", self.names)
        self.queue = QueueSnapshot()
        self.registry = RegistrySnapshot()
        self.registry_problem = ""
        self.first_seen: dict[tuple[str, float], float] = {}
        self.endings: dict[str, Ending] = {}
        self.drained: dict[str, int] = {}
        self.cancelled_orphans: dict[str, float] = {}
        self.published: dict[str, str] = {}
        self.written: tuple[float, str] = (0.0, "")
        self._wake = threading.Event()
        # Guards what both the Slurm thread and the publishing thread change.
        self._lock = threading.Lock()

    # Observe

    def follow_registry(self) -> None:
        """Read the registry again and again."""
        while True:
            try:
                self.refresh_registry()
                self._remove_leftovers()
                self.registry_problem = ""
            except Exception as error:
                # Only this thread reads the registry, so it must go on after any error.
                text = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                self.registry_problem = f"the registry {self.settings.registry} cannot be read: {text}"
            time.sleep(REGISTRY_S)

    def refresh_registry(self) -> None:
        """Read the registry once."""
        files, broken = read_registry(self.settings.registry)
        now = time.monotonic()
        tracker = endpoint_registry.track(self.registry.tracker, files, time.time(), now)
        self.registry = RegistrySnapshot(now, files, broken, tracker)

    def _remove_leftovers(self) -> None:
        """Remove the registry files of jobs that ended long ago. No other program does."""
        queue, found = self.queue, self.registry
        if queue.problem or not queue.taken:
            return
        jobs = {job.id for job in queue.jobs}
        for name in endpoint_registry.leftovers(found.files, jobs, found.tracker.heartbeats, found.when):
            with suppress(OSError):
                (self.settings.registry / name).unlink()
                log(f"removed {name} from the registry: its job ended long ago")

    def observe(self, wall: float) -> tuple[Observation, endpoint_registry.Registry]:
        """Put together what is known of Slurm, the registry and the operators' stops."""
        found, queue, now = self.registry, self.queue, time.monotonic()

        def registry(gone: Collection[str]) -> endpoint_registry.Registry:
            heartbeats = found.tracker.heartbeats
            return endpoint_registry.read_all(found.files, wall, self.names, gone, found.broken, heartbeats, now)

        with self._lock:
            entries = registry(())
            runs = {tier_state.run_of(entry) for entry in entries.alive}
            # Never later than now: the clock may have been set back.
            self.first_seen = {run: min(wall, self.first_seen.get(run, wall)) for run in runs}
            gone = tier_state.gone_jobs(entries.alive, queue, self.first_seen)
            if gone:
                entries = registry(gone)
            # The restart count of a job that is ending may already be that of its next run.
            restarts = {job.id: job.restarts for job in queue.jobs if job.is_running}
            for entry in entries.alive:
                if entry.state == endpoint_registry.DRAINING and entry.job_id in restarts:
                    self.drained[entry.job_id] = restarts[entry.job_id]
            endings, drained = dict(self.endings), dict(self.drained)
        if queue.taken and not queue.problem and wall - queue.taken > SILENT_S + self.settings.every:
            queue = replace(queue, problem=f"no answer for {wall - queue.taken:.0f} seconds", since=queue.taken)
        stops = self.stops.all(self.names)
        return Observation(wall, queue, entries.alive, stops, endings, drained), entries

    def _awaits_heartbeat(self) -> bool:
        """Say whether a dead entry was not tracked for long enough to see its heartbeat change."""
        _observed, entries = self.observe(time.time())
        heartbeats = self.registry.tracker.heartbeats
        return any(dead.file in heartbeats and not heartbeats[dead.file].has_changed for dead in entries.dead)

    # Act

    def follow_slurm(self) -> None:
        """Read the queue, decide and act, again and again."""
        while True:
            pause = self.settings.every
            self.slurm.last_run = time.monotonic()
            try:
                queue = self.slurm.queue(self.queue)
                if bool(queue.problem) != bool(self.queue.problem):
                    log(f"Slurm does not answer: {queue.problem}" if queue.problem else "Slurm answers")
                self.queue = queue
                if queue.problem:
                    pause = AFTER_FAILURE_S
                elif self.act():
                    pause = min(AFTER_ACTION_S, pause)
            except Exception as error:
                # Without this thread no tier would get a job again.
                log(f"an action failed, and is tried again: {type(error).__name__}: {error}")
                pause = AFTER_FAILURE_S
            self._wake.wait(pause)
            self._wake.clear()

    def act(self) -> bool:
        """Decide and act for every tier; say whether there was an action."""
        has_acted = [self._act_for(spec) for spec in self.settings.tiers]
        self._cancel_orphans()
        live = {job.id for job in self.queue.jobs} | {state.job for state in self.states.of.values()}
        with self._lock:
            self.endings = {job: ending for job, ending in self.endings.items() if job in live}
            self.drained = {job: count for job, count in self.drained.items() if job in live}
        return any(has_acted)

    def _act_for(self, spec: TierSpec) -> bool:
        observed, _registry = self.observe(time.time())
        actions = self.states.decide(spec.name, lambda state: tier_manager.step(spec, state, observed))
        for action in actions:
            self._apply(spec, action)
        return bool(actions)

    def _cancel_orphans(self) -> None:
        """Cancel the jobs of tiers that are no longer in the inventory: Slurm would requeue them forever."""
        now = time.monotonic()
        found = tier_state.orphaned_jobs(self.settings.tiers, self.states.of, self.queue, self.settings.user)
        self.cancelled_orphans = {job: at for job, at in self.cancelled_orphans.items() if now - at < ORPHAN_AGAIN_S}
        for job in found:
            if job.id not in self.cancelled_orphans:
                self.cancelled_orphans[job.id] = now
                self._cancel(tier_state.tier_of(job) or plain(job.name), job.id, "its tier is not in the inventory")

    def _cancel(self, name: str, job: str, reason: str) -> None:
        log(f"{name}: ending job {job}: {reason}")
        self._log_failure(name, f"scancel {job}", self.slurm.cancel(job))

    @staticmethod
    def _log_failure(name: str, what: str, result: CommandResult) -> None:
        if result.status:
            log(f"{name}: {what}: {result.error}")

    def _apply(self, spec: TierSpec, action: Action) -> None:
        if action.kind == tier_state.EXPLAIN:
            ending = self.slurm.ending(action.job, self.queue, self.settings.logs)
            with self._lock:
                self.endings[action.job] = ending
            log(f"{spec.name}: {job_reasons.explain(action.job, ending)[0]}")
        elif action.kind == tier_state.CANCEL:
            self._cancel(spec.name, action.job, action.reason)
        elif action.kind == tier_state.RENEW:
            log(f"{spec.name}: asking job {action.job} to requeue itself in an idle window: {action.reason}")
            self._log_failure(spec.name, f"signal to job {action.job}", self.slurm.ask_to_requeue(action.job))
        elif action.kind == tier_state.SUBMIT:
            self._submit(spec)

    def _submit(self, spec: TierSpec) -> None:
        self.states.change(spec.name, lambda state: tier_manager.about_to_submit(state, time.time()))
        result, job = self.slurm.submit(spec)
        text = f"{result.err} {result.out}"
        self.states.change(
            spec.name, lambda state: tier_manager.submitted(spec, state, time.time(), result.status, job, text)
        )
        log(f"{spec.name}: submitted job {job}" if job else f"{spec.name}: sbatch {spec.script}: {result.error}")

    # Publish

    def publish(self) -> None:
        """Write the tier status if it has changed or is about to become old."""
        wall = time.time()
        observed, registry = self.observe(wall)
        notes = [f"{dead.file} in the registry is dead: {dead.reason}" for dead in registry.dead]
        notes += registry.clocks
        notes += [self.registry_problem] if self.registry_problem else []
        unread = time.monotonic() - self.registry.when
        if self.registry.when and unread > endpoint_registry.LIFE_S:
            notes.append(f"the registry has not been read for {unread:.0f} seconds")
        view = tier_report.report_all(self.settings.tiers, self.states.of, observed, notes)
        for name, tier in view.tiers.items():
            self._note_change(name, tier)
        # Without times, which always change.
        content = json.dumps({name: [tier.state, tier.reason, [e.where for e in tier.endpoints]]
                              for name, tier in view.tiers.items()})  # fmt: skip
        if content != self.written[1] or not 0 <= wall - self.written[0] < tier_status.EVERY_S - TICK_S:
            write_whole(self.settings.view, tier_status.write(view))
            self.written = (wall, content)

    def _note_change(self, name: str, tier: tier_status.TierReport) -> None:
        before = self.published.get(name)
        if tier.state == before:
            return
        self.published[name] = tier.state
        log(f"{name}: {tier.state}" + (f" ({tier.reason})" if tier.reason else ""))
        if tier.state == tier_status.READY and before == tier_status.LOADING:
            self.states.change(name, lambda state: tier_state.loaded_in(state, tier.endpoints[0]))
        # A change in the registry shows in the queue soon.
        self._wake.set()

    def run(self) -> None:
        """Start the threads, and publish the tier status forever."""
        for work in (self.follow_registry, self.follow_slurm):
            threading.Thread(target=work, daemon=True).start()
        self._wait_for(self._has_read_both, TIMEOUT_S)
        # Wait for a second heartbeat of each engine: a wrong clock on its node makes one heartbeat look too old.
        # Meanwhile the former status stays valid.
        self._wait_for(lambda: not self._awaits_heartbeat(), endpoint_registry.STILL_S)
        self.publish()
        notify("READY=1")
        log(f"keeping {', '.join(self.names) or 'no tier'}")
        while True:
            # Without the watchdog message systemd restarts the manager.
            if time.monotonic() - self.slurm.last_run < STUCK_S:
                notify("WATCHDOG=1")
            time.sleep(TICK_S)
            self.publish()

    def _has_read_both(self) -> bool:
        return bool((self.queue.taken or self.queue.problem) and (self.registry.when or self.registry_problem))

    @staticmethod
    def _wait_for(is_done: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not is_done() and time.monotonic() < until:
            time.sleep(TICK_S)


def locked(folder: Path) -> Any:
    """Take the lock of the tier manager, and return the open file that holds it."""
    stream = (folder / "lock").open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise RemoteFailureError(
            "no other tier manager", f"one that holds {folder / 'lock'}", "stop herd-tiers.service first"
        ) from error
    return stream
