# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide when a tier's job drains and how long that may take.

A job drains when it is preempted, when its time limit is near and it requeues itself, or when it is outdated. Slurm
announces a preemption by a signal to the job's steps, by another signal to its script, or, while no step runs, only by
the job's end time. Slurm's times are seconds since 1970 of its own clock. All other times are of a monotonic clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import queue
from .job_spec import Timing

#: Seconds between the end by this node's clock and the end by Slurm's clock.
CLOCKS_S = 15.0
#: Seconds by which Slurm's signal of the time limit may be late.
LATE_S = 60.0
#: Seconds without a request that make an idle window.
IDLE_S = 10.0
#: Seconds between two counts without a request, after which a draining job stops.
IDLE_AGAIN_S = 0.4
_TIMES = re.compile(r"(?:^|\s)(JobState|StartTime|EndTime|PreemptTime)=(\S*)")


@dataclass(frozen=True)
class SlurmJobTimes:
    """State and times that Slurm shows for a running job; a time is None if Slurm shows none.

    :param preempted: when the job was chosen for preemption; its grace ends at its end time.
    """

    state: str = ""
    start: float | None = None
    end: float | None = None
    preempted: float | None = None

    @property
    def is_preempted(self) -> bool:
        """Say whether this run of the job is preempted. An earlier run may have been, too."""
        return self.preempted is not None and (self.start is None or self.preempted >= self.start)

    def grace(self, wall: float, passed: float) -> float:
        """Return the seconds that are left to a preempted job.

        :param wall: now, by this node's clock, which may differ from Slurm's.
        :param passed: seconds in which the preemption may have happened unnoticed.
        """
        if self.end is None or self.preempted is None:
            return 0.0
        return self.end - self.preempted - min(max(0.0, wall - self.preempted), passed)


def parse_job_times(text: str) -> SlurmJobTimes:
    """Read the output of C(scontrol show job ID) with C(SLURM_TIME_FORMAT=%s)."""
    # A job's name may look like a time, but stands before all of them, and the last one counts.
    found: dict[str, str] = dict(_TIMES.findall(text))
    start, end, preempted = (queue.parse_time(found.get(name, "")) for name in ("StartTime", "EndTime", "PreemptTime"))
    return SlurmJobTimes(found.get("JobState", ""), start, end, preempted)


@dataclass
class IdleWindow:
    """Find a time in which no request has run for IDLE_S seconds."""

    since: float | None = None

    def is_open(self, now: float, busy: int | None, seconds: float | None = None) -> bool:
        """Say whether no request has run for so many seconds, IDLE_S if not given.

        :param busy: running requests; None if the engine does not say.
        """
        if busy != 0:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= (IDLE_S if seconds is None else seconds)


@dataclass
class Drain:
    """Decide when a draining job stops: when no request runs, or when its time is up.

    :param began: when it left the ready endpoints of the registry.
    :param until: when the processes must begin to stop.
    :param settle: seconds in which new requests may still arrive.
    """

    began: float
    until: float
    settle: float
    idle: IdleWindow = field(default_factory=IdleWindow)

    def may_stop(self, now: float, busy: int | None, seen: float) -> bool:
        """Say whether to stop now.

        :param busy: running requests; None if the engine does not say.
        :param seen: when they were counted.
        """
        if now >= self.until:
            return True
        # Counted twice, so that a request between two counts is seen.
        return self.idle.is_open(seen, busy if seen - self.began >= self.settle else None, IDLE_AGAIN_S)

    def hurry(self, until: float) -> None:
        """Shorten the time that is left."""
        self.until = min(self.until, until)


def grace_until(timing: Timing, now: float, left: float | None = None) -> float:
    """Return when the processes of a draining job must begin to stop.

    :param left: seconds until Slurm kills the job, if Slurm shows them.
    """
    grace = timing.grace if left is None else min(timing.grace, left)
    return now + max(1.0, grace - timing.reserve)


@dataclass
class Renewal:
    """Decide when a job requeues itself before its time limit.

    It waits for an idle window during half of the time. Then it drains at once, so that running requests have the other
    half to finish.

    :param due: when it drains without an idle window.
    :param until: when the processes must begin to stop; the whole grace is left then.
    """

    due: float
    until: float
    idle: IdleWindow = field(default_factory=IdleWindow)

    def reason(self, now: float, busy: int | None) -> str:
        """Say why to drain now; empty if it is too early."""
        if now >= self.due:
            return "the time limit is near, and there was no idle window"
        return "the time limit is near, and no request runs" if self.idle.is_open(now, busy) else ""

    def limit(self, timing: Timing, now: float, left: float) -> None:
        """Set the seconds until the time limit, as Slurm shows them: the job may have been submitted with another."""
        found = _window(now, left - timing.grace - CLOCKS_S)
        self.due, self.until = found.due, found.until

    def drain_until(self, timing: Timing, now: float) -> float:
        """Return when the processes must begin to stop if the job drains now."""
        return max(self.until, grace_until(timing, now))


def _window(now: float, seconds: float) -> Renewal:
    window = max(0.0, seconds)
    # In a short time, an idle window has priority.
    return Renewal(now + min(window, max(window / 2, IDLE_S + 2.0)), now + window)


def renewal_for(timing: Timing, now: float) -> Renewal:
    """Start at Slurm's signal that the time limit is near."""
    return _window(now, timing.renew_before - timing.grace - LATE_S)
