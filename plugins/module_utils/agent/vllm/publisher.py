# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish what a rank knows: its report, and for rank 0 the status file and the registry entry.

The shared file system may hang for minutes. So one thread writes, and the watch over the ranks goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...core.errors import reason_of
from ...core.slurm.endpoint_registry import Endpoint
from ...core.vllm import job_status
from ...core.vllm.job import run as job_run
from ...core.vllm.job import spec as job_spec
from ..common.log import log_with_time as log
from ..slurm.registry_entry import RegistryEntry
from .job_files import JobFolder

#: Seconds between two writes of an unchanged status.
EVERY_S = job_status.HEARTBEAT_S / 2
ORDER_EVERY_S = 0.5


class Publisher:
    """Runs writes in one thread, in their order. Of several waiting writes of one name, only the last is done."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Callable[[], object]] = {}
        self._is_working = False
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, name: str, work: Callable[[], object]) -> None:
        """Do work soon."""
        with self._changed:
            self._waiting[name] = work
            self._changed.notify_all()

    def finish(self, timeout_s: float) -> None:
        """Wait until all is done."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_working, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_working = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                name = next(iter(self._waiting))
                work, self._is_working = self._waiting.pop(name), True
            try:
                work()
            except Exception as error:
                # Without this thread the job would seem to be dead.
                log(f"herd: {name} is not written: {reason_of(error)}")


class OrderReader:
    """Reads the batch script's order to rank 0, in its own thread."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        #: The order, its seconds, and when it was read; empty without one.
        self.order: tuple[str, float, float] = ("", 0.0, 0.0)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            time.sleep(ORDER_EVERY_S)
            order, seconds = self._folder.read_order()
            if order and (order, seconds) != self.order[:2]:
                self.order = (order, seconds, time.monotonic())


class StatusFile:
    """The status of the job, which rank 0 publishes."""

    def __init__(self, folder: JobFolder, run: job_run.Run, publisher: Publisher) -> None:
        spec, here = folder.spec, run.ranks[0]
        self._folder, self._publisher, self._written = folder, publisher, 0.0
        self._status = job_status.JobStatus(
            job_id=run.job_id,
            model=spec.model,
            phase=job_status.STARTING,
            served_name=spec.names[0],
            host=here.host,
            address=here.client,
            port=run.port,
            key_file=spec.key_file,
            started=time.time(),
            restarts=run.restarts,
            log=spec.log_path(run.job_id),
        )

    def set(self, phase: str, percent: int, reason: str, ranks: tuple[job_status.RankStatus, ...]) -> None:
        """Change the status, and write it if it has changed or is old."""
        found = replace(self._status, phase=phase, percent=percent, reason=reason, ranks=ranks)
        is_old = time.monotonic() - self._written >= EVERY_S
        if found != self._status or is_old:
            self._status, self._written = found, time.monotonic()
            current = replace(found, updated=time.time())
            self._publisher.put("the status", lambda: self._folder.write_status(current))


def registry_entry(spec: job_spec.JobSpec, run: job_run.Run) -> RegistryEntry | None:
    """Make the job's entry in the endpoint registry; None without a gateway."""
    if not spec.registry:
        return None
    here = run.ranks[0]
    endpoint = Endpoint(
        tier=spec.tier,
        job_id=run.job_id,
        host=here.host,
        address=here.client,
        port=run.port,
        models=spec.names,
        state="",
        percent=0,
        context=spec.context,
        slots=spec.slots,
        release=f"vllm-{spec.vllm_release}" if spec.vllm_release else "vllm",
        started=0.0,
        heartbeat=0.0,
    )
    return RegistryEntry(Path(spec.registry), endpoint)
