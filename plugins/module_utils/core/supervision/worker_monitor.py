# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitor the worker of this host for failures that only its host sees; systemd restarts a worker that exits."""

from __future__ import annotations

from collections import Counter

from .actions import LOG, RESTART, Action
from .limits import Backoff, RecoveryLimits, is_paused
from .metric_names import STALE, STANDSTILL
from .observations import STOPPED, WorkerObservation


class WorkerMonitor:
    """Decide when the worker of this host must be restarted; call C(step) periodically."""

    def __init__(self, limits: RecoveryLimits) -> None:
        self.limits = limits
        self.backoff = Backoff(limits.backoff_s, limits.calm_s)
        self._last: float | None = None
        self._process = (0, 0.0)
        self._since: dict[str, float] = {}
        self._is_waiting = False
        #: How often the monitor asked for a restart, by cause (metric_names.py).
        self.causes: Counter[str] = Counter()

    def _lasts(self, topic: str, is_so: bool, now: float) -> float:
        if not is_so:
            self._since.pop(topic, None)
            return -1.0
        return now - self._since.setdefault(topic, now)

    def step(self, now: float, worker: WorkerObservation, hold: str = "") -> list[Action]:
        """Evaluate one observation and return the actions.

        :param hold: why nothing is to be done on this host; empty without a hold.
        """
        process = (worker.pid, worker.started)
        was_paused, self._last = is_paused(self._last, now), now
        if was_paused or hold or worker.job or worker.active != "active" or not worker.pid or process != self._process:
            self._process, self._since, self._is_waiting = process, {}, False
            return []
        frozen = self._lasts("frozen", worker.state == STOPPED, now)
        stale = self._lasts("stale", worker.stale > 0, now)
        reason = ""
        if frozen >= self.limits.frozen_s:
            reason = f"the worker's process {worker.pid} has been stopped for {frozen:.0f} seconds"
        elif stale >= self.limits.stale_s:
            reason = f"the worker keeps a connection that its head closed {stale:.0f} seconds ago: it is hung"
        if not reason:
            return []
        if self.backoff.wait(now) > 0:
            if self._is_waiting:
                return []
            self._is_waiting = True
            text = f"{reason}; {self.backoff.count} restarts one after the other, so the next one waits"
            return [Action(LOG, text)]
        self.backoff.note(now)
        self._since = {}
        self.causes[STANDSTILL if frozen >= self.limits.frozen_s else STALE] += 1
        return [Action(RESTART, reason)]
