# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which a long job says how far it is; plugin_utils/long_running.py reads it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from . import files


class ProgressFile:
    """Written atomically and not more often than INTERVAL, so that it costs the work nothing.

    :param path: where to write; None for a job that nobody watches.
    :param unit: what C(done) and C(total) count: C(bytes), C(steps), …
    """

    INTERVAL = 0.5

    def __init__(self, path: Path | None, unit: str) -> None:
        self._path = path
        self._unit = unit
        self._written_at = float("-inf")
        self._what = ""
        self._phase_began = time.monotonic()
        self._phase_base = 0.0

    def update(self, what: str, done: float, total: float | None = None) -> None:
        """Say what is being done and how much of it; the time that is left follows from the pace so far."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._phase_began, self._phase_base = what, now, done
        elif now - self._written_at < self.INTERVAL:
            return
        elapsed, moved = now - self._phase_began, done - self._phase_base
        state: dict[str, Any] = {
            "what": what,
            "done": done,
            "total": total,
            "unit": self._unit,
            "percent": None,
        }
        if total:
            state["percent"] = round(100.0 * done / total, 1)
        if moved > 0 and elapsed > 1:
            if self._unit == "bytes":
                state["bytes_per_second"] = round(moved / elapsed)
            if total:
                state["seconds_left"] = round((total - done) * elapsed / moved)
        self._write(state)
        self._written_at = now

    def finish(self) -> None:
        """The job is about to return; whoever waits need not sleep."""
        self._write({"what": self._what or "done", "finished": True})

    def _write(self, state: dict[str, Any]) -> None:
        if self._path is None:
            return
        # Without fsync: nobody needs the progress after a power loss.
        scratch = files.scratch_path(self._path)
        scratch.write_text(json.dumps({"finished": False, **state}), encoding="utf-8")
        scratch.replace(self._path)
