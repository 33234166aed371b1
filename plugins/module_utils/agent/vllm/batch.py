# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the script of a vLLM job does around its ranks: prepare the run, pass on Slurm's signals, and decide the end."""

from __future__ import annotations

import os
import secrets
import signal as signals
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.errors import HerdError, InvalidInputError, reason_of
from ...core.slurm import endpoint_registry
from ...core.slurm.drain import SlurmJobTimes, parse_job_times
from ...core.text import plain
from ...core.vllm import diagnosis, job_status
from ...core.vllm.job import requeue
from ...core.vllm.job import run as job_run
from ...core.vllm.job import script as job_script
from ...core.vllm.job import spec as job_spec
from ..common import command
from . import job_files
from .rank import log

#: Seconds for an answer of Slurm: during a grace time there are few, at the end there are many.
SIGNAL_S, END_S, END_TRIES = 5.0, 30.0, 3
#: Seconds for which Slurm itself keeps a requeued job.
SLURM_PAUSE_S = 120
#: Bytes of the reports of all nodes.
_LARGEST = 8 << 20


def job_id() -> str:
    """Return the number of this job.

    :raises InvalidInputError: outside of a job.
    """
    found = os.environ.get("SLURM_JOB_ID", "")
    if not found.isdigit():
        raise InvalidInputError("to run in a Slurm job", "no SLURM_JOB_ID", "submit the job's script with sbatch")
    return found


def restarts() -> int:
    """Return how often Slurm has requeued this job."""
    found = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(found) if found.isdigit() else 0


def slurm_times(timeout_s: float) -> SlurmJobTimes | None:
    """Ask Slurm for the state and the times of this job; None if it does not answer."""
    argv = ["env", "SLURM_TIME_FORMAT=%s", "scontrol", "show", "job", job_id()]
    status, text = command.run(argv, timeout_s)
    times = parse_job_times(text)
    return times if status == 0 and times.state else None


def _forget_endpoint(spec: job_spec.JobSpec, job: str) -> None:
    """Remove the registry entry that a killed rank 0 has left."""
    if spec.registry:
        with suppress(OSError):
            (Path(spec.registry) / endpoint_registry.file_name(spec.tier, job)).unlink(missing_ok=True)


def begin(spec: job_spec.JobSpec) -> int:
    """Prepare the job's folder, and publish that the job starts."""
    folder = job_files.JobFolder(spec, job_id())
    folder.begin()
    _forget_endpoint(spec, folder.job_id)
    now = time.time()
    folder.write_status(
        job_status.JobStatus(
            job_id=folder.job_id,
            model=spec.model,
            phase=job_status.STARTING,
            served_name=spec.names[0],
            percent=0,
            key_file=spec.key_file,
            started=now,
            updated=now,
            restarts=restarts(),
            log=spec.log_path(folder.job_id),
        )
    )
    log(f"job {folder.job_id}, start {restarts() + 1}: {spec.model} ({spec.source}), fingerprint {spec.fingerprint}")
    return 0


def prepare(spec: job_spec.JobSpec) -> int:
    """Read the reports of all nodes from standard input, choose the ports, and write the run with its secret."""
    folder = job_files.JobFolder(spec, job_id())
    try:
        reports = job_run.read_reports(sys.stdin.read(_LARGEST), spec.nodes)
        for report in reports:
            for note in report.notes:
                log(f"{report.host}: {note}")
        job_run.check_reports(reports)
        run = job_run.plan(spec, folder.job_id, restarts(), reports, secrets.token_hex(job_run.SECRET_BYTES))
        folder.write_run(run)
    except (HerdError, OSError) as error:
        reason = plain(reason_of(error)).rstrip(".")
        log(f"the job cannot start: {reason}")
        found = diagnosis.diagnose([reason])
        is_permanent = found is not None and found.is_permanent
        facts = {"end": "failed", "is_own": True, "reason": reason, "served_s": 0.0, "is_permanent": is_permanent}
        folder.write_end(0, facts)
        return 1
    if run.port != spec.port:
        log(f"port {spec.port} is in use on {run.ranks[0].host}: the API takes port {run.port}")
    return 0


def signal(spec: job_spec.JobSpec, name: str) -> int:
    """Turn a signal to the batch script into an order to rank 0."""
    folder = job_files.JobFolder(spec, job_id())
    seconds, is_preempted = 0.0, None
    if name == "USR1":
        times = slurm_times(SIGNAL_S)
        if times is not None:
            is_preempted = times.is_preempted
            seconds = max(0.0, times.end - time.time()) if times.end is not None else 0.0
    order = job_script.order_of(name, is_preempted, spec.is_renewed)
    folder.write_order(order, seconds)
    log(f"{name} to the job's script: {order}" + (f", {seconds:.0f} seconds are left" if seconds else ""))
    return 0


def _requeue(spec: job_spec.JobSpec, job: str, pause_s: int) -> str:
    """Requeue this job; return what went wrong. Slurm ends all processes of the script then, with SIGTERM first."""
    # This process and those that it starts go on until the time of the next start is set.
    signals.signal(signals.SIGTERM, signals.SIG_IGN)
    status, text = command.run(["scontrol", "requeue", job], END_S)
    if status:
        return plain(text.strip()) or f"scontrol ended with {status}"
    if pause_s > SLURM_PAUSE_S:
        # A refusal leaves it at Slurm's own pause.
        argv = ["scontrol", "update", f"JobId={job}", f"StartTime=now+{pause_s}"]
        status, text = command.run(argv, END_S)
        if status:
            log(f"the job starts again as soon as Slurm allows: {plain(text.strip())}")
    return ""


def end(spec: job_spec.JobSpec, status: int, is_ended_by_slurm: bool) -> int:
    """Decide what happens after the ranks have ended, publish it, and return the script's exit status.

    :param status: exit status of the ranks' step.
    :param is_ended_by_slurm: whether the script got SIGTERM.
    """
    folder = job_files.JobFolder(spec, job_id())
    order, _seconds = folder.read_order()
    ending = requeue.ending_of(order, [requeue.read_end(end) for end in folder.read_ends()])
    # Without an answer, a preemption would look like a failure.
    answers = (slurm_times(END_S) for _try in range(END_TRIES))
    times = next((answer for answer in answers if answer is not None), SlurmJobTimes())
    decision = requeue.decide(ending, times, folder.failures(), spec.requeues, spec.is_renewed)
    if is_ended_by_slurm and decision.action in (requeue.REQUEUE, requeue.WAIT):
        decision = requeue.Decision(requeue.FAIL, f"Slurm has ended the job: {times.state or 'SIGTERM'}")
    if decision.is_failure:
        folder.add_failure(requeue.Failure(time.time(), ending.served_s))
    log(f"the ranks have ended (srun: {status}): {decision.reason}")
    _forget_endpoint(spec, folder.job_id)
    # A requeued job has not ended: a launch that follows it waits on.
    phases = {requeue.END: job_status.ENDED, requeue.FAIL: job_status.FAILED}
    phase = phases.get(decision.action, job_status.STARTING)
    former = folder.read_status() or job_status.JobStatus(folder.job_id, spec.model, phase)
    percent = 0 if phase == job_status.STARTING else former.percent
    folder.write_status(replace(former, phase=phase, percent=percent, reason=decision.reason, updated=time.time()))
    if decision.action == requeue.REQUEUE and (problem := _requeue(spec, folder.job_id, decision.pause_s)):
        log(f"the job cannot be requeued: {problem}")
        reason = plain(f"{decision.reason}; Slurm refuses to requeue it: {problem}")
        folder.write_status(replace(former, phase=job_status.FAILED, reason=reason, updated=time.time()))
        return 1
    if decision.action in (requeue.REQUEUE, requeue.WAIT):
        return job_script.WAIT_STATUS
    return 0 if decision.action == requeue.END else 1
