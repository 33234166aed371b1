# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's own entry in the registry of endpoints: one file that only this job writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.engine.throughput import EngineLoad
from ...core.slurm import endpoint_registry, job_spec
from ..common.atomic_files import write_whole

EVERY_S = endpoint_registry.HEARTBEAT_S


class Registry:
    """The entry, written whenever it changes and every two seconds as a sign of life."""

    def __init__(self, job: job_spec.Job, head: job_spec.Node, job_id: str, release: str) -> None:
        self.folder, self.path = Path(job.registry), Path(job.registry) / endpoint_registry.file_name(job.tier, job_id)
        self.job, self.head, self.job_id, self.release = job, head, job_id, release
        self.state, self.percent, self.port = "", 0, 0
        self.models: list[str] = [model.id for model in job.models]
        self.started = time.time()
        self.doing = EngineLoad()
        self.gpus: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        self._is_over = False

    def begin(self) -> None:
        """There is a job, and its model is not loaded."""
        with self._lock:
            is_first, self.state, self.percent = not self.state, "loading", 0
        self._write()
        if is_first:
            threading.Thread(target=self._beat, daemon=True).start()

    def at(self, port: int) -> None:
        """The port is known."""
        self.port = port
        self._write()

    def load(self, percent: int) -> None:
        """So much is loaded; it never becomes less."""
        with self._lock:
            is_more = self.state == "loading" and percent > self.percent
            self.percent = max(self.percent, percent) if is_more else self.percent
        if is_more:
            self._write()

    def ready(self, models: Sequence[str]) -> None:
        """It answers."""
        with self._lock:
            self.models, self.state, self.percent = list(models), "ready", 100
        self._write()

    def drain(self) -> None:
        """It answers what it has begun, and is to get no more."""
        with self._lock:
            self.state = "draining"
        self._write()

    def remove(self) -> None:
        """There is nothing any more."""
        with self._lock:
            self._is_over = True
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._is_over:
            time.sleep(EVERY_S)
            try:
                self._write()
            except Exception as error:
                # Whatever it is: without this thread an engine that serves would be taken for dead.
                print(f"the sign of life was not written: {type(error).__name__}: {error}", flush=True)

    def _write(self) -> None:
        with self._lock:
            # Nothing can be asked where there is no port yet.
            if self._is_over or not self.port:
                return
            entry = endpoint_registry.Endpoint(
                tier=self.job.tier,
                job_id=self.job_id,
                host=self.head.name,
                address=self.head.address,
                port=self.port,
                models=tuple(self.models),
                state=self.state,
                percent=self.percent,
                context=int(self.job.settings["context"]),
                slots=int(self.job.settings["slots"]),
                release=self.release,
                started=self.started,
                heartbeat=time.time(),
                load=self.doing.as_data(dict(self.gpus)),
            )
            try:
                write_whole(self.path, endpoint_registry.write(entry))
            except OSError as error:
                print(f"the registry cannot be written: {error}", flush=True)
