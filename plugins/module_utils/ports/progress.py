# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the progress of a long-running module to a file, which plugin_utils/long_running.py reads."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from . import files


class ProgressFile:
    """A progress file, which is replaced atomically and at most once per INTERVAL.

    :param path: file to write; None writes nothing.
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

    def update(self, what: str, done: float = 0, total: float | None = None) -> None:
        """Record the current phase and its progress. The remaining time is estimated from the rate of this phase."""
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
            "percent": round(100.0 * done / total, 1) if total else None,
        }
        if moved > 0 and elapsed > 1:
            if self._unit == "bytes":
                state["bytes_per_second"] = round(moved / elapsed)
            if total:
                state["seconds_left"] = round((total - done) * elapsed / moved)
        self._write(state)
        self._written_at = now

    def finish(self) -> None:
        """Record that the module is about to return, so that the controller does not sleep."""
        self._write({"what": self._what or "done", "finished": True})

    def _write(self, state: dict[str, Any]) -> None:
        if self._path is None:
            return
        # Without fsync, since the progress is not needed after a power loss. Nor may a full disk raise here: that would
        # hide the error that reports it.
        with contextlib.suppress(OSError), files.replacing(self._path) as scratch:
            scratch.write_text(json.dumps({"finished": False, **state}), encoding="utf-8")
