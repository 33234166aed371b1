# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tier manager knows: the tiers' specifications, Slurm's queue, and the state it keeps for each tier.

All state may be lost. The manager finds a job again by its number, by the tier that its comment names, or by its name.
Times are seconds since 1970 of the manager's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import revision
from .endpoint_registry import Endpoint
from .queue import COMPLETING, Ending, Job

#: Seconds to load a model whose loading time is unknown.
LOAD_S = 120.0
#: First word of the comment of a job that the manager submitted, and the key that names its tier.
COMMENT, COMMENT_TIER = "herd-tiers", "tier="
SUBMIT, CANCEL, EXPLAIN, RENEW = "submit", "cancel", "explain", "renew"


@dataclass(frozen=True)
class TierSpec:
    """A tier as the inventory describes it.

    :param preempted_by: QoS whose jobs preempt the tier's job.
    :param hosts: hosts on which its job may run.
    :param backoff: seconds until the next job after one, two, … jobs that failed early; the last one repeats.
    :param gpu_conflict: the tier that needs the same GPU, as a sentence; empty for none.
    :param fingerprint: fingerprint of the job's configuration (revision.py); empty if unknown.
    """

    name: str
    job_name: str
    user: str
    script: str
    backoff: tuple[float, ...]
    enabled: bool = True
    preempted_by: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    fingerprint: str = ""
    gpu_conflict: str = ""


@dataclass(frozen=True)
class ManualStop:
    """An operator has stopped a tier."""

    reason: str
    by: str = ""


@dataclass(frozen=True)
class QueueSnapshot:
    """The last answer of squeue.

    :param taken: when squeue was started; 0 before the first answer.
    :param problem: why squeue gives no answer now; empty if it does.
    :param since: when the problem began.
    """

    taken: float = 0.0
    jobs: tuple[Job, ...] = ()
    problem: str = ""
    since: float = 0.0


@dataclass(frozen=True)
class Action:
    """A step that the manager takes for a tier.

    :param job: number of the job; empty for SUBMIT.
    :param reason: reason for the journal, of CANCEL and RENEW.
    """

    kind: str
    job: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TierState:
    """What the manager remembers of a tier, also across its own restart.

    :param job: number of the tier's last known job; empty for none.
    :param asked_at: when an sbatch was started that has not succeeded; 0 for none.
    :param sure_at: a queue taken before this time does not prove that no job was submitted.
    :param not_before: no job is submitted before this time.
    :param failures: jobs in a row that died young.
    :param why: why the tier has no job, for people.
    :param counted: number of the job whose failed launch is already counted.
    :param submitted: number and fingerprint of the job that was submitted last.
    :param renewed_at: when the running job was asked to requeue itself.
    :param duplicate_since: when a second running job was first seen; 0 for none.
    :param load_s: seconds that the last load took.
    """

    job: str = ""
    asked_at: float = 0.0
    sure_at: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    why: str = ""
    advice: str = ""
    submitted: str = ""
    renewed_at: float = 0.0
    cancelled: str = ""
    cancelled_at: float = 0.0
    duplicate_since: float = 0.0
    load_s: float = LOAD_S
    counted: str = ""


def state_from_data(data: Any) -> TierState:
    """Read a tier's state from JSON data. Values of a wrong type are dropped."""
    values: dict[str, Any] = {}
    for name, default in asdict(TierState()).items():
        value = data.get(name) if isinstance(data, Mapping) else None
        kinds = (int, float) if isinstance(default, (int, float)) else (str,)
        if isinstance(value, kinds) and not isinstance(value, bool):
            values[name] = type(default)(value)
    return TierState(**values)


@dataclass
class Observation:
    """Everything that a decision is based on.

    :param endings: how jobs ended, by their numbers, for the jobs that were looked up.
    :param drained: restart counts of jobs that have announced their end, by job number.
    """

    wall: float
    queue: QueueSnapshot
    endpoints: Sequence[Endpoint] = ()
    stops: Mapping[str, ManualStop] = field(default_factory=dict)
    endings: Mapping[str, Ending] = field(default_factory=dict)
    drained: Mapping[str, int] = field(default_factory=dict)


def comment(spec: TierSpec) -> str:
    """Make the comment of a tier's job."""
    fingerprint = f" {revision.KEY}{spec.fingerprint}" if spec.fingerprint else ""
    return f"{COMMENT} {COMMENT_TIER}{spec.name}{fingerprint}"


def is_managed(job: Job) -> bool:
    """Say whether a tier manager submitted the job."""
    return job.comment.split(" ", 1)[0] == COMMENT


def tier_of(job: Job) -> str:
    """Name the tier in a managed job's comment; empty if there is none."""
    words = job.comment.split() if is_managed(job) else []
    return next((word[len(COMMENT_TIER) :] for word in words if word.startswith(COMMENT_TIER)), "")


def _is_own(spec: TierSpec, job: Job, remembered: str) -> bool:
    # Names can change, in the inventory and in the queue.
    if job.user != spec.user:
        return False
    tier = tier_of(job)
    return tier == spec.name if tier else job.name == spec.job_name or (bool(remembered) and job.id == remembered)


def own_jobs(spec: TierSpec, queue: QueueSnapshot, remembered: str = "") -> list[Job]:
    """List the tier's live jobs. The first one is kept: running before pending, then the oldest.

    :param remembered: number of the tier's last known job, whatever its name is now.
    """
    live = [job for job in queue.jobs if job.is_live and _is_own(spec, job, remembered)]
    # A job that is completing is no reason to cancel another one.
    return sorted(live, key=lambda job: (job.state == COMPLETING, job.is_pending, job.number))


def orphaned_jobs(
    tiers: Sequence[TierSpec], states: Mapping[str, TierState], queue: QueueSnapshot, user: str
) -> list[Job]:
    """List managed jobs whose tier is no longer in the inventory. Only the manager ends them.

    :param user: the user that the tiers' jobs run as.
    """
    if queue.problem or not queue.taken:
        return []
    live = [job for job in queue.jobs if job.is_live and is_managed(job) and job.user == user]
    own = {job.id for spec in tiers for job in own_jobs(spec, queue, states.get(spec.name, TierState()).job)}
    return [job for job in live if job.id not in own and job.state != COMPLETING]


def is_outdated(spec: TierSpec, state: TierState, job: Job) -> bool:
    """Say whether a job was submitted before its tier was changed."""
    number, _space, submitted = state.submitted.partition(" ")
    own = submitted if number == job.id else ""
    return revision.is_outdated(spec.fingerprint, job.comment, is_managed(job), own)


def run_of(entry: Endpoint) -> tuple[str, float]:
    """Identify one run of a job. A requeued job keeps its number."""
    return entry.job_id, entry.started


def gone_jobs(
    entries: Sequence[Endpoint], queue: QueueSnapshot, first_seen: Mapping[tuple[str, float], float]
) -> set[str]:
    """Number the jobs of the registry that Slurm no longer has, or that are pending.

    :param first_seen: when an entry of this run was first seen. An older queue does not show the run yet. The entry's
        own times are by another host's clock and are not compared.
    """
    if queue.problem or not queue.taken:
        return set()
    # A job in an unknown state may run.
    running = {job.id for job in queue.jobs if job.is_live and not job.is_pending}
    return {
        entry.job_id
        for entry in entries
        if entry.job_id not in running and first_seen.get(run_of(entry), queue.taken) < queue.taken
    }


def waiting_preempting_jobs(spec: TierSpec, queue: QueueSnapshot) -> list[Job]:
    """List jobs of a preempting QoS that wait for nodes now. Those that wait for something else need none yet."""
    return [
        job
        for job in queue.jobs
        if job.is_pending and job.qos in spec.preempted_by and job.reason in ("", "Priority", "Resources")
    ]


def running_preempting_jobs(spec: TierSpec, queue: QueueSnapshot) -> list[Job]:
    """List jobs of a preempting QoS on the tier's hosts, the one that ends last first."""
    hosts = set(spec.hosts)
    found = [
        job
        for job in queue.jobs
        if job.is_running and job.qos in spec.preempted_by and (not hosts or hosts & set(job.nodes))
    ]
    return sorted(found, key=lambda job: (-(job.end or 0), job.id))


def loaded_in(state: TierState, entry: Endpoint) -> TierState:
    """Remember the loading time of an endpoint that has just become ready."""
    took = entry.heartbeat - entry.started
    return replace(state, load_s=round(max(2.0, took), 1)) if 0 < took < 7200 else state
