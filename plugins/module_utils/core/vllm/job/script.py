# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the script of a vLLM job: one template for every model and both ways.

The script holds what Slurm has to know, and the order of things. Rules are in C(herdctl vllm-job).
"""

from __future__ import annotations

import shlex
import string

from . import requeue
from .spec import CUDA, OPERATOR, JobSpec

#: Exit status of C(herdctl vllm-job end) with which the script waits until Slurm ends the job.
WAIT_STATUS = 75

_TEMPLATE = string.Template(
    r"""#!/usr/bin/env bash
# $title
#
# Written by herdctl vllm. Changes made here are lost: change config.yaml and launch the model again.
# By hand:
#
#   sbatch $script
#   squeue --me --name=$job_name
#   tail -f $log
#   scancel --signal=HUP --batch JOB      # finish the running requests and end
#
$options
set -uo pipefail

spec=$spec
program=($python -I $herdctl vllm-job)
job() { "$${program[@]}" "$$@"; }
# Each rank is one task on a node of its own. When one ends, Slurm ends the others 10 seconds later.
step() {
  local action=$$1
  shift
  srun --nodes=$nodes --ntasks=$nodes --ntasks-per-node=1 --cpus-per-task=$cpus --cpu-bind=none --mpi=none \
    --export=ALL --kill-on-bad-exit=1 --wait=10 "$$@" "$${program[@]}" "$$action" "$$spec" < /dev/null
}

# USR1: Slurm announces a preemption or the time limit. USR2: the configuration has changed. HUP: a person stops the
# job. Rank 0 alone drains. With TERM, Slurm ends the job; the ranks get it too.
trap 'job signal "$$spec" USR1' USR1
trap 'job signal "$$spec" USR2' USR2
trap 'job signal "$$spec" HUP' HUP
trap 'ended_by_slurm=yes' TERM
ended_by_slurm=no
status=1

# Every node reports its address and its ports in use; then the job chooses its ports and makes a secret.
job begin "$$spec"
if step node --overlap --quiet --time=5 | job prepare "$$spec"; then
  step rank --label &
  ranks=$$!
  while true; do
    wait "$$ranks"
    status=$$?
    # A signal ends the wait before the ranks end.
    kill -0 "$$ranks" 2> /dev/null || break
  done
fi

# A failed job is requeued by our own rule. A preempted one must not end before Slurm ends it, or it is not requeued.
job end "$$spec" --status "$$status" --ended-by-slurm "$$ended_by_slurm"
status=$$?
while [ "$$status" -eq $wait_status ] && [ "$$ended_by_slurm" = no ]; do
  sleep 10 &
  wait $$!
done
exit "$$status"
"""
)


def _title(spec: JobSpec) -> str:
    count = f"{spec.nodes} node{'s' if spec.nodes > 1 else ''}"
    if spec.device == CUDA:
        gpus = f"{spec.gpus} GPU{'s' if spec.gpus > 1 else ''}"
        return f"{spec.model}: {spec.source} on {count}, {gpus}, tensor parallel size {spec.gpus}."
    return f"{spec.model}: {spec.source} on the processors of {count}, tensor parallel size {spec.gpus}."


def _options(spec: JobSpec) -> list[tuple[str, str]]:
    """List the options of sbatch; an empty text stands for an option without a value."""
    found = [
        ("job-name", spec.job_name),
        ("comment", f'"{spec.comment}"'),
        ("account", spec.account),
        ("partition", spec.partition),
        ("qos", spec.qos),
        ("reservation", spec.reservation),
        ("constraint", spec.constraint),
        ("nodelist", ",".join(spec.nodelist)),
        ("exclude", ",".join(spec.exclude)),
        ("nodes", str(spec.nodes)),
        ("ntasks-per-node", "1"),
        ("cpus-per-task", str(spec.cpus_per_node)),
        ("gres", spec.gres),
        ("gpus-per-node", str(spec.gpus_per_node) if spec.device == CUDA and not spec.gres else ""),
        ("mem", spec.memory),
        ("time", spec.time_limit),
    ]
    return [(name, value) for name, value in found if value]


def _lines(spec: JobSpec) -> str:
    lines = [f"#SBATCH --{name}={value}" for name, value in _options(spec)]
    lines += [
        "# A preempted job is requeued. Only this script gets USR1: at a preemption where the site has",
        "# preempt_send_user_signal, and so many seconds before the time limit everywhere.",
        "#SBATCH --requeue",
        f"#SBATCH --signal=B:USR1@{spec.timing.renew_before}",
        "# The limits of the node count, not those of the submitter.",
        "#SBATCH --propagate=NONE",
        f"#SBATCH --chdir={'/' if spec.way == OPERATOR else spec.work_dir}",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={spec.log_path('%j')}",
    ]
    return "\n".join(lines) + "\n"


def render(spec: JobSpec) -> str:
    """Write the job script of a checked specification."""
    words = {
        "spec": spec.spec_path,
        "python": spec.python,
        "herdctl": spec.herdctl,
        "script": spec.script,
        "job_name": spec.job_name,
        "log": spec.log_path("JOB"),
        "nodes": str(spec.nodes),
        "cpus": str(spec.cpus_per_node),
    }
    return _TEMPLATE.substitute(
        {name: shlex.quote(word) for name, word in words.items()},
        title=_title(spec),
        options=_lines(spec),
        wait_status=WAIT_STATUS,
    )


def order_of(signal_name: str, is_preempted: bool | None, is_renewed: bool) -> str:
    """Return the order to rank 0 for a signal to the batch script.

    :param is_preempted: whether Slurm preempts the job; None if it does not answer, which counts as a preemption.
    :param is_renewed: whether the job requeues itself before its time limit.
    """
    if signal_name == "HUP":
        return requeue.STOP
    if signal_name == "USR2":
        return requeue.OUTDATED
    if is_preempted is not False:
        return requeue.PREEMPTED
    return requeue.RENEWAL if is_renewed else requeue.TIME_LIMIT
