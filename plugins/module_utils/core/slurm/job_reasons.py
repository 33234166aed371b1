# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain in words why a job is pending, why it has ended, and why Slurm refused it, with advice for an operator."""

from __future__ import annotations

from .. import timefmt
from ..text import size
from . import pending_reasons
from .queue import HELD, Ending, Job

#: Beginnings of the reasons of a job that a user holds (scontrol hold, scontrol requeuehold).
_HELD_REASONS = ("jobheld", "job requeued in held state")
#: Advice; JOB stands for the number of the job.
LOG_ADVICE = "see ai/logs/JOB/job.log in the shared directory"
#: Words in an error of sbatch, and advice.
_REFUSALS = (
    ("qos", "see the QoS with sacctmgr show assoc user=… format=user,account,qos, or run playbooks/slurm.yml"),
    ("account", "see the account with sacctmgr show assoc, or run playbooks/slurm.yml"),
    ("partition", "see sinfo, and correct the partition in herd_tiers"),
    ("node", "see sinfo, and correct nodes, hosts and gres in herd_tiers"),
    ("time limit", "correct time_limit in herd_tiers"),
    ("memory", "correct memory in herd_tiers"),
)


def launch_failed(job: Job) -> bool:
    """Say whether Slurm holds a job because its launch failed."""
    return job.is_pending and job.reason.lower().startswith(tuple(pending_reasons.LAUNCH_FAILED))


def is_held(job: Job) -> bool:
    """Say whether a user holds a job."""
    is_so = job.state in HELD or job.reason.lower().startswith(_HELD_REASONS)
    return job.is_pending and is_so and not launch_failed(job)


def refusal_advice(said: str) -> str:
    """Give advice on an error of sbatch."""
    low = said.lower()
    return next((advice for part, advice in _REFUSALS if part in low), "submit it by hand to see the whole error")


def explain(job: str, ending: Ending) -> tuple[str, str]:
    """Say why a job ended, and give advice; both without a full stop."""
    ran = f"after {timefmt.span(ending.elapsed)}"
    log = f": {ending.log}" if ending.log else ""
    if ending.state == "OUT_OF_MEMORY":
        used = f"; {size(ending.needed)} was seen" if ending.needed else ""
        return (
            f"job {job} ran out of memory {ran} (limit {ending.allowed or 'unknown'}{used})",
            "raise memory of the tier in herd_tiers above the limit that it had",
        )
    if ending.state == "TIMEOUT":
        return (
            f"job {job} reached its time limit of {ending.limit or 'unknown length'}",
            "raise renew_before of the tier, so that it finds an idle window before, or time_limit",
        )
    if ending.state in ("NODE_FAIL", "BOOT_FAIL"):
        return (f"job {job} lost a node of {ending.nodes or 'its nodes'} {ran}", "see sinfo -R, and slurmd there")
    if ending.state == "PREEMPTED":
        return (f"job {job} was preempted {ran}", "")
    if ending.state == "CANCELLED":
        who = f" by user number {ending.by}" if ending.by else ""
        return (f"job {job} was cancelled{who} {ran}", "run herdctl tiers stop to keep the tier stopped")
    if ending.state == "DEADLINE":
        return (f"job {job} reached its deadline", "remove the deadline")
    if ending.state == "COMPLETED":
        return (f"job {job} ended by itself {ran}{log}", "see its log")
    if "launch" in ending.reason.lower():
        return (
            f"job {job} could not be started or was killed on {ending.nodes or 'its nodes'}",
            pending_reasons.TIER_LAUNCH_ADVICE,
        )
    if ending.state == "FAILED":
        how = f"by signal {ending.signal}" if ending.signal else f"with status {ending.exit_code}"
        return (f"job {job} failed {how} {ran}{log}", LOG_ADVICE.replace("JOB", job))
    if ending.state in ("", "RUNNING", "PENDING"):
        return (f"job {job} is gone from the queue, and accounting does not say why{log}", "see slurmctld's log")
    return (f"job {job} ended {ran} as {ending.state}{log}", "see sacct")


def wait_in_words(reason: str) -> tuple[str, str]:
    """Say what the reason of a pending job means, and give a tier's operator advice; empty for an unknown reason."""
    found = pending_reasons.explain(reason)
    return found.text, found.tier_advice
