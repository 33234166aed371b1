# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm-job): the parts of a vLLM job. Its script calls them."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable

from ...core.errors import InvalidInputError
from ...core.vllm.job import run as job_run
from ...core.vllm.job import spec as job_spec
from ..common.output import write_line
from ..vllm import batch, engine_process, job_files, node_report
from ..vllm import rank as job_rank


def _rank(spec: job_spec.JobSpec) -> int:
    found = os.environ.get("SLURM_PROCID", "")
    if not found.isdigit() or int(found) >= spec.nodes:
        raise InvalidInputError(
            f"a rank of {spec.nodes} as SLURM_PROCID", found or "none", "start it with srun, as the job's script does"
        )
    return int(found)


def _host() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0]


def _with_spec(work: Callable[[job_spec.JobSpec, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    return lambda arguments: work(job_files.read_spec(arguments.spec), arguments)


def _report(spec: job_spec.JobSpec, _arguments: argparse.Namespace) -> int:
    write_line(job_run.write_report(node_report.report(spec, _rank(spec), _host())))
    return 0


def _engine(arguments: argparse.Namespace) -> int:
    return engine_process.execute([word for index, word in enumerate(arguments.argv) if index or word != "--"])


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl vllm-job)."""
    job = commands.add_parser("vllm-job", description="Run a model with vLLM inside a Slurm job.")
    what = job.add_subparsers(dest="what", required=True)

    def add(
        name: str, text: str, work: Callable[[job_spec.JobSpec, argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        found = what.add_parser(name, help=text)
        found.add_argument("spec", help="the job's specification, beside its script")
        found.set_defaults(run=_with_spec(work))
        return found

    add("begin", "prepare the job's folder", lambda spec, _arguments: batch.begin(spec))
    add("node", "clean up on this node and report it (srun starts it on each node)", _report)
    add("prepare", "read the nodes' reports and choose the ports", lambda spec, _arguments: batch.prepare(spec))
    add(
        "rank",
        "run vLLM on this node and watch the other ranks (srun starts it on each node)",
        lambda spec, _arguments: job_rank.run_rank(spec, batch.job_id(), _rank(spec), batch.restarts()),
    )
    passed = add("signal", "pass a signal on to rank 0", lambda spec, given: batch.signal(spec, given.name))
    passed.add_argument("name", choices=("USR1", "USR2", "HUP"))
    ended = add(
        "end",
        "decide what follows the end of the ranks",
        lambda spec, given: batch.end(spec, given.status, given.ended_by_slurm == "yes"),
    )
    ended.add_argument("--status", type=int, required=True, help="exit status of the ranks' step")
    ended.add_argument("--ended-by-slurm", choices=("yes", "no"), default="no", help="whether the script got SIGTERM")
    engine = what.add_parser("engine", help="execute vLLM so that it ends with its wrapper")
    engine.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    engine.set_defaults(run=_engine)
