# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide when rank 0 drains, and until when a drain may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...slurm.drain import IdleWindow, Renewal
from . import requeue
from .command import STOP_S
from .spec import JobTiming


@dataclass
class Drain:
    """A drain: the order, its times by the monotonic clock, and whether the job served.

    :param is_told: whether vLLM has been asked to drain.
    """

    order: str
    until: float
    began: float
    was_ready: bool
    is_told: bool = False

    def hurry(self, order: str, end: float) -> None:
        """Shorten the drain: Slurm ends the job sooner."""
        self.order, self.until = order, min(self.until, end - STOP_S)


class DrainRule:
    """Decides when an order begins a drain: at once, or in an idle window."""

    def __init__(self, timing: JobTiming) -> None:
        self._timing = timing
        self.renewal: Renewal | None = None
        self.idle: IdleWindow | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for an idle window, so that running requests must be counted."""
        return self.renewal is not None or self.idle is not None

    def until(self, end: float, now: float) -> float:
        """Return until when a drain may take that begins now.

        :param end: when Slurm ends the job; 0 if unknown.
        """
        longest = now + self._timing.drain
        return min(longest, max(now + 1.0, end - STOP_S)) if end else longest

    def may_begin(self, order: str, end: float, now: float, busy: int | None, counted_at: float) -> bool:
        """Say whether a serving job drains now.

        :param busy: running requests; None if unknown.
        :param counted_at: when they were counted.
        """
        if order == requeue.OUTDATED:
            self.idle = self.idle or IdleWindow()
            return self.idle.is_open(counted_at, busy)
        if order == requeue.RENEWAL:
            if self.renewal is None:
                left = end - now if end else float(self._timing.renew_before)
                window = max(0.0, left - self._timing.drain - 3 * STOP_S)
                self.renewal = Renewal(now + window, now + window + self._timing.drain)
            return bool(self.renewal.reason(now, busy))
        return True


def preemption_note(configuration: Mapping[str, str]) -> str:
    """Say why running requests are lost at a preemption; empty if Slurm preempts no job, or announces it to jobs.

    :param configuration: as C(scontrol show config) prints it; empty if unknown.
    """
    if configuration.get("PreemptMode", "OFF").upper() == "OFF":
        return ""
    parameters = configuration.get("SlurmctldParameters", "") + configuration.get("PreemptParameters", "")
    if "send_user_signal" in parameters.lower():
        return ""
    return (
        "A preemption cuts running requests: this Slurm announces it to no job, and signals all processes of vLLM at "
        "once (neither preempt_send_user_signal in SlurmctldParameters nor send_user_signal in PreemptParameters)."
    )
