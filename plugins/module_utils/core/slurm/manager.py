# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the tier manager does: it keeps one Slurm job for each tier.

Its input is an observation: Slurm's queue, accounting and the endpoint registry. A tier must never get a second job. So
a job is submitted only if the queue was seen after every earlier submission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import job_reasons, pending_reasons, revision
from .endpoint_registry import READY
from .queue import COMPLETING, Ending, Job
from .tier_state import (
    CANCEL,
    EXPLAIN,
    RENEW,
    SUBMIT,
    Action,
    ManualStop,
    Observation,
    TierSpec,
    TierState,
    is_managed,
    is_outdated,
    own_jobs,
    waiting_preempting_jobs,
)

#: Seconds. A job that fails sooner has died young.
YOUNG_S = 600.0
#: Seconds without a job after a user has cancelled one. The user may want to stop the tier meanwhile.
CANCELLED_S = 60.0
#: Seconds after an sbatch without an answer in which Slurm may still accept the job: several times MessageTimeout.
UNSURE_S = 60.0
#: Seconds between two scancel calls for the same job.
CANCEL_AGAIN_S = 90.0
#: Seconds before a second running job is cancelled: the first one may be about to end.
DUPLICATE_S = 15.0


def step(spec: TierSpec, state: TierState, observed: Observation) -> tuple[TierState, list[Action]]:
    """Decide what to do for a tier; return its new state and the actions."""
    if state.not_before > observed.wall + 2 * max(*spec.backoff, CANCELLED_S):
        # The clock was set back.
        state = replace(state, not_before=observed.wall)
    if state.sure_at > observed.wall + UNSURE_S:
        # The clock was set back. Restart the wait.
        state = replace(state, sure_at=observed.wall + UNSURE_S)
    queue, jobs = observed.queue, own_jobs(spec, observed.queue, state.job)
    if queue.problem or not queue.taken:
        return state, []
    stop = observed.stops.get(spec.name)
    if jobs:
        return _with_jobs(spec, state, observed, jobs, stop)
    if state.job:
        state, actions = _ended(spec, state, observed)
        if actions:
            return state, actions
    if stop or not spec.enabled:
        return replace(state, why="", advice="", failures=0, not_before=0.0, asked_at=0.0), []
    return _without_jobs(spec, state, observed)


def _with_jobs(
    spec: TierSpec, state: TierState, observed: Observation, jobs: Sequence[Job], stop: ManualStop | None
) -> tuple[TierState, list[Action]]:
    first, wall = jobs[0], observed.wall
    state = replace(state, job=first.id, asked_at=0.0, sure_at=0.0)
    if first.is_running:
        # A user has released the job after its failed launch. Its end counts again.
        state = replace(state, counted="")
    if stop or (not spec.enabled and is_managed(first)):
        why = stop.reason if stop else "it is no longer enabled"
        return _cancel(state, wall, [job for job in jobs if job.state != COMPLETING], f"stopped: {why}")
    if job_reasons.launch_failed(first):
        if state.counted != first.id:
            why = f"job {first.id} did not start: {job_reasons.wait_in_words(first.reason)[0]}"
            state = replace(_failed(spec, state, wall, why, pending_reasons.TIER_LAUNCH_ADVICE), counted=first.id)
        return _cancel(state, wall, [first], "Slurm would hold it forever")
    ready = [e for e in observed.endpoints if e.tier == spec.name and e.job_id == first.id and e.state == READY]
    if ready and first.start and wall - first.start >= YOUNG_S and state.failures:
        state = replace(state, failures=0, why="", advice="", not_before=0.0)
    if is_outdated(spec, state, first):
        reason = "it is outdated: herd_tiers has changed since"
        if first.is_pending and not job_reasons.is_held(first):
            return _cancel(state, wall, [first], reason)
        # Only a runtime that serves has its signal handlers for certain. A request from before this run of the job
        # was for another run.
        is_asked = 0 <= wall - state.renewed_at < revision.AGAIN_S and state.renewed_at >= (first.start or 0.0)
        if first.is_running and ready and revision.fingerprint_in(first.comment) and not is_asked:
            return replace(state, renewed_at=wall), [Action(RENEW, first.id, reason)]
    duplicates = [job for job in jobs[1:] if job.state != COMPLETING]
    if not duplicates or first.state == COMPLETING:
        return replace(state, duplicate_since=0.0), []
    return _cancel_duplicates(state, wall, first, duplicates)


def _cancel_duplicates(
    state: TierState, wall: float, first: Job, duplicates: Sequence[Job]
) -> tuple[TierState, list[Action]]:
    reason = f"{first.id} is already this tier's job"
    pending = [job for job in duplicates if job.is_pending]
    if pending:
        return _cancel(state, wall, pending, reason)
    if not 0 < state.duplicate_since <= wall:
        return replace(state, duplicate_since=wall), []
    if wall - state.duplicate_since < DUPLICATE_S:
        return state, []
    return _cancel(state, wall, duplicates, reason)


def _cancel(state: TierState, wall: float, jobs: Sequence[Job], reason: str) -> tuple[TierState, list[Action]]:
    name = ",".join(sorted(job.id for job in jobs))
    if not jobs or (state.cancelled == name and 0 <= wall - state.cancelled_at < CANCEL_AGAIN_S):
        return state, []
    actions = [Action(CANCEL, job.id, reason) for job in jobs]
    return replace(state, cancelled=name, cancelled_at=wall), actions


def _ended(spec: TierSpec, state: TierState, observed: Observation) -> tuple[TierState, list[Action]]:
    """Handle the end of the tier's job."""
    if observed.queue.taken < state.sure_at:
        return state, []
    ending = observed.endings.get(state.job)
    if ending is None:
        return state, [Action(EXPLAIN, state.job)]
    job, is_known = state.job, state.job in (*state.cancelled.split(","), state.counted)
    state = replace(state, job="", cancelled="", counted="", duplicate_since=0.0)
    if is_known:
        return state, []
    return _judge(spec, state, observed.wall, job, ending), []


def _judge(spec: TierSpec, state: TierState, wall: float, job: str, ending: Ending) -> TierState:
    what, advice = job_reasons.explain(job, ending)
    if ending.state == "CANCELLED":
        return replace(state, why=what, advice=advice, not_before=wall + CANCELLED_S, failures=0)
    if ending.state in ("PREEMPTED", "REQUEUED") or (ending.state == "TIMEOUT" and ending.elapsed >= YOUNG_S):
        return replace(state, why=what, advice=advice, not_before=wall, failures=0)
    if ending.elapsed >= YOUNG_S:
        state = replace(state, failures=0)
    return _failed(spec, state, wall, what, advice)


def _failed(spec: TierSpec, state: TierState, wall: float, why: str, advice: str) -> TierState:
    failures = state.failures + 1
    pause = spec.backoff[min(failures, len(spec.backoff)) - 1]
    return replace(state, failures=failures, not_before=wall + pause, why=why, advice=advice)


def _without_jobs(spec: TierSpec, state: TierState, observed: Observation) -> tuple[TierState, list[Action]]:
    # A queue from before the end of the last sbatch proves nothing.
    if observed.queue.taken < state.sure_at or observed.wall < state.not_before:
        return state, []
    if waiting_preempting_jobs(spec, observed.queue):
        return state, []
    return state, [Action(SUBMIT)]


def about_to_submit(state: TierState, wall: float) -> TierState:
    """Note that sbatch is about to start. Written to disk before, so that a restarted manager knows of the job."""
    return replace(state, asked_at=wall, sure_at=wall + UNSURE_S)


def submitted(spec: TierSpec, state: TierState, wall: float, status: int, job: str, text: str) -> TierState:
    """Note the result of sbatch.

    :param job: number of the job; empty if Slurm gave none.
    :param status: exit status of sbatch; 124 after a timeout.
    """
    if status == 0 and job:
        return replace(state, job=job, asked_at=0.0, sure_at=wall, submitted=f"{job} {spec.fingerprint}".strip())
    said = " ".join(text.split())[:300] or f"status {status}"
    if status == 0 or is_unsure(status, text):
        return replace(state, sure_at=wall + UNSURE_S, why=f"sbatch got no answer ({said})")
    state = _failed(spec, state, wall, f"Slurm refused the job: {said}", job_reasons.refusal_advice(said))
    return replace(state, asked_at=0.0, sure_at=wall)


def is_unsure(status: int, text: str) -> bool:
    """Say whether Slurm may have accepted the job although sbatch failed."""
    low = text.lower()
    return status in (124, -9, -15) or any(
        part in low for part in ("timed out", "unable to contact", "connection", "unexpected message", "zero bytes")
    )
