# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare Slurm's accounting and configuration with what preemptible inference needs.

It needs two QoS, one of which preempts the other, an account, users with these QoS, and partitions. Settings of the
site are never removed: a user keeps every other QoS, and a QoS every other limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..host import numa
from . import queue

#: Fields of sacctmgr -nP show qos, show assoc and show user.
QOS_FIELDS = "Name,Priority,PreemptMode,Preempt,GraceTime"
ASSOC_FIELDS = "Cluster,Account,User,QOS,DefaultQOS"
USER_FIELDS = "User,AdminLevel"
#: The first version whose srun has --overlap.
OLDEST = (20, 11)
#: A kind of GRES of a node with the sockets near it, such as C(gpu:v100:1(S:0)).
_GRES = re.compile(r"(\w+)(?::[\w.-]+)*\(S:([0-9,-]+)\)")
#: Settings of slurm.conf: the required value, and the reason.
_CONFIGURATION = {
    "PreemptType": ("preempt/qos", "a QoS preempts another one"),
    "PreemptMode": ("REQUEUE", "a preempted job goes back into the queue"),
    "AccountingStorageEnforce": ("qos", "a job gets only a QoS that its user may use"),
}


@dataclass(frozen=True)
class Qos:
    """A quality of service.

    :param preempts: names of the QoS that it preempts.
    :param mode: PreemptMode, for a QoS that is preempted.
    :param grace: seconds that a preempted job has.
    """

    name: str
    priority: int = 0
    preempts: frozenset[str] = frozenset()
    mode: str = ""
    grace: int = 0


@dataclass(frozen=True)
class User:
    """A user in an account, with the allowed QoS."""

    name: str
    account: str
    qos: frozenset[str] = frozenset()
    default_qos: str = ""


@dataclass(frozen=True)
class Accounting:
    """QoS, accounts and users: those that exist, or those that are required."""

    qos: Mapping[str, Qos] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    users: Mapping[tuple[str, str], User] = field(default_factory=dict)


@dataclass(frozen=True)
class SacctmgrCall:
    """One call of sacctmgr, and its change in words."""

    argv: tuple[str, ...]
    before: str
    after: str


def _rows(text: str, fields: str) -> Iterator[list[str]]:
    """Yield the values of each complete line of sacctmgr."""
    count = len(fields.split(","))
    rows = (line.split("|")[:count] for line in text.splitlines())
    return (row for row in rows if len(row) == count)


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def parse_qos(text: str) -> dict[str, Qos]:
    """Read C(sacctmgr -nP show qos format=QOS_FIELDS)."""
    found = {}
    for name, priority, mode, preempts, grace in _rows(text, QOS_FIELDS):
        own_mode = "" if mode.lower() == "cluster" else mode.upper()
        found[name] = Qos(name, int(priority or 0), _names(preempts), own_mode, queue.seconds(grace) if grace else 0)
    return found


def parse_accounting(qos: str, associations: str, cluster: str) -> Accounting:
    """Read the accounting of one cluster."""
    accounts, users = set(), {}
    for name, account, user, allowed, default in _rows(associations, ASSOC_FIELDS):
        if name.lower() == cluster.lower():
            accounts.add(account)
            if user:
                users[user, account] = User(user, account, _names(allowed), default)
    return Accounting(parse_qos(qos), frozenset(accounts), users)


def parse_levels(text: str) -> dict[str, str]:
    """Read C(sacctmgr -nP show user format=USER_FIELDS): the AdminLevel of each user."""
    return dict(_rows(text, USER_FIELDS))


def _qos_settings(wanted: Qos, found: Qos | None) -> dict[str, tuple[str, str]]:
    """List the options to set, with their values before and after."""
    have = found or Qos(wanted.name)
    changes = {}
    if have.priority != wanted.priority:
        changes["Priority"] = (str(have.priority), str(wanted.priority))
    if wanted.mode and have.mode != wanted.mode:
        changes["PreemptMode"] = (have.mode or "cluster", wanted.mode)
    if wanted.grace and have.grace != wanted.grace:
        changes["GraceTime"] = (str(have.grace), str(wanted.grace))
    if not wanted.preempts <= have.preempts:
        everyone = have.preempts | wanted.preempts
        changes["Preempt"] = (",".join(sorted(have.preempts)) or "none", ",".join(sorted(everyone)))
    return changes


def _qos_step(wanted: Qos, found: Qos | None) -> SacctmgrCall | None:
    changes = _qos_settings(wanted, found)
    if found is not None and not changes:
        return None
    words = [f"{name}={after}" for name, (_before, after) in changes.items()]
    before, after = (", ".join(f"{name} {pair[at]}" for name, pair in changes.items()) for at in (0, 1))
    return SacctmgrCall(
        ("modify" if found else "add", "qos", wanted.name, *(("set", *words) if words else ())),
        f"QoS {wanted.name}: {before}\n" if found else "",
        f"QoS {wanted.name}: {after or 'with defaults'}\n",
    )


def _user_steps(wanted: User, found: User | None) -> Iterator[SacctmgrCall]:
    who = f"user {wanted.name} in {wanted.account}"
    if found is None:
        yield SacctmgrCall(("add", "user", wanted.name, f"Account={wanted.account}"), "", f"{who}\n")
        found = User(wanted.name, wanted.account)
    # sacctmgr refuses a default QoS that is not allowed yet, so there are two calls.
    where = ("modify", "user", wanted.name, "where", f"Account={wanted.account}", "set")
    missing = sorted(wanted.qos - found.qos)
    if missing:
        before, after = (",".join(sorted(qos)) or "no QoS" for qos in (found.qos, found.qos | wanted.qos))
        yield SacctmgrCall((*where, f"QOS+={','.join(missing)}"), f"{who}: {before}\n", f"{who}: {after}\n")
    if wanted.default_qos and wanted.default_qos != found.default_qos:
        yield SacctmgrCall(
            (*where, f"DefaultQOS={wanted.default_qos}"),
            f"{who}: by default {found.default_qos or 'none'}\n",
            f"{who}: by default {wanted.default_qos}\n",
        )


def steps(wanted: Accounting, found: Accounting) -> list[SacctmgrCall]:
    """List the calls of sacctmgr, in a possible order."""
    # A QoS must exist before another one can preempt it.
    qos = sorted(wanted.qos.values(), key=lambda one: (len(one.preempts), one.name))
    calls = [step for one in qos for step in [_qos_step(one, found.qos.get(one.name))] if step]
    for account in sorted(wanted.accounts - found.accounts):
        calls.append(SacctmgrCall(("add", "account", account), "", f"account {account}\n"))
    for key in sorted(wanted.users):
        calls += _user_steps(wanted.users[key], found.users.get(key))
    return calls


def parse_configuration(text: str) -> dict[str, str]:
    """Read C(scontrol show config)."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _sign, value in pairs}


def parse_partitions(text: str) -> dict[str, dict[str, str]]:
    """Read C(scontrol -o show partition)."""
    found = {}
    for line in text.splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in facts:
            found[facts["PartitionName"]] = facts
    return found


def parse_gpu_processors(text: str) -> dict[str, int]:
    """Read C(scontrol -o show node): most processors near the GPUs of each node whose sockets Slurm knows.

    Slurm knows them from C(Cores=) or C(AutoDetect=) in gres.conf, and writes them as C(gpu:v100:1(S:0)).
    """
    found = {}
    for line in text.splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        sockets = {
            number
            for kind, listed in _GRES.findall(facts.get("Gres", ""))
            if kind in ("gpu", "shard")
            for number in numa.parse_list(listed)
        }
        size = [facts.get(name, "") for name in ("CoresPerSocket", "ThreadsPerCore")]
        if "NodeName" in facts and sockets and all(number.isdigit() for number in size):
            found[facts["NodeName"]] = len(sockets) * int(size[0]) * int(size[1])
    return found


def binding_problems(processors: Mapping[str, int], tiers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List tiers that ask for more processors than their GPUs' sockets have: Slurm never starts such a job.

    By the manual of gres.conf, C(--gres-flags=enforce-binding) allows a job the processors in C(Cores=) only.

    :param processors: of each node, as parse_gpu_processors returns them.
    :param tiers: jobs with this flag: C(cpus) and C(nodes) of the job, and C(hosts) that it may use.
    """
    found = []
    for name, tier in sorted(tiers.items()):
        small = {host: processors[host] for host in tier["hosts"] if processors.get(host, tier["cpus"]) < tier["cpus"]}
        if len(tier["hosts"]) - len(small) < tier["nodes"]:
            host, most = min(small.items(), key=lambda one: (one[1], one[0]))
            found.append(
                f"tier {name}: expected at most {most} cpus, which the sockets of the GPUs of {host} have (Cores= in "
                f"gres.conf), found {tier['cpus']}: Slurm would never start the job. Lower cpus, or set "
                f"slurm_tiers_near_gpu: false, which lets jobs use processors far from their GPU."
            )
    return found


def configuration_problems(configuration: Mapping[str, str]) -> list[str]:
    """List what slurm.conf lacks. Only the site's administrators change it."""
    found = []
    for name, (wanted, why) in _CONFIGURATION.items():
        has = configuration.get(name, "")
        if wanted.lower() not in has.lower().replace(" ", "").split(",") and wanted.lower() != has.lower():
            found.append(
                f"expected {name} with {wanted} in slurm.conf, so that {why}, found {has or 'none'}: "
                f"set it there, and restart slurmctld."
            )
    return found


def version_problems(configuration: Mapping[str, str]) -> list[str]:
    """Report a Slurm that is too old. An unknown version is accepted."""
    text = configuration.get("SLURM_VERSION", "")
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) >= OLDEST:
        return []
    return [
        f"expected Slurm {OLDEST[0]}.{OLDEST[1]:02} or newer, whose srun runs the steps of a job at the same "
        f"time (--overlap), found {text}: upgrade it."
    ]


def grace_problems(graces: Mapping[str, int], wanted: Accounting, found: Accounting) -> list[str]:
    """List QoS whose grace is shorter than their tiers'.

    :param graces: longest grace of the tiers of a QoS, by its name.
    """
    problems = []
    for name, grace in sorted(graces.items()):
        there = found.qos.get(name)
        has = wanted.qos[name].grace if name in wanted.qos else 0
        has = has or (there.grace if there else 0)
        if has < grace:
            problems.append(
                f"expected the QoS {name} to have the {grace} seconds of grace of its tiers, found "
                f"GraceTime {has}: raise it (slurm_tiers_qos), or lower grace in herd_tiers."
            )
    return problems


def configuration_warnings(
    configuration: Mapping[str, str], graces: Mapping[str, int], viewer: str = "", level: str = ""
) -> list[str]:
    """List settings of slurm.conf that work, but not well with preemption.

    :param graces: longest grace of the tiers of a QoS, by its name.
    :param viewer: user that must see the jobs of all users; empty for none.
    :param level: AdminLevel of this user.
    """
    found = []
    longest = max(graces.values(), default=0)
    wait = re.match(r"\d+", configuration.get("KillWait", ""))
    if wait and int(wait[0]) < longest:
        found.append(
            f"KillWait is {wait[0]} seconds in slurm.conf, and the longest grace of the tiers is {longest}: a job that "
            f"is cancelled or requeued by hand is killed earlier than a preempted one. Set KillWait to {longest}."
        )
    if "send_user_signal" in configuration.get("PreemptParameters", "").lower():
        found.append(
            "PreemptParameters has send_user_signal in slurm.conf: a preempted job gets the signal of its time "
            "limit, and asks Slurm for the meaning. While slurmctld does not answer, the job expects its limit, and "
            "running requests may be cut."
        )
    kind, weight = configuration.get("PriorityType", ""), configuration.get("PriorityWeightQOS", "0")
    if kind != "priority/multifactor" or weight == "0":
        found.append(
            f"PriorityType is {kind or 'not known'} with PriorityWeightQOS {weight} in slurm.conf: the priority of a "
            f"QoS does not count, so a pending job of a tier may start before a preempting job, and is preempted at "
            f"once. Use priority/multifactor with a PriorityWeightQOS above 0."
        )
    private = [word.strip().lower() for word in configuration.get("PrivateData", "").split(",")]
    if viewer and "jobs" in private and level.lower() not in ("operator", "administrator", "admin"):
        found.append(
            f"PrivateData hides jobs in slurm.conf, and {viewer} is no operator: the tier manager does not see "
            f"preempting jobs. It submits while they wait, and cannot say which one has preempted a tier. "
            f"sacctmgr modify user {viewer} set AdminLevel=Operator lets it see them."
        )
    return found


def partition_problems(partitions: Mapping[str, Mapping[str, str]], wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """List what is wrong with the partitions.

    :param wanted: QoS of the jobs of each required partition, by its name.
    """
    found = []
    for name, qos in sorted(wanted.items()):
        facts = partitions.get(name)
        if facts is None:
            listed = ", ".join(sorted(partitions)) or "none"
            found.append(f"expected the partition {name}, found {listed}: add it to slurm.conf, or name another one.")
            continue
        if facts.get("State") != "UP":
            found.append(
                f"expected the partition {name} to be UP, found {facts.get('State')}: "
                f"scontrol update partition={name} state=up."
            )
        if facts.get("PreemptMode", "REQUEUE") == "OFF":
            found.append(
                f"expected the partition {name} to let jobs be preempted, found PreemptMode=OFF: change it in "
                f"slurm.conf."
            )
        allowed = facts.get("AllowQos", "ALL").split(",")
        for one in qos:
            if allowed != ["ALL"] and one not in allowed:
                found.append(
                    f"expected the partition {name} to allow the QoS {one}, found {','.join(allowed)}: "
                    f"add it to AllowQos in slurm.conf."
                )
    return found
