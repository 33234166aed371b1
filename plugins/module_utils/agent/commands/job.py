# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl job): the runtime of a tier's job, its steps, and the guard of the workers' ports."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidInputError, MismatchError, RemoteFailureError
from ...core.slurm import job_spec
from ..common import command
from ..common.log import log_with_time as log
from ..slurm import job_spec_store, model_discovery, port_guard
from ..slurm import step as job_step
from ..slurm.runtime import Runtime
from ..slurm.slurm_times import TIMEOUT_S as SLURM_TIMEOUT_S

#: Seconds without a change after which a registry entry has no writer: a heartbeat comes every two seconds.
ABANDONED_S = 86400.0


def _hosts() -> list[str]:
    listed = os.environ.get("SLURM_JOB_NODELIST", "")
    if not listed or "SLURM_JOB_ID" not in os.environ:
        raise InvalidInputError("to run in a Slurm job", "no SLURM_JOB_NODELIST", "submit the job script with sbatch")
    status, text = command.run(["scontrol", "show", "hostnames", listed], SLURM_TIMEOUT_S)
    if status:
        raise RemoteFailureError(f"the nodes in {listed} from scontrol show hostnames", text.strip(), "see slurmctld")
    return text.split()


def _remove_old_files(job: job_spec.JobSpec, now: float) -> None:
    """Remove logs of jobs that ended long ago, and abandoned registry entries of this tier."""
    logs, oldest = Path(job.logs), now - job.log_days * 86400
    for entry in logs.glob("[0-9]*") if job.log_days > 0 else ():
        with suppress(OSError):
            if max((file.stat().st_mtime for file in entry.iterdir()), default=entry.stat().st_mtime) < oldest:
                shutil.rmtree(entry)
    for path in logs.glob("slurm-*.out") if job.log_days > 0 else ():
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
    for path in Path(job.registry).glob(f"*{job.tier}-*.json*"):
        with suppress(OSError):
            if path.stat().st_mtime < now - ABANDONED_S:
                path.unlink()


def run_command(arguments: argparse.Namespace) -> int:
    """Run the job."""
    job = job_spec_store.read(Path(arguments.data), arguments.fingerprint, Path(arguments.kept))
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user != job.user:
        raise MismatchError(f"to run as {job.user}", user, f"submit it as that user: sudo -u {job.user} sbatch …")
    hosts = _hosts()
    job_spec.assign_nodes(job, hosts)
    runtime = Runtime(model_discovery.with_discovered(job, hosts[0], log), hosts, os.environ["SLURM_JOB_ID"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _frame: runtime.signals.put(signal.Signals(received).name))
    _remove_old_files(job, time.time())
    return runtime.run()


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl job)."""
    job = commands.add_parser("job", description="Run a tier inside a Slurm job.")
    what = job.add_subparsers(dest="what", required=True)
    run = what.add_parser("run", help="start the tier's engines and supervise them until the job drains")
    run.add_argument("--data", required=True, help="the tier's data, beside its job script")
    run.add_argument("--fingerprint", required=True, help="fingerprint of the data that the job was submitted with")
    run.add_argument("--kept", required=True, help="copy of the data for the next run of the job")
    run.set_defaults(run=run_command)
    step = what.add_parser("step", help="run one engine on its node (srun starts it)")
    step.add_argument("--order", required=True)
    step.set_defaults(run=job_step.step_command)
    only = what.add_parser("engine", help="execute the engine with the job's signals blocked")
    only.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    only.set_defaults(run=job_step.engine_command)
    guard = what.add_parser("guard", help="open a worker's port to its head only (herd-job-guard.service)")
    guard.add_argument("--config", default=port_guard.DEFAULT_PATH)
    guard.set_defaults(run=port_guard.guard_command)
