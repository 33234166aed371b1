# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in words why Slurm does not start a job, with advice for the user who submitted it or a tier's operator.

The reasons are those of Slurm 22.05 to 25.05 (C(src/common/job_state_reason.c)). The names of limits follow a grammar:
whose limit, of what, for which scope.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Advice on a job whose launch failed. The manager of the tiers submits another one.
TIER_LAUNCH_ADVICE = (
    "see slurmd's log on its nodes (journalctl -u slurmd) and sinfo -R; a new job follows automatically"
)
_LAUNCH_ADVICE = "cancel it and submit it again; if it happens again, tell the cluster's support its job number"
#: At some sites each preemption counts against the limit.
OFTEN_REQUEUED = "Slurm has requeued it as often as it may (MaxBatchRequeue), and holds it"
#: Beginnings of the reasons with which Slurm holds a job whose launch failed, and what they mean.
LAUNCH_FAILED = {
    "launch failed requeued held": "its launch failed, and Slurm holds it",
    "launch failure limit exceeded": OFTEN_REQUEUED,
    "jobholdmaxrequeue": OFTEN_REQUEUED,
}
_NODES = "a node is down, drained or reserved"
_NODES_ADVICE = "see sinfo -R and scontrol show reservation; a time limit that ends before a reservation lets it start"
_TIER_NODES_ADVICE = "see sinfo -R and scontrol show reservation"
_PARTITION_ADVICE = "see sinfo, and name another partition, or wait for the cluster's administrators"
_TIER_PARTITION_ADVICE = "scontrol update partition=… state=up"
_USER_ACCOUNT = "see sacctmgr show assoc user=$USER format=account,partition,qos, and correct slurm.account"
_USER_QOS = "see sacctmgr show assoc user=$USER format=account,partition,qos"
_LESS = "request less of it: gpus, nodes, slurm.cpus_per_task or slurm.mem_per_gpu"


@dataclass(frozen=True)
class PendingReason:
    """What the reason of a pending job means. All texts are without a full stop.

    :ivar text: what it means; empty for an unknown reason.
    :ivar advice: for the user who submitted the job; C(JOB) stands for its number.
    :ivar tier_advice: for the operator of a tier.
    :ivar kind: C(waits), C(limit), C(nodes), C(held) or C(never): it does not start before somebody changes something.
    """

    text: str = ""
    advice: str = ""
    tier_advice: str = ""
    kind: str = "waits"

    @property
    def starts_by_itself(self) -> bool:
        """Return whether waiting is enough."""
        return self.kind not in ("held", "never")


#: Beginnings of reasons. The first that fits counts.
_REASONS: tuple[tuple[str, PendingReason], ...] = (
    ("Priority", PendingReason("jobs of higher priority come first")),
    ("Resources", PendingReason("its nodes are in use")),
    (
        "BeginTime",
        PendingReason("Slurm waits two minutes before it starts a requeued job again"),
    ),
    (
        "DependencyNeverSatisfied",
        PendingReason("it depends on a job that failed or was cancelled", "scancel JOB, then submit it again",
                      "scancel JOB", "never"),
    ),
    ("Dependency", PendingReason("its predecessor is still ending")),
    ("Cleaning", PendingReason("its predecessor is still ending")),
    ("Prolog", PendingReason("the cluster's prolog prepares its nodes")),
    ("SchedDefer", PendingReason("the scheduler considers it in its next pass")),
    ("JobHeldAdmin", PendingReason("an administrator holds it", "ask the cluster's support why",
                                   "scontrol release JOB", "held")),
    ("JobHeld", PendingReason("it is held", "scontrol release JOB", "scontrol release JOB", "held")),
    ("job requeued in held state", PendingReason("it is held", "scontrol release JOB", "scontrol release JOB", "held")),
    *(
        (reason, PendingReason(text, _LAUNCH_ADVICE, TIER_LAUNCH_ADVICE, "never"))
        for reason, text in LAUNCH_FAILED.items()
    ),
    ("ReqNodeNotAvail", PendingReason(_NODES, _NODES_ADVICE, _TIER_NODES_ADVICE, "nodes")),
    ("Nodes required", PendingReason(_NODES, _NODES_ADVICE, _TIER_NODES_ADVICE, "nodes")),
    ("NodeDown", PendingReason("a node is down", "see sinfo -R", "see sinfo -R", "nodes")),
    ("FrontEndDown", PendingReason("a node is down", "see sinfo -R", "see sinfo -R", "nodes")),
    ("PowerNotAvail", PendingReason("its nodes have no power at the moment", "see sinfo", "see sinfo", "nodes")),
    ("PowerReserved", PendingReason("its nodes have no power at the moment", "see sinfo", "see sinfo", "nodes")),
    ("PartitionDown", PendingReason("the partition is down", _PARTITION_ADVICE, _TIER_PARTITION_ADVICE, "nodes")),
    ("PartitionInactive", PendingReason("the partition is inactive", _PARTITION_ADVICE, _TIER_PARTITION_ADVICE,
                                        "nodes")),
    (
        "PartitionTimeLimit",
        PendingReason("its time limit is longer than the partition's",
                      "lower slurm.time_default or the model's time; sinfo -o '%P %l' shows the partition's limit",
                      "lower time_limit in herd_tiers", "never"),
    ),
    (
        "PartitionNodeLimit",
        PendingReason("it requests more nodes than the partition allows",
                      "lower nodes of the model, or name another partition", "correct nodes in herd_tiers", "never"),
    ),
    (
        "PartitionConfig",
        PendingReason("the partition does not admit this job", "see scontrol show partition, and name another one",
                      "see scontrol show partition", "never"),
    ),
    (
        "BadConstraints",
        PendingReason("no node matches its constraints", "lower gpus for each node, cpus_per_task or mem_per_gpu",
                      "correct gres, cpus and memory in herd_tiers", "never"),
    ),
    ("InvalidQOS", PendingReason("its QoS no longer exists", _USER_QOS, "run playbooks/slurm.yml", "never")),
    ("InvalidAccount", PendingReason("its account no longer exists", _USER_ACCOUNT, "run playbooks/slurm.yml",
                                     "never")),
    (
        "AccountNotAllowed",
        PendingReason("its account may not use this partition", _USER_ACCOUNT, "correct partition in herd_tiers",
                      "never"),
    ),
    (
        "QOSNotAllowed",
        PendingReason("its QoS may not be used with this account or partition", _USER_QOS,
                      "correct qos in herd_tiers", "never"),
    ),
    ("ReservationDeleted", PendingReason("its reservation was deleted", "submit it without the reservation",
                                         "see scontrol show reservation", "never")),
    ("ReservationInvalid", PendingReason("its reservation is invalid", "submit it without the reservation",
                                         "see scontrol show reservation", "never")),
    ("Reservation", PendingReason("it waits for a reservation", "see scontrol show reservation",
                                  "see scontrol show reservation")),
    ("JobArrayTaskLimit", PendingReason("other tasks of its array run")),
    ("BurstBuffer", PendingReason("its burst buffer is being prepared")),
    ("MaxMemPerLimit", PendingReason("it requests more memory than the cluster allows", "lower slurm.mem_per_gpu",
                                     "lower memory in herd_tiers", "never")),
    ("QOSUsageThreshold", PendingReason("its account has used more than its share, and the QoS refuses it",
                                        "wait until the usage decays, or name another QoS", "see sshare", "limit")),
    ("Licenses", PendingReason("a licence is in use")),
    ("AccountingPolicy", PendingReason("a limit of accounting is reached", "see sacctmgr show assoc user=$USER",
                                       "see sacctmgr show assoc", "limit")),
)  # fmt: skip

_LIMIT = re.compile(
    r"(?P<whose>QOS|Assoc(?:iation)?)?(?P<kind>Grp|Max|Min)?(?P<what>[A-Za-z]+?)(?P<minutes>(?:Run)?Minutes)?"
    r"(?P<scope>Per(?:Job|Node|User|Account))?(?:Limit|NotSatisfied)?",
    re.IGNORECASE,
)
_WHAT = {
    "cpu": "CPUs", "gres": "GPUs", "node": "nodes", "mem": "memory", "memory": "memory", "jobs": "running jobs",
    "job": "running jobs", "submitjobs": "jobs in the queue", "submitjob": "jobs in the queue", "wall": "time",
    "wallduration": "time", "time": "time", "billing": "billing units", "energy": "energy", "license": "licences",
    "bb": "burst buffer", "resource": "resources", "unknown": "resources",
}  # fmt: skip


def _limit(reason: str) -> PendingReason | None:
    """Decode the name of a limit, such as QOSMaxGRESPerUser or AssocGrpCPUMinutesLimit."""
    found = _LIMIT.fullmatch(reason.partition(",")[0].strip())
    if found is None or not (found["whose"] or (found["scope"] or "").lower() == "peraccount"):
        return None
    is_qos = (found["whose"] or "qos").lower() == "qos"
    whose = "QoS" if is_qos else "account"
    see = "see sacctmgr show qos" if is_qos else "see sacctmgr show assoc"
    user_see = "sacctmgr show qos shows the limit" if is_qos else "sacctmgr show assoc user=$USER shows the limit"
    what = _WHAT.get(found["what"].lower(), "resources")
    kind, scope, minutes = ((found[name] or "").lower() for name in ("kind", "scope", "minutes"))
    base = f"a limit of its {whose} is reached"
    if kind == "min":
        text, rest, state = f"the {whose} requires more {what}", f"request more of it; {user_see}", "never"
    elif scope in ("perjob", "pernode"):
        text = f"it requests more {what} than the {whose} allows a {scope[3:]}"
        rest, state = f"{_LESS if what != 'time' else 'lower the time limit'}; {user_see}", "never"
    elif minutes == "minutes":
        text, rest, state = f"the budget of {what} is used up", f"ask for a new budget; {user_see}", "limit"
    elif minutes:
        text, rest, state = (
            f"running jobs have reserved the budget of {what}",
            f"wait, or end jobs; {user_see}",
            "limit",
        )
    elif kind == "grp" or scope == "peraccount":
        text, rest, state = f"all jobs of the {whose} together use all {what} that they may", user_see, "limit"
    else:
        text, rest, state = f"your jobs use all {what} that they may", f"end one (squeue --me); {user_see}", "limit"
    return PendingReason(f"{base}: {text}", rest, see, state)


def explain(reason: str) -> PendingReason:
    """Explain the reason of a pending job, as squeue prints it; without a text if it is unknown."""
    low = reason.lower()
    for start, meaning in _REASONS:
        if low.startswith(start.lower()):
            return meaning
    return _limit(reason) or PendingReason()
