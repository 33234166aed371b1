# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the status of each tier: its state, the reason, when it is expected back, and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .. import timefmt
from . import job_reasons, revision, tier_status
from .endpoint_registry import DRAINING, LOADING, READY, Registry
from .queue import COMPLETING, Job
from .tier_state import (
    ManualStop,
    Observation,
    TierSpec,
    TierState,
    is_outdated,
    own_jobs,
    running_preempting_jobs,
    waiting_preempting_jobs,
)
from .tier_status import BACKING_OFF, PENDING, PREEMPTED, STOPPED, TierReport

#: Seconds beyond the expected load after which a job without an endpoint is reported as late.
LATE_S = 300.0
_START = "herdctl tiers start brings it back"


def _job_and_qos(job: Job) -> str:
    return f"job {job.id} of {job.qos}"


def _clamp(seconds: float, least: float, most: float) -> int:
    return int(max(least, min(most, seconds)))


def _advised(found: TierReport, text: str) -> TierReport:
    return replace(found, advice=f"{found.advice}; {text}" if found.advice else text)


def report(spec: TierSpec, state: TierState, observed: Observation) -> TierReport:
    """Report the status of one tier.

    :param observed: its endpoints are the live ones.
    """
    own = Registry(tuple(observed.endpoints)).of(spec.name)
    jobs = own_jobs(spec, observed.queue, state.job)
    stop = observed.stops.get(spec.name)
    base = TierReport(
        enabled=spec.enabled and stop is None,
        state=PENDING,
        job_id=jobs[0].id if jobs else (own[0].job_id if own else None),
        nodes=jobs[0].nodes if jobs and not jobs[0].is_pending else tuple(entry.host for entry in own[:1]),
        endpoints=own,
    )
    found = _state(spec, state, observed, base, jobs[0] if jobs else None, stop)
    if spec.gpu_conflict and found.enabled and found.state == PENDING:
        found = _advised(found, spec.gpu_conflict)
    if jobs and is_outdated(spec, state, jobs[0]):
        text = revision.in_words(jobs[0].id, jobs[0].is_running, bool(revision.fingerprint_in(jobs[0].comment)))
        found = _advised(found, text)
    if not observed.queue.problem:
        return found
    silent = f"slurmctld has not answered since {timefmt.clock(observed.queue.since, observed.wall)}"
    if found.state in (READY, LOADING, DRAINING):
        return replace(found, advice=f"{silent}; running jobs continue (systemctl status slurmctld)")
    text = f"{found.reason}; {silent}" if found.reason else silent
    return replace(found, reason=text, advice="see systemctl status slurmctld", retry_after_s=60)


def _state(
    spec: TierSpec, state: TierState, observed: Observation, base: TierReport, job: Job | None, stop: ManualStop | None
) -> TierReport:
    served = _served(state, observed, base, spec)
    if served is not None:
        return served
    if job is not None and (job.state == COMPLETING or (job.is_running and _has_drained(job, observed))):
        return replace(base, state=DRAINING, reason=f"job {job.id} is ending", retry_after_s=30)
    if job is not None and job.is_running:
        if job.state in ("SUSPENDED", "STOPPED"):
            text = f"job {job.id} is suspended"
            return replace(base, state=PENDING, reason=text, advice=f"scontrol resume {job.id}", retry_after_s=120)
        return _starting(state, observed, base, job)
    if stop is not None:
        by = f" by {stop.by}" if stop.by else ""
        return replace(base, state=STOPPED, reason=f"stopped{by}: {stop.reason}", retry_after_s=600, advice=_START)
    if job is not None and not job.is_pending:
        return replace(base, state=PENDING, reason=f"job {job.id} is {job.state}")
    if job is not None:
        return _waiting(spec, state, observed, base, job)
    if not spec.enabled:
        return replace(base, state=STOPPED, reason="stopped: not enabled in the inventory", retry_after_s=600)
    return _absent(spec, state, observed, base)


def _starting(state: TierState, observed: Observation, base: TierReport, job: Job) -> TierReport:
    expected = (job.start or observed.wall) + state.load_s
    is_late = observed.wall > expected + LATE_S
    advice = f"loading takes longer than expected: {job_reasons.LOG_ADVICE}".replace("JOB", job.id) if is_late else ""
    return replace(
        base,
        state=LOADING,
        percent=0,
        reason=f"starting as job {job.id}",
        expected=max(observed.wall + 2, expected),
        retry_after_s=_clamp(expected - observed.wall, 5, 120),
        advice=advice,
    )


def _has_drained(job: Job, observed: Observation) -> bool:
    """Say whether the job has left the registry while the queue does not show its end yet."""
    return observed.drained.get(job.id) == job.restarts


def _served(state: TierState, observed: Observation, base: TierReport, spec: TierSpec) -> TierReport | None:
    """Report by the live endpoints; the best of them counts. None if there is none."""
    best = {entry.state: entry for entry in reversed(base.endpoints)}
    if READY in best:
        # The gateway takes the first endpoint that is ready.
        first = best[READY]
        ordered = (first, *(entry for entry in base.endpoints if entry is not first))
        return replace(base, state=READY, percent=100, job_id=first.job_id, retry_after_s=1, endpoints=ordered)
    if LOADING in best:
        entry = best[LOADING]
        # Both times are by the clock of the loading host.
        took = max(1.0, entry.heartbeat - entry.started)
        left = took * (100 - entry.percent) / entry.percent if entry.percent else max(5.0, state.load_s - took)
        left = min(left, 1800.0)
        return replace(
            base,
            state=LOADING,
            percent=entry.percent,
            job_id=entry.job_id,
            reason=f"loading {entry.percent} %",
            expected=observed.wall + left,
            retry_after_s=_clamp(left, 2, 300),
        )
    if DRAINING in best:
        entry = best[DRAINING]
        preempting = waiting_preempting_jobs(spec, observed.queue) or running_preempting_jobs(spec, observed.queue)
        why = f"making way for {_job_and_qos(preempting[0])}" if preempting else f"job {entry.job_id} is ending"
        return replace(base, state=DRAINING, job_id=entry.job_id, reason=why, retry_after_s=60 if preempting else 30)
    return None


def _waiting(spec: TierSpec, state: TierState, observed: Observation, base: TierReport, job: Job) -> TierReport:
    preempting = running_preempting_jobs(spec, observed.queue) or waiting_preempting_jobs(spec, observed.queue)
    text, advice = job_reasons.wait_in_words(job.reason)
    reason = job.reason or "not considered by Slurm yet"
    pending = f"pending: {reason}" + (f" ({text})" if text else "")
    start = job.start if job.start and job.start > observed.wall else None
    if preempting and preempting[0].is_running and preempting[0].end and (start is None or job.reason == "BeginTime"):
        # This is the latest time: the preempting job may end sooner. Slurm's own estimate considers that.
        start = max(start or 0.0, preempting[0].end)
    expected = None if start is None else start + state.load_s
    base = replace(
        base,
        pending_reason=job.reason or None,
        expected=expected,
        advice=advice.replace("JOB", job.id),
        retry_after_s=60 if expected is None else _clamp(expected - observed.wall, 10, 600),
    )
    if job_reasons.is_held(job):
        advice = f"scontrol release {job.id}"
        return replace(base, state=STOPPED, reason=f"job {job.id} is held", retry_after_s=600, advice=advice)
    if preempting and job.restarts:
        return replace(base, state=PREEMPTED, reason=f"preempted by {_job_and_qos(preempting[0])}; {pending}")
    if preempting:
        return replace(base, state=PENDING, reason=f"waits for {_job_and_qos(preempting[0])}; {pending}")
    return replace(base, state=PENDING, reason=pending)


def _absent(spec: TierSpec, state: TierState, observed: Observation, base: TierReport) -> TierReport:
    preempting = waiting_preempting_jobs(spec, observed.queue)
    if state.asked_at and observed.queue.taken < state.sure_at:
        text = "submitted, but Slurm has not confirmed the job"
        return replace(base, reason=state.why or text, retry_after_s=60)
    if observed.wall < state.not_before:
        left = state.not_before - observed.wall
        count = f", {state.failures} times in a row" if state.failures > 1 else ""
        return replace(
            base,
            state=BACKING_OFF,
            reason=f"{state.why}{count}; the next job follows in {timefmt.span(left)}",
            expected=state.not_before + state.load_s,
            retry_after_s=_clamp(left + state.load_s, 10, 900),
            advice=state.advice,
        )
    if preempting:
        return replace(base, reason=f"waits until {_job_and_qos(preempting[0])} has started", retry_after_s=60)
    return replace(base, reason="its job is about to be submitted", retry_after_s=30)


def report_all(
    tiers: Sequence[TierSpec], states: Mapping[str, TierState], observed: Observation, notes: Sequence[str]
) -> tier_status.StatusReport:
    """Report the status of all tiers.

    :param notes: problems that belong to no single tier.
    """
    problems, queue = list(notes), observed.queue
    if queue.problem:
        since = timefmt.clock(queue.since, observed.wall)
        problems.insert(0, f"Slurm has not answered since {since}: {queue.problem}")
    found = {spec.name: report(spec, states.get(spec.name, TierState()), observed) for spec in tiers}
    return tier_status.StatusReport(observed.wall, found, tuple(problems))
