# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that were submitted before their tier was changed in the inventory.

Slurm keeps the script that was submitted, with its limits, however often the job is requeued; and a tier's job lives by
being requeued. So each script bears a mark of everything that it and its data say. It stands in the comment of the job
too, and by it the manager of the tiers sees that a job is outdated. One that waits is replaced. One that runs is asked
to requeue itself in a quiet moment, and is replaced then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What stands before the mark in a job's comment.
WORD = "plan="
#: Characters of the mark: with the longest name of a tier it fits into the column of a comment.
LENGTH = 8
#: Between two times that a running job is asked.
AGAIN_S = 600.0
#: For so long nothing must run.
QUIET_S = 10.0
#: The signal for that. Only a runtime that knows it may be sent it: any other ends.
SIGNAL = "USR2"


def mark(data: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """A mark of what a job runs with."""
    text = json.dumps([data, limits], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def comment(first: str, plan: str) -> str:
    """A job's comment with the mark."""
    return f"{first} {WORD}{plan}" if plan else first


def plan_of(text: str) -> str:
    """The mark in a job's comment; empty where there is none."""
    return next((word[len(WORD) :] for word in text.split() if word.startswith(WORD)), "")


def submitted_with(submitted: str, job: str) -> str:
    """The mark with which a manager has submitted a job, of what it remembers of its last one (C(12 1a2b3c4d))."""
    number, _space, plan = submitted.partition(" ")
    return plan if number == job else ""


def is_outdated(plan: str, text: str, is_managed: bool, submitted: str = "") -> bool:
    """Whether a job runs, or will run, with something else than the inventory says now.

    :param plan: the mark of now; empty where nobody knows it.
    :param text: the job's comment.
    :param is_managed: whether a manager of tiers submitted it. Older ones have left no mark, and what their jobs run
        with nobody knows.
    :param submitted: the mark with which this very manager has submitted the job, if it has. It counts more than the
        comment, which a site may rewrite.
    """
    had = submitted or plan_of(text)
    return bool(plan) and (had != plan if had else is_managed)


def may_be_asked(text: str) -> bool:
    """Whether a job's runtime knows the signal: the one that left the mark does."""
    return bool(plan_of(text))


@dataclass
class Moment:
    """A quiet moment in which an outdated job gives way; one that never comes is never forced."""

    since: float | None = None

    def is_now(self, now: float, busy: int | None) -> bool:
        """Whether nothing has run for a while.

        :param busy: requests that run; None where the engine does not say.
        """
        if busy != 0:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= QUIET_S


def in_words(job: str, is_running: bool, is_asked: bool) -> str:
    """What becomes of an outdated job, without a full stop."""
    text = f"job {job} is outdated: herd_tiers has changed since it was submitted"
    if not is_running:
        return f"{text}, and another one follows"
    if is_asked:
        return f"{text}; it is replaced in a quiet moment (at once: scontrol requeue {job})"
    return f"{text}; it is replaced when it is requeued (at once: scontrol requeue {job})"
