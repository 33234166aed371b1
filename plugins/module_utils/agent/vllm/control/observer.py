# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the models of a work space: queue, status files, accounting and logs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ....core.errors import HerdError
from ....core.slurm.queue import Job
from ....core.vllm import job_status, model_report
from ....core.vllm.job import spec as job_spec
from ....core.vllm.job.spec import JobSpec
from ....core.vllm.job_status import JobStatus
from ....core.vllm.model_report import ModelReport
from ...common.regular_files import read_regular
from .. import job_files
from . import log_files
from .slurm_commands import UserSlurm

_LOG = re.compile(r".+_(\d+)\.out")


class Observer:
    """Reads what is known of the models of a work space."""

    def __init__(self, work_dir: Path, slurm: UserSlurm) -> None:
        self.work_dir, self.slurm = work_dir, slurm

    def status_of(self, job_id: str) -> JobStatus | None:
        """Read a job's status file; None if there is none that can be read."""
        with suppress(OSError, HerdError):
            path = self.work_dir / "status" / f"{job_id}.json"
            return job_status.parse(read_regular(path, job_status.LARGEST).decode("utf-8", "replace"))
        return None

    def log_of(self, job_id: str, model: str = "") -> Path | None:
        """Find the log of a job; None before it has one."""
        return next(iter(sorted((self.work_dir / "logs").glob(job_spec.log_name(model or "*", job_id)))), None)

    def record_of(self, model: str) -> Path:
        """Return the file that remembers the last submission of a model."""
        return self.work_dir / "jobs" / f"launched-{model}.json"

    def fingerprint_of(self, job: Job) -> str:
        """Return the fingerprint in a job's comment, else the one that was submitted: sites may rewrite comments."""
        if found := job_spec.fingerprint_in(job.comment):
            return found
        model = job.name.removeprefix(job_spec.job_name(""))
        with suppress(OSError, ValueError, RecursionError):
            data = json.loads(read_regular(self.record_of(model), job_spec.LARGEST))
            if isinstance(data, dict) and data.get("job") == job.id:
                return str(data.get("fingerprint") or "")
        return ""

    def spec_of(self, job: Job) -> JobSpec | None:
        """Read the specification of a job; None if there is none that can be read."""
        name = job_spec.spec_name(job.name.removeprefix(job_spec.job_name("")), self.fingerprint_of(job))
        with suppress(HerdError):
            return job_files.read_spec(str(self.work_dir / "jobs" / name))
        return None

    def last_job_of(self, model: str) -> str:
        """Return the number of a model's last job by its logs; empty without one."""
        logs = (self.work_dir / "logs").glob(job_spec.log_name(model, "*"))
        numbers = [int(found[1]) for path in logs if (found := _LOG.fullmatch(path.name))]
        return str(max(numbers)) if numbers else ""

    def report(self, model: str, jobs: Sequence[Job], job_id: str = "") -> ModelReport:
        """Report a model: its live job, or how its last one ended.

        :param job_id: only this job.
        """
        now, name = time.time(), job_spec.job_name(model)
        mine = [job for job in jobs if not job_id or job.id == job_id]
        job = model_report.newest(mine, name)
        if job is not None:
            report = model_report.of_job(model, job, self.status_of(job.id), now)
            return self._with_log(report, model)
        ended = job_id or self.last_job_of(model)
        ended = ended or max((one.id for one in jobs if one.name == name), key=int, default="")
        if not ended:
            return ModelReport(model, reason="it was never launched here", cure=f"herdctl vllm launch {model}")
        log = self.log_of(ended, model)
        ending = self.slurm.ending(ended, jobs)
        return model_report.of_ending(model, ended, ending, log_files.read(log), self.status_of(ended), str(log or ""))

    def _with_log(self, report: ModelReport, model: str) -> ModelReport:
        """Add what the log of a running job says: troubles while it starts, warnings while it works."""
        log = self.log_of(report.job_id, model)
        if log is None or report.state == model_report.PENDING:
            return report
        report = replace(report, log=str(log))
        if report.state not in (job_status.READY, job_status.FAILED, model_report.SILENT, model_report.ENDING):
            return report
        reader = log_files.read(log)
        if report.is_ready:
            return replace(report, warnings=tuple(str(warning) for warning in reader.warnings()))
        found = reader.diagnosis()
        if found is None or found.is_warning:
            return report
        return replace(report, reason=found.reason, cure=found.cure.replace("JOB", report.job_id), page=found.page)
