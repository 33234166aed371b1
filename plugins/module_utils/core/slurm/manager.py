# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the manager of the tiers does, and what it says of them.

It keeps one job for each tier. What it knows comes from Slurm's queue, from accounting, and from the registry of
endpoints; what it remembers is little, and all of it can be lost: a job is found again by its number, by the tier that
its comment names, or by its name. The one thing that must never happen is a second job beside the first, so nothing is
submitted unless the queue was seen after everything that was submitted before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import timefmt
from . import revision, tier_status
from .endpoint_registry import DRAINING, LOADING, READY, Endpoint
from .queue import COMPLETING, HELD, Ending, Job
from .tier_status import BACKING_OFF, PENDING, PREEMPTED, STOPPED, Tier

#: A job that ends sooner has died young.
YOUNG_S = 600.0
#: Seconds until the next job after one, two, … that died young, where the inventory does not say others.
BACKOFF_S = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 900.0)
#: After somebody cancelled a job: long enough for that person to stop the tier if that was meant.
CANCELLED_S = 60.0
#: After an sbatch of which nobody knows whether Slurm took it: several times Slurm's own patience (MessageTimeout).
UNSURE_S = 60.0
#: Between two tries to end a job.
CANCEL_AGAIN_S = 90.0
#: How long a second running job of a tier is left alone: the first may just be ending.
SPARE_S = 15.0
#: Seconds to load a model where nothing is known, and after which a job that does not show up in the registry is late.
LOAD_S, LONG_S = 120.0, 300.0
#: How the comment of a job of the manager's begins, and what names its tier in it. Older ones have the first word only.
COMMENT, COMMENT_TIER = "herd-tiers", "tier="
SUBMIT, CANCEL, EXPLAIN, RENEW = "submit", "cancel", "explain", "renew"
#: How the reasons begin with which Slurm holds a job that could not be started, and what they mean. At some sites
#: each preemption counts against the limit.
_OFTEN = "Slurm has requeued it as often as it may (MaxBatchRequeue), and holds it"
_LAUNCH_FAILED = {
    "launch failed requeued held": "its launch failed, and Slurm holds it",
    "launch failure limit exceeded": _OFTEN,
    "jobholdmaxrequeue": _OFTEN,
}
#: And with which it does because somebody wants that (scontrol hold, scontrol requeuehold).
_HELD = ("jobheld", "job requeued in held state")


@dataclass(frozen=True)
class Wanted:
    """A tier as the inventory has it.

    :param preempted_by: QoS whose jobs come first.
    :param hosts: those that its job may run on.
    :param backoff: seconds until the next job after one, two, … that died young; the last goes on.
    :param crowded: that it cannot run beside another tier, in words; empty where it can.
    :param plan: mark of what a job is submitted with (tier_outdated); empty where nobody knows.
    """

    name: str
    job_name: str
    user: str
    script: str
    enabled: bool = True
    preempted_by: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    grace: float = 30.0
    plan: str = ""
    crowded: str = ""
    backoff: tuple[float, ...] = BACKOFF_S


@dataclass(frozen=True)
class Stop:
    """Somebody wants a tier to be away."""

    reason: str
    by: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Queue:
    """What Slurm said last.

    :param taken: when it was asked, in seconds since 1970; 0 where it has never answered.
    :param problem: why it does not answer now; empty where it does.
    :param since: since when it does not.
    """

    taken: float = 0.0
    jobs: tuple[Job, ...] = ()
    problem: str = ""
    since: float = 0.0


@dataclass(frozen=True)
class Action:
    """Something to do.

    :param tier: of which tier.
    :param job: number of the job.
    :param reason: for the journal.
    """

    kind: str
    tier: str
    job: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Memory:
    """What is remembered of a tier, also over a restart of the manager.

    :param job: number of the job that was there last, or was submitted; empty for none.
    :param asked_at: when sbatch was begun that has not ended well; 0 for none.
    :param sure_at: a queue from before then does not prove that nothing was submitted.
    :param not_before: no job before then.
    :param failures: jobs in a row that died young.
    :param why: why there is none, for people.
    :param counted: number of the job whose failed launch is among the failures already.
    :param submitted: number of the last job that was submitted, and its mark.
    :param renewed_at: when its running job was asked to make way for one that is not outdated.
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
    spare_since: float = 0.0
    load_s: float = LOAD_S
    counted: str = ""


def memory_from(data: Any) -> Memory:
    """Read what was remembered; what is not as expected is forgotten."""
    values: dict[str, Any] = {}
    for name, default in asdict(Memory()).items():
        value = data.get(name) if isinstance(data, Mapping) else None
        kinds = (int, float) if isinstance(default, (int, float)) else (str,)
        if isinstance(value, kinds) and not isinstance(value, bool):
            values[name] = type(default)(value)
    return Memory(**values)


def memory_data(memory: Memory) -> dict[str, Any]:
    """What to remember, as it is written."""
    return asdict(memory)


@dataclass
class Facts:
    """Everything that a decision stands on.

    :param endings: how jobs ended, by their numbers, as far as it was asked for.
    :param drained: jobs that said that they end, with how often they had been restarted then.
    """

    wall: float
    queue: Queue
    endpoints: Sequence[Endpoint] = ()
    stops: Mapping[str, Stop] = field(default_factory=dict)
    endings: Mapping[str, Ending] = field(default_factory=dict)
    drained: Mapping[str, int] = field(default_factory=dict)


def comment(wanted: Wanted) -> str:
    """What a tier's job has as a comment."""
    return revision.comment(f"{COMMENT} {COMMENT_TIER}{wanted.name}", wanted.plan)


def is_managed(job: Job) -> bool:
    """Whether a manager of tiers submitted it."""
    return job.comment.split(" ", 1)[0] == COMMENT


def tier_of(job: Job) -> str:
    """The tier that a job of the manager's was submitted for; empty where it does not say so."""
    words = job.comment.split() if is_managed(job) else []
    return next((word[len(COMMENT_TIER) :] for word in words if word.startswith(COMMENT_TIER)), "")


def _is_own(wanted: Wanted, job: Job, remembered: str) -> bool:
    """Whether a job is the tier's: names can be changed, in the inventory and in the queue."""
    if job.user != wanted.user:
        return False
    tier = tier_of(job)
    return tier == wanted.name if tier else job.name == wanted.job_name or (bool(remembered) and job.id == remembered)


def own_jobs(wanted: Wanted, queue: Queue, remembered: str = "") -> list[Job]:
    """The tier's jobs that are not over, the one to keep in front: what runs, then what was there first.

    :param remembered: number of the job that was there last, whatever it is called now.
    """
    live = [job for job in queue.jobs if job.is_live and _is_own(wanted, job, remembered)]
    # One that is ending is no reason to end another one.
    return sorted(live, key=lambda job: (job.state == COMPLETING, job.is_pending, job.number))


def stray_jobs(tiers: Sequence[Wanted], memories: Mapping[str, Memory], queue: Queue, user: str) -> list[Job]:
    """Jobs that a manager submitted for tiers that there are not any more: nobody else would ever end them.

    :param user: that the tiers' jobs run as.
    """
    if queue.problem or not queue.taken:
        return []
    live = [job for job in queue.jobs if job.is_live and is_managed(job) and job.user == user]
    own = {job.id for wanted in tiers for job in own_jobs(wanted, queue, memories.get(wanted.name, Memory()).job)}
    return [job for job in live if job.id not in own and job.state != COMPLETING]


def run_of(entry: Endpoint) -> tuple[str, float]:
    """Names the run of a job: one that was requeued has its number still."""
    return entry.job_id, entry.started


def gone_jobs(entries: Sequence[Endpoint], queue: Queue, first_seen: Mapping[tuple[str, float], float]) -> set[str]:
    """Jobs of the registry that Slurm does not have any more, or that wait.

    :param first_seen: when an entry of this run of the job was first seen: a queue from before then does not know yet
        that it runs. It is not held against the entry's own times, which are by another host's clock.
    """
    if queue.problem or not queue.taken:
        return set()
    # In a state that nobody here knows a job may run.
    there = {job.id for job in queue.jobs if job.is_live and not job.is_pending}
    return {
        entry.job_id
        for entry in entries
        if entry.job_id not in there and first_seen.get(run_of(entry), queue.taken) < queue.taken
    }


def _launch_failed(job: Job) -> bool:
    """Whether Slurm holds a job because it could not be started."""
    return job.is_pending and job.reason.lower().startswith(tuple(_LAUNCH_FAILED))


def _is_held(job: Job) -> bool:
    """Whether somebody holds a job."""
    is_so = job.state in HELD or job.reason.lower().startswith(_HELD)
    return job.is_pending and is_so and not _launch_failed(job)


# Who comes first


def waiting_rivals(wanted: Wanted, queue: Queue) -> list[Job]:
    """Jobs of a QoS that comes first and that wait for nodes now; those that wait for something else need none yet."""
    return [
        job
        for job in queue.jobs
        if job.is_pending and job.qos in wanted.preempted_by and job.reason in ("", "Priority", "Resources")
    ]


def running_rivals(wanted: Wanted, queue: Queue) -> list[Job]:
    """Jobs of a QoS that comes first on the tier's hosts, the one that ends last in front."""
    hosts = set(wanted.hosts)
    found = [
        job
        for job in queue.jobs
        if job.is_running and job.qos in wanted.preempted_by and (not hosts or hosts & set(job.nodes))
    ]
    return sorted(found, key=lambda job: (-(job.end or 0), job.id))


def _rival(job: Job) -> str:
    return f"job {job.id} of {job.qos}"


# What to do


def step(wanted: Wanted, memory: Memory, facts: Facts) -> tuple[Memory, list[Action]]:
    """Decide what to do for a tier; what to remember, and what to do."""
    if memory.not_before > facts.wall + 2 * max(*wanted.backoff, CANCELLED_S):
        # The clock was set back.
        memory = replace(memory, not_before=facts.wall)
    if memory.sure_at > facts.wall + UNSURE_S:
        # So it was here. How much of the time is over nobody knows.
        memory = replace(memory, sure_at=facts.wall + UNSURE_S)
    queue, jobs = facts.queue, own_jobs(wanted, facts.queue, memory.job)
    if queue.problem or not queue.taken:
        return memory, []
    stop = facts.stops.get(wanted.name)
    if jobs:
        return _with_jobs(wanted, memory, facts, jobs, stop)
    if memory.job:
        memory, actions = _ended(wanted, memory, facts)
        if actions:
            return memory, actions
    if stop or not wanted.enabled:
        return replace(memory, why="", advice="", failures=0, not_before=0.0, asked_at=0.0), []
    return _without_jobs(wanted, memory, facts)


def _with_jobs(
    wanted: Wanted, memory: Memory, facts: Facts, jobs: Sequence[Job], stop: Stop | None
) -> tuple[Memory, list[Action]]:
    first, wall = jobs[0], facts.wall
    memory = replace(memory, job=first.id, asked_at=0.0, sure_at=0.0)
    if first.is_running:
        # Somebody has released it; how it ends is another matter.
        memory = replace(memory, counted="")
    if stop or (not wanted.enabled and is_managed(first)):
        why = stop.reason if stop else "it is not enabled any more"
        return _cancel(wanted, memory, wall, [job for job in jobs if job.state != COMPLETING], f"stopped: {why}")
    if _launch_failed(first):
        if memory.counted != first.id:
            why = f"job {first.id} did not start: {wait_in_words(first.reason)[0]}"
            memory = replace(_failed(wanted, memory, wall, why, _LAUNCH_ADVICE), counted=first.id)
        return _cancel(wanted, memory, wall, [first], "Slurm would hold it for ever")
    ready = [e for e in facts.endpoints if e.tier == wanted.name and e.job_id == first.id and e.state == READY]
    if ready and first.start and wall - first.start >= YOUNG_S and memory.failures:
        memory = replace(memory, failures=0, why="", advice="", not_before=0.0)
    if is_outdated(wanted, memory, first):
        if first.is_pending and not _is_held(first):
            return _cancel(wanted, memory, wall, [first], "it is outdated: herd_tiers has changed since")
        # Nobody but a runtime that serves is certain to know the signal. Who was asked before this run of the job began
        # was another one, or has given way since.
        is_asked = 0 <= wall - memory.renewed_at < revision.AGAIN_S and memory.renewed_at >= (first.start or 0.0)
        if first.is_running and ready and revision.may_be_asked(first.comment) and not is_asked:
            reason = "it is outdated: herd_tiers has changed since"
            return replace(memory, renewed_at=wall), [Action(RENEW, wanted.name, first.id, reason)]
    second = [job for job in jobs[1:] if job.state != COMPLETING]
    if not second or first.state == COMPLETING:
        return replace(memory, spare_since=0.0), []
    waiting = [job for job in second if job.is_pending]
    if waiting:
        return _cancel(wanted, memory, wall, waiting, f"{first.id} is this tier's job already")
    if not 0 < memory.spare_since <= wall:
        return replace(memory, spare_since=wall), []
    if wall - memory.spare_since < SPARE_S:
        return memory, []
    return _cancel(wanted, memory, wall, second, f"{first.id} is this tier's job already")


def is_outdated(wanted: Wanted, memory: Memory, job: Job) -> bool:
    """Whether a job was submitted before its tier was changed."""
    submitted = revision.submitted_with(memory.submitted, job.id)
    return revision.is_outdated(wanted.plan, job.comment, is_managed(job), submitted)


def _cancel(
    wanted: Wanted, memory: Memory, wall: float, jobs: Sequence[Job], reason: str
) -> tuple[Memory, list[Action]]:
    name = ",".join(sorted(job.id for job in jobs))
    if not jobs or (memory.cancelled == name and 0 <= wall - memory.cancelled_at < CANCEL_AGAIN_S):
        return memory, []
    actions = [Action(CANCEL, wanted.name, job.id, reason) for job in jobs]
    return replace(memory, cancelled=name, cancelled_at=wall), actions


def _ended(wanted: Wanted, memory: Memory, facts: Facts) -> tuple[Memory, list[Action]]:
    """The job that was there is not there any more."""
    if facts.queue.taken < memory.sure_at:
        return memory, []
    ending = facts.endings.get(memory.job)
    if ending is None:
        return memory, [Action(EXPLAIN, wanted.name, memory.job, "it has ended")]
    job, is_known = memory.job, memory.job in (*memory.cancelled.split(","), memory.counted)
    memory = replace(memory, job="", cancelled="", counted="", spare_since=0.0)
    if is_known:
        return memory, []
    return _judge(wanted, memory, facts.wall, job, ending), []


def _judge(wanted: Wanted, memory: Memory, wall: float, job: str, ending: Ending) -> Memory:
    what, advice = explain(job, ending)
    if ending.state == "CANCELLED":
        return replace(memory, why=what, advice=advice, not_before=wall + CANCELLED_S, failures=0)
    if ending.state in ("PREEMPTED", "REQUEUED") or (ending.state == "TIMEOUT" and ending.elapsed >= YOUNG_S):
        return replace(memory, why=what, advice=advice, not_before=wall, failures=0)
    if ending.elapsed >= YOUNG_S:
        memory = replace(memory, failures=0)
    return _failed(wanted, memory, wall, what, advice)


def _failed(wanted: Wanted, memory: Memory, wall: float, why: str, advice: str) -> Memory:
    failures = memory.failures + 1
    pause = wanted.backoff[min(failures, len(wanted.backoff)) - 1]
    return replace(memory, failures=failures, not_before=wall + pause, why=why, advice=advice)


def _without_jobs(wanted: Wanted, memory: Memory, facts: Facts) -> tuple[Memory, list[Action]]:
    # A queue from before the last sbatch ended proves nothing.
    if facts.queue.taken < memory.sure_at or facts.wall < memory.not_before:
        return memory, []
    if waiting_rivals(wanted, facts.queue):
        return memory, []
    return memory, [Action(SUBMIT, wanted.name, reason=memory.why)]


def about_to_submit(memory: Memory, wall: float) -> Memory:
    """To be remembered on the disk before sbatch is begun: whoever comes after knows that there may be a job."""
    return replace(memory, asked_at=wall, sure_at=wall + UNSURE_S)


def submitted(wanted: Wanted, memory: Memory, wall: float, status: int, job: str, text: str) -> Memory:
    """What sbatch did.

    :param job: its number, empty where Slurm gave none.
    :param status: of sbatch; 124 if it did not end.
    """
    if status == 0 and job:
        return replace(memory, job=job, asked_at=0.0, sure_at=wall, submitted=f"{job} {wanted.plan}".strip())
    said = " ".join(text.split())[:300] or f"status {status}"
    if status == 0 or is_unsure(status, text):
        return replace(memory, sure_at=wall + UNSURE_S, why=f"sbatch got no answer ({said})")
    memory = _failed(wanted, memory, wall, f"Slurm refused the job: {said}", _refusal(said))
    return replace(memory, asked_at=0.0, sure_at=wall)


def is_unsure(status: int, text: str) -> bool:
    """Whether Slurm may have taken the job although sbatch does not say so."""
    low = text.lower()
    return status in (124, -9, -15) or any(
        part in low for part in ("timed out", "unable to contact", "connection", "unexpected message", "zero bytes")
    )


# In words

_LAUNCH_ADVICE = "see slurmd's log on its nodes (journalctl -u slurmd) and sinfo -R; a new job follows by itself"
_LOG = "see ai/logs/JOB/job.log in the shared directory"
_REFUSALS = (
    ("qos", "see the QoS with sacctmgr show assoc user=… format=user,account,qos, or run playbooks/slurm.yml"),
    ("account", "see the account with sacctmgr show assoc, or run playbooks/slurm.yml"),
    ("partition", "see sinfo, and correct the partition in herd_tiers"),
    ("node", "see sinfo, and correct nodes, hosts and gres in herd_tiers"),
    ("time limit", "correct time_limit in herd_tiers"),
    ("memory", "correct memory in herd_tiers"),
)


def _refusal(said: str) -> str:
    low = said.lower()
    return next((advice for part, advice in _REFUSALS if part in low), "submit it by hand to see more")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def explain(job: str, ending: Ending) -> tuple[str, str]:
    """Why a job ended, and what an operator may do; without full stops."""
    ran = f"after {timefmt.span(ending.elapsed)}"
    log = f": {ending.log}" if ending.log else ""
    if ending.state == "OUT_OF_MEMORY":
        used = f"; {_gib(ending.needed)} was seen" if ending.needed else ""
        return (
            f"job {job} ran out of memory {ran} (limit {ending.allowed or 'unknown'}{used})",
            "raise memory of the tier in herd_tiers above the limit that it had",
        )
    if ending.state == "TIMEOUT":
        return (
            f"job {job} reached its time limit of {ending.limit or 'unknown length'}",
            "raise renew_before of the tier, so that it finds a quiet moment before, or time_limit",
        )
    if ending.state in ("NODE_FAIL", "BOOT_FAIL"):
        return (f"job {job} lost a node of {ending.nodes or 'its nodes'} {ran}", "see sinfo -R, and slurmd there")
    if ending.state == "PREEMPTED":
        return (f"job {job} was preempted {ran}", "")
    if ending.state == "CANCELLED":
        who = f" by user number {ending.by}" if ending.by else ""
        return (f"job {job} was cancelled{who} {ran}", "herdctl tiers stop keeps the tier away")
    if ending.state == "DEADLINE":
        return (f"job {job} reached its deadline", "remove the deadline")
    if ending.state == "COMPLETED":
        return (f"job {job} ended by itself {ran}{log}", "see its log")
    if "JobLaunchFailure" in ending.reason or "launch" in ending.reason.lower():
        return (f"job {job} could not be started or was killed on {ending.nodes or 'its nodes'}", _LAUNCH_ADVICE)
    if ending.state == "FAILED":
        how = f"by signal {ending.signal}" if ending.signal else f"with status {ending.exit_code}"
        return (f"job {job} failed {how} {ran}{log}", _LOG.replace("JOB", job))
    if ending.state in ("", "RUNNING", "PENDING"):
        return (f"job {job} is gone from the queue, and accounting does not say why{log}", "see slurmctld's log")
    return (f"job {job} ended {ran} as {ending.state}{log}", "see sacct")


#: Reasons why a job waits: how they begin, in words, and what an operator may do.
_WAITS = (
    ("Priority", "jobs of higher priority come first", ""),
    ("Resources", "its nodes are in use", ""),
    ("BeginTime", "Slurm waits two minutes before it starts a requeued job again", ""),
    ("Dependency", "its predecessor is still ending", ""),
    ("Cleaning", "its predecessor is still ending", ""),
    ("JobHeld", "it is held", "scontrol release JOB"),
    *((reason, text, _LAUNCH_ADVICE) for reason, text in _LAUNCH_FAILED.items()),
    ("ReqNodeNotAvail", "a node is down, drained or reserved", "see sinfo -R and scontrol show reservation"),
    ("Nodes required", "a node is down, drained or reserved", "see sinfo -R and scontrol show reservation"),
    ("PartitionDown", "the partition is down", "scontrol update partition=… state=up"),
    ("PartitionInactive", "the partition is inactive", "scontrol update partition=… state=up"),
    ("PartitionTimeLimit", "its time limit is longer than the partition's", "lower time_limit in herd_tiers"),
    ("PartitionNodeLimit", "it wants more nodes than the partition gives", "correct nodes in herd_tiers"),
    ("BadConstraints", "no node is as it wants", "correct gres, cpus and memory in herd_tiers"),
    ("InvalidQOS", "its QoS is gone", "run playbooks/slurm.yml"),
    ("InvalidAccount", "its account is gone", "run playbooks/slurm.yml"),
    ("Reservation", "it waits for a reservation", "see scontrol show reservation"),
    ("QOS", "a limit of its QoS is reached", "see sacctmgr show qos"),
    ("Assoc", "a limit of its account is reached", "see sacctmgr show assoc"),
    ("AccountingPolicy", "a limit of accounting is reached", "see sacctmgr show assoc"),
    ("NodeDown", "a node is down", "see sinfo -R"),
    ("Licenses", "a licence is in use", ""),
)


def wait_in_words(reason: str) -> tuple[str, str]:
    """Why a job waits, and what an operator may do."""
    for start, text, advice in _WAITS:
        if reason.lower().startswith(start.lower()):
            return text, advice
    return "", ""


def _clamp(seconds: float, least: float, most: float) -> int:
    return int(max(least, min(most, seconds)))


def report(wanted: Wanted, memory: Memory, facts: Facts) -> Tier:
    """How a tier is, for all who want to know.

    :param facts: with the endpoints that are alive.
    """
    own = [entry for entry in facts.endpoints if entry.tier == wanted.name]
    own.sort(key=lambda entry: (entry.started, int(entry.job_id)), reverse=True)
    jobs = own_jobs(wanted, facts.queue, memory.job)
    stop = facts.stops.get(wanted.name)
    base = Tier(
        enabled=wanted.enabled and stop is None,
        state=PENDING,
        job_id=jobs[0].id if jobs else (own[0].job_id if own else None),
        nodes=jobs[0].nodes if jobs and not jobs[0].is_pending else tuple(entry.host for entry in own[:1]),
        endpoints=tuple(own),
    )
    found = _state(wanted, memory, facts, base, jobs[0] if jobs else None, stop)
    if wanted.crowded and found.enabled and found.state == PENDING:
        found = replace(found, advice=f"{found.advice}; {wanted.crowded}" if found.advice else wanted.crowded)
    if jobs and is_outdated(wanted, memory, jobs[0]):
        text = revision.in_words(jobs[0].id, jobs[0].is_running, revision.may_be_asked(jobs[0].comment))
        found = replace(found, advice=f"{found.advice}; {text}" if found.advice else text)
    if not facts.queue.problem:
        return found
    silent = f"Slurm's controller does not answer since {timefmt.clock(facts.queue.since, facts.wall)}"
    if found.state in (READY, LOADING, DRAINING):
        return replace(found, advice=f"{silent}; what runs goes on (systemctl status slurmctld)")
    text = f"{found.reason}; {silent}" if found.reason else silent
    return replace(found, reason=text, advice="see systemctl status slurmctld", retry_after_s=60)


def _state(wanted: Wanted, memory: Memory, facts: Facts, base: Tier, job: Job | None, stop: Stop | None) -> Tier:
    served = _served(memory, facts, base, wanted)
    if served is not None:
        return served
    if job is not None and (job.state == COMPLETING or (job.is_running and _has_drained(job, facts))):
        return replace(base, state=DRAINING, reason=f"job {job.id} is ending", retry_after_s=30)
    if job is not None and job.is_running:
        if job.state in ("SUSPENDED", "STOPPED"):
            text = f"job {job.id} is suspended"
            return replace(base, state=PENDING, reason=text, advice="scontrol resume JOB", retry_after_s=120)
        expected = (job.start or facts.wall) + memory.load_s
        return replace(
            base,
            state=LOADING,
            percent=0,
            reason=f"starting as job {job.id}",
            expected=max(facts.wall + 2, expected),
            retry_after_s=_clamp(expected - facts.wall, 5, 120),
            advice=f"it takes long: {_LOG}".replace("JOB", job.id) if facts.wall > expected + LONG_S else "",
        )
    if stop is not None:
        by = f" by {stop.by}" if stop.by else ""
        return replace(base, state=STOPPED, reason=f"stopped{by}: {stop.reason}", retry_after_s=600, advice=_START)
    if job is not None and not job.is_pending:
        return replace(base, state=PENDING, reason=f"job {job.id} is {job.state}")
    if job is not None:
        return _waiting(wanted, memory, facts, base, job)
    if not wanted.enabled:
        return replace(base, state=STOPPED, reason="stopped: not enabled in the inventory", retry_after_s=600)
    return _absent(wanted, memory, facts, base)


def _has_drained(job: Job, facts: Facts) -> bool:
    """It has left the registry, and the queue does not show yet that it ends."""
    return facts.drained.get(job.id) == job.restarts


_START = "herdctl tiers start brings it back"


def _served(memory: Memory, facts: Facts, base: Tier, wanted: Wanted) -> Tier | None:
    """The state by the endpoints that are alive; the best of them counts."""
    best = {entry.state: entry for entry in reversed(base.endpoints)}
    if READY in best:
        # In front: the gateway takes the first that is ready.
        first = best[READY]
        ordered = (first, *(entry for entry in base.endpoints if entry is not first))
        return replace(base, state=READY, percent=100, job_id=first.job_id, retry_after_s=1, endpoints=ordered)
    if LOADING in best:
        entry = best[LOADING]
        # Both by the clock of the host that loads it.
        took = max(1.0, entry.heartbeat - entry.started)
        left = took * (100 - entry.percent) / entry.percent if entry.percent else max(5.0, memory.load_s - took)
        left = min(left, 1800.0)
        return replace(
            base,
            state=LOADING,
            percent=entry.percent,
            job_id=entry.job_id,
            reason=f"loading {entry.percent} %",
            expected=facts.wall + left,
            retry_after_s=_clamp(left, 2, 300),
        )
    if DRAINING in best:
        entry = best[DRAINING]
        rivals = waiting_rivals(wanted, facts.queue) or running_rivals(wanted, facts.queue)
        why = f"making way for {_rival(rivals[0])}" if rivals else f"job {entry.job_id} is ending"
        return replace(base, state=DRAINING, job_id=entry.job_id, reason=why, retry_after_s=60 if rivals else 30)
    return None


def _waiting(wanted: Wanted, memory: Memory, facts: Facts, base: Tier, job: Job) -> Tier:
    rivals = running_rivals(wanted, facts.queue) or waiting_rivals(wanted, facts.queue)
    text, advice = wait_in_words(job.reason)
    reason = job.reason or "not looked at yet"
    pending = f"pending: {reason}" + (f" ({text})" if text else "")
    start = job.start if job.start and job.start > facts.wall else None
    if rivals and rivals[0].is_running and rivals[0].end and (start is None or job.reason == "BeginTime"):
        # At the latest: the job that comes first may end sooner. Slurm's own guess, if it has one, knows of that.
        start = max(start or 0.0, rivals[0].end)
    expected = None if start is None else start + memory.load_s
    base = replace(
        base,
        pending_reason=job.reason or None,
        expected=expected,
        advice=advice.replace("JOB", job.id),
        retry_after_s=60 if expected is None else _clamp(expected - facts.wall, 10, 600),
    )
    if _is_held(job):
        advice = f"scontrol release {job.id}"
        return replace(base, state=STOPPED, reason=f"job {job.id} is held", retry_after_s=600, advice=advice)
    if rivals and job.restarts:
        return replace(base, state=PREEMPTED, reason=f"preempted by {_rival(rivals[0])}; {pending}")
    if rivals:
        return replace(base, state=PENDING, reason=f"waits for {_rival(rivals[0])}; {pending}")
    return replace(base, state=PENDING, reason=pending)


def _absent(wanted: Wanted, memory: Memory, facts: Facts, base: Tier) -> Tier:
    rivals = waiting_rivals(wanted, facts.queue)
    if memory.asked_at and facts.queue.taken < memory.sure_at:
        text = "submitted, and Slurm has not said whether it took it"
        return replace(base, reason=memory.why or text, retry_after_s=60)
    if facts.wall < memory.not_before:
        left = memory.not_before - facts.wall
        count = f", {memory.failures} times in a row" if memory.failures > 1 else ""
        return replace(
            base,
            state=BACKING_OFF,
            reason=f"{memory.why}{count}; the next job follows in {timefmt.span(left)}",
            expected=memory.not_before + memory.load_s,
            retry_after_s=_clamp(left + memory.load_s, 10, 900),
            advice=memory.advice,
        )
    if rivals:
        return replace(base, reason=f"waits until {_rival(rivals[0])} has started", retry_after_s=60)
    return replace(base, reason="its job is about to be submitted", retry_after_s=30)


def loaded_in(memory: Memory, entry: Endpoint) -> Memory:
    """Remember how long a load took, of an endpoint that has just become ready."""
    took = entry.heartbeat - entry.started
    return replace(memory, load_s=round(max(2.0, took), 1)) if 0 < took < 7200 else memory


def view(
    tiers: Sequence[Wanted], memories: Mapping[str, Memory], facts: Facts, notes: Sequence[str]
) -> tier_status.View:
    """How all tiers are.

    :param notes: what is wrong beyond one tier.
    """
    problems = list(notes)
    if facts.queue.problem:
        problems.insert(
            0, f"Slurm does not answer since {timefmt.clock(facts.queue.since, facts.wall)}: {facts.queue.problem}"
        )
    found = {wanted.name: report(wanted, memories.get(wanted.name, Memory()), facts) for wanted in tiers}
    return tier_status.View(facts.wall, found, tuple(problems))
