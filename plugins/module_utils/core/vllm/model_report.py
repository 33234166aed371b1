# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report what became of a model: from Slurm's queue, the job's status file, accounting and the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .. import timefmt
from ..slurm.queue import COMPLETING, Ending, Job
from . import diagnosis, job_status
from .job import spec as job_spec
from .job_status import JobStatus

#: States beside the phases of the status file.
NONE, PENDING, SILENT, ENDING = "none", "pending", "silent", "ending"
#: A job without a status file for this long has a reason that the user should know.
LATE_S = 180.0
#: What a phase means, where the job itself says nothing more.
_DETAILS = {
    job_status.STARTING: "the ranks start",
    job_status.RENDEZVOUS: "the ranks wait for each other",
    job_status.LOADING: "the weights are being loaded",
    job_status.WARMING: "the model is being compiled and warmed up",
    job_status.DRAINING: "it finishes its running requests and ends",
}
_AGAIN = "the job starts again by itself, unless it would fail in the same way; see herdctl vllm logs"
COLUMNS = ("model", "state", "job", "where", "since", "why")


@dataclass(frozen=True)
class ModelReport:
    """The state of a model. Texts are without a full stop.

    :ivar state: a phase of the status file, or none, pending, silent or ending.
    :ivar reason: why it is so; C(cure) says what to do, and C(page) explains both.
    :ivar percent: progress until it is ready; None if it is not starting.
    :ivar expected_start, since: seconds since 1970; None if unknown.
    :ivar base_url: address for OpenAI clients, once it is known.
    :ivar warnings: what a working job should be told of.
    :ivar starts_by_itself: whether waiting is enough for a pending job.
    """

    model: str
    state: str = NONE
    job_id: str = ""
    name: str = ""
    reason: str = ""
    cure: str = ""
    page: str = ""
    percent: int | None = None
    expected_start: float | None = None
    since: float | None = None
    restarts: int = 0
    nodes: tuple[str, ...] = ()
    host: str = ""
    address: str = ""
    port: int = 0
    base_url: str = ""
    served_name: str = ""
    key_file: str = ""
    log: str = ""
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    starts_by_itself: bool = True

    @property
    def is_ready(self) -> bool:
        """Return whether it answers."""
        return self.state == job_status.READY

    @property
    def is_over(self) -> bool:
        """Return whether no job of it is left."""
        return self.state in (NONE, *job_status.OVER)

    def as_data(self) -> dict[str, Any]:
        """Return the fields for JSON, with times in ISO 8601 too."""
        data = asdict(self)
        for name in ("expected_start", "since"):
            value = getattr(self, name)
            data[f"{name}_iso"] = None if value is None else timefmt.iso(value)
        return data

    def sentence(self, now: float, with_cure: bool = True) -> str:
        """Say the state in one line."""
        end = self._cure() if with_cure else ""
        why = f": {self.reason}" if self.reason else ""
        if self.state == PENDING:
            return f"{self.model} is pending as job {self.job_id}{why}{self._start(now)}{end}"
        if self.is_ready:
            return f"{self.model} is ready as job {self.job_id} at {self.base_url}"
        if self.state == NONE:
            return f"{self.model} does not run{why}{end}"
        if self.state in job_status.OVER:
            return f"{self.model} has {self.state} as job {self.job_id}{why}{end}"
        percent = f" {self.percent} %" if self.percent is not None else ""
        return f"{self.model} is {self.state}{percent} as job {self.job_id}{why}{end}"

    def _cure(self) -> str:
        page = f" [{diagnosis.PAGES}/{self.page}]" if self.page else ""
        return f"; {self.cure}{page}" if self.cure else ""

    def _start(self, now: float) -> str:
        if self.expected_start is None or self.expected_start <= now:
            return ""
        return f"; Slurm expects to start it at {timefmt.clock(self.expected_start, now)}, or earlier"


def newest(jobs: Sequence[Job], name: str, but: str = "") -> Job | None:
    """Return the live job of a name, the newest if there are several."""
    found = [job for job in jobs if job.name == name and job.is_live and job.id != but]
    return max(found, key=lambda job: job.number) if found else None


def is_of_this_run(job: Job, status: JobStatus | None) -> bool:
    """Return whether a status file is that of the job's present run: a requeued job leaves that of its last one."""
    return status is not None and status.job_id == job.id and status.restarts >= job.restarts


def of_job(model: str, job: Job, status: JobStatus | None, now: float) -> ModelReport:
    """Report a job of the queue."""
    base = ModelReport(
        model, job_id=job.id, name=job.name, since=job.start, restarts=job.restarts, nodes=job.nodes,
        fingerprint=job_spec.fingerprint_in(job.comment), state=PENDING,
    )  # fmt: skip
    if job.is_pending:
        found = diagnosis.of_pending(job.reason, job.restarts)
        start = job.start if job.start and job.start > now else None
        cure, reason = found.cure.replace("JOB", job.id), found.reason
        if status is not None and status.job_id == job.id and status.reason:
            reason = f"{reason}; its last run: {status.reason}"
        return replace(
            base,
            reason=reason,
            cure=cure,
            page=found.page,
            expected_start=start,
            since=None,
            nodes=(),
            starts_by_itself=found.is_warning,
        )
    if job.state == COMPLETING:
        return replace(base, state=ENDING, reason="Slurm ends it")
    if not is_of_this_run(job, status) or status is None:
        late = job.start is not None and now - job.start > LATE_S
        why = "it has written no status yet: see its log, and whether the work space is shared by all nodes"
        return replace(base, state=job_status.STARTING, percent=0, reason=why if late else "Slurm prepares its nodes")
    base = replace(
        base,
        state=status.phase,
        percent=status.percent,
        reason=status.reason or _DETAILS.get(status.phase, ""),
        host=status.host,
        address=status.address,
        port=status.port,
        base_url=status.base_url,
        served_name=status.served_name,
        key_file=status.key_file,
        log=status.log,
    )
    if status.is_silent(now):
        age = timefmt.span(now - status.updated)
        why = f"its status is {age} old: the job was killed, or the shared file system hangs"
        return replace(base, state=SILENT, reason=why, cure="see squeue --me, and the end of its log")
    lost = [one for one in status.ranks if one.state == "lost" and f"rank {one.rank} " not in base.reason]
    told = [f"rank {one.rank} on {one.host} is lost" + (f": {one.detail}" if one.detail else "") for one in lost]
    base = replace(base, reason="; ".join(filter(None, [base.reason, *told])))
    if status.phase == job_status.FAILED:
        return replace(base, cure=_AGAIN, page="rank-lost.md")
    return base


def of_ending(
    model: str, job_id: str, ending: Ending, reader: diagnosis.LogReader, status: JobStatus | None = None, log: str = ""
) -> ModelReport:
    """Report a job that has left the queue.

    :param status: its status file, which has the reason that its script gave.
    """
    told = status.reason if status is not None and status.phase in job_status.OVER else ""
    if status is not None and status.phase == job_status.ENDED and ending.state in ("", "COMPLETED"):
        return ModelReport(model, job_status.ENDED, job_id, reason=told, page="job-pending.md", log=log)
    found = diagnosis.of_ending(job_id, ending, reader)
    state = job_status.ENDED if found.name in ("cancelled", "preempted") else job_status.FAILED
    reason = found.reason
    if found.name == "ended" and told:
        reason = f"{reason}: {told}"
    elif found.name == "unknown-error":
        reason = f"{reason} ({found.line})" if found.line not in reason else reason
    cure = found.cure.replace("JOB", job_id)
    return ModelReport(model, state, job_id, reason=reason, cure=cure, page=found.page, log=log)


def row(report: ModelReport, now: float) -> dict[str, str]:
    """Return the row of a table for people."""
    why = "" if report.is_ready else report.reason
    percent = f" {report.percent} %" if report.percent is not None and not report.is_ready else ""
    start = report.expected_start
    if start is not None:
        why = f"{why}; start by {timefmt.clock(start, now)}" if why else f"start by {timefmt.clock(start, now)}"
    return {
        "model": report.model,
        "state": f"{report.state}{percent}",
        "job": report.job_id,
        "where": report.base_url if report.is_ready else ",".join(report.nodes),
        "since": timefmt.span(now - report.since) if report.since else "",
        "why": why,
    }
