# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a job's entry in the endpoint registry: one file that only this job writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.engine.throughput import EngineLoad
from ...core.slurm import endpoint_registry
from ..common.atomic_files import write_whole
from ..common.log import log_with_time as log

EVERY_S = endpoint_registry.HEARTBEAT_S


class RegistryEntry:
    """A job's entry. It is written on each change, and every two seconds as a heartbeat.

    :param folder: the endpoint registry.
    :param endpoint: the endpoint without its state, its times, and a port that is chosen later.
    """

    def __init__(self, folder: Path, endpoint: endpoint_registry.Endpoint) -> None:
        self.folder, self.path = folder, folder / endpoint_registry.file_name(endpoint.tier, endpoint.job_id)
        self._endpoint = endpoint
        self.state, self.percent, self.port = "", 0, endpoint.port
        self.models: list[str] = list(endpoint.models)
        self.started = time.time()
        self.engine_load = EngineLoad()
        self.gpus: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        self._is_over = False

    def begin(self) -> None:
        """Start to load: the job runs, and its model is not loaded."""
        is_first = not self.state
        self._set("loading", 0)
        if is_first:
            threading.Thread(target=self._beat, daemon=True).start()

    def set_port(self, port: int) -> None:
        """Set the port. There is no entry before."""
        self.port = port
        self._write()

    def load(self, percent: int) -> None:
        """Set the loaded percentage, which never decreases."""
        with self._lock:
            is_more = self.state == "loading" and percent > self.percent
            self.percent = max(self.percent, percent) if is_more else self.percent
        if is_more:
            self._write()

    def ready(self, models: Sequence[str]) -> None:
        """Serve: the engine answers."""
        self.models = list(models)
        self._set("ready", 100)

    def drain(self) -> None:
        """Drain: the engine finishes its requests and gets no new ones."""
        self._set("draining", self.percent)

    def _set(self, state: str, percent: int) -> None:
        with self._lock:
            self.state, self.percent = state, percent
        self._write()

    def remove(self) -> None:
        """Remove the entry, and write it no more."""
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
                # Without this thread, a serving engine would count as dead.
                log(f"heartbeat not written: {type(error).__name__}: {error}")

    def _write(self) -> None:
        with self._lock:
            # Without a port there is nothing to send requests to.
            if self._is_over or not self.port:
                return
            entry = replace(
                self._endpoint,
                port=self.port,
                models=tuple(self.models),
                state=self.state,
                percent=self.percent,
                started=self.started,
                heartbeat=time.time(),
                load=self.engine_load.as_data(dict(self.gpus)),
            )
            try:
                write_whole(self.path, endpoint_registry.write(entry))
            except OSError as error:
                log(f"the registry cannot be written: {error}")
