# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a tier's job has to go, and how long it may take for that.

A job goes because it is preempted, which Slurm says by a signal to its steps, by another one to its script, or, where
nothing of it runs, by nothing but the time at which it is to end; or because its time limit is near, and it renews
itself. Times of Slurm are seconds since 1970 of its own clock; all others are of a clock that never goes back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .job_spec import Timing

#: Between the end that this node's clock expects and the one that Slurm's does.
CLOCKS_S = 15.0
#: Slurm says that the limit is near up to so much too late.
LATE_S = 60.0
QUIET_S = 10.0
_TIMES = re.compile(r"(?:^|\s)(JobState|StartTime|EndTime|PreemptTime)=(\S*)")


@dataclass(frozen=True)
class Word:
    """What Slurm says of a job that runs; times are None where it says nothing of them.

    :param preempted: when it was chosen for preemption; its end is then as far away as its grace.
    """

    state: str = ""
    start: float | None = None
    end: float | None = None
    preempted: float | None = None

    @property
    def is_preempted(self) -> bool:
        """Whether it is to go for another job. A run before this one may have been preempted as well."""
        return self.preempted is not None and (self.start is None or self.preempted >= self.start)

    def grace(self, since: float, passed: float) -> float:
        """Seconds that are left to one that is preempted.

        :param since: now, by this node's clock, which may not be Slurm's.
        :param passed: seconds in which it may have been preempted without this being known here.
        """
        if self.end is None or self.preempted is None:
            return 0.0
        return self.end - self.preempted - min(max(0.0, since - self.preempted), passed)


def parse_word(text: str) -> Word:
    """Read what C(scontrol show job ID) printed, with C(SLURM_TIME_FORMAT=%s)."""
    found: dict[str, str] = {}
    for name, value in _TIMES.findall(text):
        # A name of a job may look like that too, but comes first.
        found[name] = value

    def moment(name: str) -> float | None:
        value = found.get(name, "")
        return float(value) if value.isdigit() and int(value) else None

    return Word(found.get("JobState", ""), moment("StartTime"), moment("EndTime"), moment("PreemptTime"))


@dataclass
class Drain:
    """When a tier that has to go may stop: when nothing runs any more, or when the time is up.

    :param began: when it left the registry's ready endpoints.
    :param until: when the processes must begin to stop.
    """

    began: float
    until: float
    settle: float
    idle_since: float | None = None

    def may_stop(self, now: float, busy: int | None, seen: float | None = None) -> bool:
        """Whether to stop now.

        :param busy: requests that run; None where the engine does not say.
        :param seen: when they were counted.
        """
        if now >= self.until:
            return True
        seen = now if seen is None else seen
        if seen - self.began < self.settle or busy != 0:
            self.idle_since = None
            return False
        if self.idle_since is None:
            self.idle_since = seen
        # Counted twice, so that a request between two looks is seen.
        return seen - self.idle_since >= 0.4

    def hurry(self, until: float) -> None:
        """There is less time than it seemed."""
        self.until = min(self.until, until)


def grace_until(timing: Timing, now: float, left: float | None = None) -> float:
    """When the processes of a job that has to go must begin to stop.

    :param left: seconds until it is killed, where Slurm says so.
    """
    grace = timing.grace if left is None else min(timing.grace, left)
    return now + max(1.0, grace - timing.reserve)


@dataclass
class Renewal:
    """Looks for a quiet moment before the time limit. If there is none in half of the time, it takes any moment: then
    what runs has the other half to come to its end, and nothing new begins.

    :param due: when it takes any moment.
    :param until: when the processes must begin to stop; the whole grace is left then.
    """

    due: float
    until: float
    quiet_since: float | None = None

    def reason(self, now: float, busy: int | None) -> str:
        """Why to drain now; nothing if it is too early."""
        if now >= self.due:
            return "the time limit is near, and no moment was quiet"
        if busy != 0:
            self.quiet_since = None
            return ""
        if self.quiet_since is None:
            self.quiet_since = now
        return "the time limit is near, and this is a quiet moment" if now - self.quiet_since >= QUIET_S else ""

    def limit(self, timing: Timing, now: float, left: float) -> None:
        """The limit is so many seconds away, says Slurm: a job may have been submitted with another one."""
        found = _window(now, left - timing.grace - CLOCKS_S)
        self.due, self.until = found.due, found.until

    def drain_until(self, timing: Timing, now: float) -> float:
        """When the processes must begin to stop if it drains now."""
        return max(self.until, grace_until(timing, now))


def _window(now: float, seconds: float) -> Renewal:
    window = max(0.0, seconds)
    # Time for a quiet moment comes first where there is not much.
    return Renewal(now + min(window, max(window / 2, QUIET_S + 2.0)), now + window)


def renewal_for(timing: Timing, now: float) -> Renewal:
    """From the signal on."""
    return _window(now, timing.renew_before - timing.grace - LATE_S)
