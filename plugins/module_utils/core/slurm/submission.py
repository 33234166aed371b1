# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the answers of sbatch: the number of a job, the expected start, and a refusal in words.

C(sbatch --test-only) answers on standard error. Its exit status says nothing in some versions. The refusals are the
texts of Slurm's C(src/common/slurm_errno.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..text import plain

_START = re.compile(
    r"Job (?P<job>\d+) to start at (?P<start>\S+) using (?P<processors>\d+) processors"
    r"(?: on nodes (?P<nodes>\S+))?(?: in partition (?P<partition>\S+))?"
)
_ERROR = re.compile(
    r"^(?:sbatch: )?(?:error: )?(?:Batch job submission failed: |allocation failure: )?(.*)$", re.IGNORECASE
)
_NUMBER = re.compile(r"^(?:Submitted batch job )?(\d+)(?:;\S+)?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class StartEstimate:
    """When Slurm would start a job. It assumes that each running job uses all of its time.

    :ivar start: as Slurm prints it: seconds since 1970, or local time without a zone.
    """

    start: str
    nodes: str = ""
    partition: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why Slurm refuses a job, and what to change. All texts are without a full stop.

    :ivar name: a short name of the cause.
    :ivar said: what Slurm says, in one line.
    :ivar is_temporary: whether the same job may be accepted later.
    """

    name: str
    reason: str
    cure: str
    said: str
    is_temporary: bool = False


_ASSOC = "see sacctmgr show assoc user=$USER format=account,partition,qos"
#: Parts of Slurm's errors, the cause, its meaning, what to change, and whether a later try may succeed.
_REFUSALS = (
    (
        "invalid account or account/partition", "account",
        "the account does not exist, or may not use this partition", f"correct slurm.account; {_ASSOC}", False,
    ),
    (
        "invalid partition name", "partition", "the partition does not exist",
        "correct slurm.partition; sinfo -s lists the partitions", False,
    ),
    (
        "no partition specified", "partition", "the cluster has no default partition",
        "set slurm.partition; sinfo -s lists the partitions", False,
    ),
    (
        "user's group not permitted", "partition", "your group may not use this partition",
        "name another slurm.partition; scontrol show partition says which groups may use it", False,
    ),
    (
        "required partition not available", "partition", "the partition is closed (down or drained)",
        "wait, or name another slurm.partition; sinfo -s shows their state", True,
    ),
    (
        "invalid qos", "qos", "the QoS does not exist, or the account may not use it", f"correct the QoS; {_ASSOC}",
        False,
    ),
    (
        "job violates accounting/qos policy", "limit",
        "a limit of the account or the QoS refuses it: too many jobs in the queue, too large, or too long",
        f"end other jobs (squeue --me), or lower gpus, nodes or the time; {_ASSOC}", True,
    ),
    (
        "requested time limit is invalid", "time", "the time limit is missing or longer than the partition allows",
        "lower slurm.time_default or the model's time; sinfo -o '%P %l' shows the limits", False,
    ),
    (
        "requested node configuration is not available", "resources",
        "no nodes of the partition have this many GPUs, CPUs and this much memory, or they are down",
        "lower gpus for each node, slurm.cpus_per_task or slurm.mem_per_gpu; sinfo -N -o '%N %G %c %m %T' shows the "
        "nodes", False,
    ),
    (
        "memory required by task is not available", "resources", "no node has this much memory",
        "lower slurm.mem_per_gpu; sinfo -N -o '%N %m' shows the nodes", False,
    ),
    (
        "memory specification can not be satisfied", "resources", "no node has this much memory",
        "lower slurm.mem_per_gpu; sinfo -N -o '%N %m' shows the nodes", False,
    ),
    (
        "more processors requested than permitted", "resources", "it requests more CPUs than the partition allows",
        "lower slurm.cpus_per_task", False,
    ),
    (
        "cpu count per node can not be satisfied", "resources", "no node has this many CPUs",
        "lower slurm.cpus_per_task; sinfo -N -o '%N %c' shows the nodes", False,
    ),
    (
        "node count specification invalid", "resources", "it requests more nodes than the partition allows",
        "lower nodes of the model, or name another partition", False,
    ),
    (
        "required node not available", "nodes", "its nodes are down, drained or reserved",
        "see sinfo -R; wait, or name another partition", True,
    ),
    (
        "invalid generic resource", "gres", "the cluster does not know the requested kind of GPU",
        "see sinfo -o '%P %G', and correct the GPU type of the site", False,
    ),
    ("invalid feature", "constraint", "no node has the requested feature", "see sinfo -o '%N %f'", False),
    ("access/permission denied", "permission", "you may not submit jobs to this cluster", f"{_ASSOC}", False),
    (
        "unable to contact slurm controller", "slurm", "Slurm's controller does not answer",
        "wait and repeat; scontrol ping shows whether it is up", True,
    ),
    (
        "socket timed out", "slurm", "Slurm's controller does not answer in time",
        "wait and repeat; squeue --me shows whether the job was accepted", True,
    ),
    ("slurm backup controller in standby", "slurm", "Slurm's controller is changing over", "wait and repeat", True),
    ("rate limit exceeded", "slurm", "Slurm's controller limits requests", "wait and repeat", True),
    ("maxjobcount limit", "slurm", "the cluster's queue is full", "wait and repeat", True),
    ("invalid account", "account", "the account does not exist", f"correct slurm.account; {_ASSOC}", False),
)  # fmt: skip


def parse_job_number(printed: str) -> str:
    """Read the number from C(sbatch --parsable) or C(sbatch); empty if there is none."""
    found = _NUMBER.search(printed)
    return found[1] if found else ""


def parse_test_only(printed: str) -> StartEstimate | Refusal | None:
    """Read the answer of C(sbatch --test-only); None if it says neither."""
    if found := _START.search(printed):
        return StartEstimate(found["start"], found["nodes"] or "", found["partition"] or "")
    return parse_refusal(printed)


def parse_refusal(printed: str) -> Refusal | None:
    """Explain an error of sbatch; None if it printed none."""
    low = printed.lower()
    for part, name, reason, cure, is_temporary in _REFUSALS:
        if part in low:
            line = next(line for line in printed.splitlines() if part in line.lower())
            return Refusal(name, reason, cure, _said(line), is_temporary)
    lines = [line for line in printed.splitlines() if "error" in line.lower() or "failure" in line.lower()]
    if not lines:
        return None
    return Refusal("refused", "Slurm refuses it", "ask the cluster's support with Slurm's message", _said(lines[-1]))


def _said(line: str) -> str:
    found = _ERROR.match(line.strip())
    return plain(found[1] if found else line)
