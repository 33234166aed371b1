# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what a vLLM job does after its ranks have ended: end, wait for Slurm, or requeue itself.

Slurm requeues a job that it preempts or whose node is lost, and none that fails. A job that ends during the grace time
of a preemption is not requeued either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...slurm.drain import SlurmJobTimes
from ...text import plain
from ...values import finite
from . import heartbeat_message

#: Orders of the batch script to rank 0, by which the job ends. An unknown reason of Slurm's signal is a preemption.
PREEMPTED, TIME_LIMIT, RENEWAL, OUTDATED, STOP = "preempted", "time limit", "renewal", "outdated", "stop"
ORDERS = (PREEMPTED, TIME_LIMIT, RENEWAL, OUTDATED, STOP)
#: What the batch script does: exit with 0 or 1, requeue, or wait until Slurm ends the job.
END, FAIL, REQUEUE, WAIT = "end", "fail", "requeue", "wait"
#: Seconds of service after which earlier failures no longer count.
WELL_S = 600.0
#: Seconds after which a requeued job may start, by the failures in a row. Slurm itself waits for 120 s.
PAUSES_S = (120, 120, 300, 900, 1800)
#: Most failures that a job keeps in its memory.
MOST = 64


@dataclass(frozen=True)
class Failure:
    """A failure of an earlier run of the job.

    :param at: when it ended, in seconds since 1970.
    :param served_s: seconds for which that run had served.
    """

    at: float
    served_s: float


@dataclass(frozen=True)
class Ending:
    """How the ranks of this run ended.

    :param order: the order that rank 0 got; empty without one.
    :param is_done: whether the ranks ended as ordered.
    :param reason: why they ended.
    :param served_s: seconds for which this run had served.
    :param is_permanent: whether another start would fail in the same way.
    """

    order: str
    is_done: bool
    reason: str
    served_s: float = 0.0
    is_permanent: bool = False


@dataclass(frozen=True)
class RankEnd:
    """How a rank says that it has ended.

    :param is_own: whether the cause was on its node. Other ranks only follow.
    :param at: when, in seconds since 1970.
    """

    is_done: bool
    is_own: bool
    reason: str
    at: float
    served_s: float
    is_permanent: bool


def read_end(data: Mapping[str, Any]) -> RankEnd:
    """Read a rank's report. A value of another type counts as absent, since the job's end is decided in any case."""
    reason = data.get("reason")
    return RankEnd(
        data.get("end") == heartbeat_message.DONE,
        data.get("is_own") is True,
        plain(reason) if isinstance(reason, str) else "",
        finite(data.get("at")) or 0.0,
        finite(data.get("served_s")) or 0.0,
        data.get("is_permanent") is True,
    )


def ending_of(order: str, ends: Sequence[RankEnd]) -> Ending:
    """Find out from the ranks' reports why they ended. A rank's own failure explains those that followed it."""
    own = [end for end in ends if end.is_own]
    failed = [end for end in own if not end.is_done] or [end for end in ends if not end.is_done]
    first = min(failed or own or ends, key=lambda end: end.at, default=None)
    served = max((end.served_s for end in ends), default=0.0)
    reason = first.reason if first is not None else ""
    nothing = "no rank has left a report: see the log, and whether the nodes are up"
    is_permanent = first is not None and first.is_permanent
    return Ending(order, bool(ends) and not failed, reason or nothing, served, is_permanent)


@dataclass(frozen=True)
class Decision:
    """What the batch script does, and why.

    :param pause_s: seconds until a requeued job may start again.
    :param is_failure: whether this run counts as a failure for the next ones.
    """

    action: str
    reason: str
    pause_s: int = 0
    is_failure: bool = False


def in_a_row(failures: Sequence[Failure]) -> int:
    """Count the failures since a run that served well."""
    count = 0
    for failure in reversed(failures):
        if failure.served_s >= WELL_S:
            break
        count += 1
    return count


def _after_failure(ending: Ending, before: Sequence[Failure], limit: int) -> Decision:
    # A failure after a long service begins a new row.
    count = 1 if ending.served_s >= WELL_S else in_a_row(before) + 1
    if ending.is_permanent:
        return Decision(FAIL, f"{ending.reason}; it is not requeued: the same settings fail again", is_failure=True)
    if limit == 0:
        return Decision(FAIL, ending.reason, is_failure=True)
    if count > limit:
        text = f"{ending.reason}; it is not requeued after {count} failures in a row"
        return Decision(FAIL, text, is_failure=True)
    pause = PAUSES_S[min(count, len(PAUSES_S)) - 1]
    text = f"{ending.reason}; requeued (failure {count} of at most {limit + 1} in a row)"
    return Decision(REQUEUE, text, pause, is_failure=True)


def decide(
    ending: Ending, times: SlurmJobTimes, before: Sequence[Failure], limit: int, is_renewed: bool = False
) -> Decision:
    """Decide what the batch script does.

    :param times: what Slurm shows of the job; empty if it does not answer.
    :param before: failures of earlier runs, the last one last.
    :param limit: failures in a row after which the job is requeued.
    :param is_renewed: whether the job requeues itself before its time limit.
    """
    if ending.order == PREEMPTED and times.state and not times.is_preempted:
        # Slurm did not answer when its signal came.
        ending = replace(ending, order=RENEWAL if is_renewed else TIME_LIMIT)
    if times.is_preempted or ending.order == PREEMPTED:
        return Decision(WAIT, "Slurm preempts the job and requeues it")
    if times.state and times.state != "RUNNING":
        return Decision(FAIL, f"Slurm has ended the job: {times.state}")
    if ending.order == STOP:
        return Decision(END, "stopped as requested")
    if ending.order == TIME_LIMIT and ending.is_done:
        return Decision(END, "the time limit is reached")
    if ending.order in (RENEWAL, OUTDATED) and ending.is_done:
        why = "before its time limit" if ending.order == RENEWAL else "with the changed configuration"
        return Decision(REQUEUE, f"requeued {why}")
    return _after_failure(ending, before, limit)
