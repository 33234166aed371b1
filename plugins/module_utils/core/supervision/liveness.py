# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge whether an engine's process makes progress: by its API, its slots and its processor time."""

from __future__ import annotations

from .limits import RecoveryLimits
from .observations import MUTE, STOPPED, HeadObservation, ProbeResult

# A process computes if it uses this share of one processor during so many seconds.
LEAST_SHARE, SAMPLE_S = 0.002, 10.0


class Liveness:
    """Follow the progress of one engine.

    :param name: names the engine in reasons ("the head").
    :ivar token_at: when the engine made its last token.
    """

    def __init__(self, limits: RecoveryLimits, name: str) -> None:
        self.limits, self.name = limits, name
        self.token_at = 0.0
        self._progress, self._progress_at = "", 0.0
        self._has_answered = False
        self._slots_silent_at: float | None = None
        self._mute_at: float | None = None
        self._stopped_at: float | None = None
        self._computed_at = 0.0
        self._cpu = (0.0, 0.0)

    def begin_process(self, now: float, head: HeadObservation) -> None:
        """Follow a new process."""
        self._progress, self._cpu = head.progress, (now, head.cpu_s)
        self._stopped_at = None
        self.restart_timers(now)

    def restart_timers(self, now: float) -> None:
        """Count times from now on: the agent or the process was stopped, or the agent may not act."""
        self._progress_at = self.token_at = self._computed_at = now
        self._slots_silent_at = self._mute_at = None

    def update_cpu(self, now: float, head: HeadObservation) -> None:
        """Note whether the process computes."""
        began, used = self._cpu
        if now - began >= SAMPLE_S:
            if head.cpu_s - used >= LEAST_SHARE * (now - began):
                self._computed_at = now
            self._cpu = (now, head.cpu_s)

    def note_probe(self, now: float, probe: ProbeResult) -> None:
        """Count the end of a probe as progress. A probe that could not be sent is sent again later."""
        self._progress_at, self._slots_silent_at, self._mute_at = now, None, None
        if probe.answered:
            self.token_at = now

    def suspicion(self, now: float, head: HeadObservation) -> str:
        """Return why the engine may hang although its process runs; empty if it makes progress."""
        if head.health in MUTE:
            return self._muteness(now, head)
        self._mute_at = None
        self._has_answered = self._has_answered or head.health in ("ok", "loading")
        if head.health != "ok":
            return ""
        # Without an answer of the slots, the progress is unknown and counts as unchanged.
        if head.slots_known and head.progress != self._progress:
            self._progress, self._progress_at, self.token_at = head.progress, now, now
        if head.slots_known is None:
            if self._slots_silent_at is None:
                self._slots_silent_at = now
            quiet = now - self._slots_silent_at
            return f"its slots have not answered for {quiet:.0f} seconds" if quiet >= self._patience(now, head) else ""
        self._slots_silent_at = None
        if not head.slots_known or (head.may_sleep and head.links):
            return ""
        quiet = now - self._progress_at
        if head.busy > 0:
            return (
                f"it is busy and has made no progress for {quiet:.0f} seconds"
                if quiet >= self._patience(now, head)
                else ""
            )
        # A probe would wake an engine that may sleep.
        if self.limits.idle_probe_s and quiet >= self.limits.idle_probe_s and not head.may_sleep:
            return f"it is idle and has made no progress for {quiet:.0f} seconds"
        return ""

    def _patience(self, now: float, head: HeadObservation) -> float:
        """Return the seconds that a busy engine may make no progress; longer while it wakes and reads its model."""
        is_waking = head.may_sleep and now - self._computed_at < self.limits.stall_s
        return self.limits.mute_busy_s if is_waking else self.limits.stall_s

    def _muteness(self, now: float, head: HeadObservation) -> str:
        """Return why the API's silence cannot be explained by many clients; empty if it can."""
        if not self._has_answered:
            # An API that never answered this agent may have another address, or a firewall.
            return ""
        if self._mute_at is None:
            self._mute_at = now
        lasts, idle = now - self._mute_at, now - self._computed_at
        word = "silent" if head.health == "silent" else "closed"
        if lasts >= self.limits.mute_s and idle >= self.limits.mute_s:
            return f"its API has been {word} for {lasts:.0f} seconds, and its process is idle"
        if lasts >= self.limits.mute_busy_s:
            return f"its API has been {word} for {lasts:.0f} seconds"
        return ""

    def standstill(self, now: float, head: HeadObservation) -> str:
        """Return why the process cannot make progress at all: it is stopped, or loads without any activity."""
        if head.state != STOPPED:
            self._stopped_at = None
        elif self._stopped_at is None:
            self._stopped_at = now
        stopped = 0.0 if self._stopped_at is None else now - self._stopped_at
        if self._stopped_at is not None and stopped >= self.limits.frozen_s:
            return f"{self.name}'s process {head.pid} has been stopped for {stopped:.0f} seconds"
        idle = now - self._computed_at
        if head.health == "loading" and idle >= self.limits.stall_s:
            # Loading reads and sends all the time.
            return f"{self.name} reports that it loads its model, and its process has been idle for {idle:.0f} seconds"
        return ""
