# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of sacctmgr, from captured output of Slurm 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import accounting as slurm_accounting
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.accounting import Accounting, Qos, User

FIXTURES = Path(__file__).parents[3] / "fixtures" / "slurm"
LOW = Qos("ai_opportunistic", 100, frozenset(), "REQUEUE", 30)
HIGH = Qos("vasp_priority", 1000, frozenset({"ai_opportunistic"}))
LLAMA = User("llama", "ai", frozenset({"ai_opportunistic"}), "ai_opportunistic")
WANTED = Accounting({"ai_opportunistic": LOW, "vasp_priority": HIGH}, frozenset({"ai"}), {("llama", "ai"): LLAMA})
NEW = Accounting({"normal": Qos("normal")}, frozenset({"root"}), {("root", "root"): User("root", "root")})


def read(name: str) -> str:
    return (FIXTURES / f"{name}-22.05.txt").read_text(encoding="utf-8")


def found(cluster: str = "lab") -> Accounting:
    return slurm_accounting.parse_accounting(read("qos"), read("assoc"), cluster)


def calls(wanted: Accounting, has: Accounting) -> list[str]:
    return [" ".join(step.argv) for step in slurm_accounting.steps(wanted, has)]


def test_output_of_sacctmgr_is_parsed() -> None:
    accounting = found()
    assert accounting.qos["ai_opportunistic"] == LOW
    assert accounting.qos["vasp_priority"] == HIGH
    assert accounting.accounts == {"root", "ai", "vasp"}
    assert accounting.users["llama", "ai"].qos == {"ai_opportunistic", "normal"}
    assert accounting.users["llama", "ai"].default_qos == "ai_opportunistic"


def test_matching_accounting_needs_no_call() -> None:
    assert calls(WANTED, found()) == []


def test_associations_of_another_cluster_are_ignored() -> None:
    assert found("other").users == {}
    assert "add user llama Account=ai" in calls(WANTED, found("other"))


def test_new_cluster_gets_all_calls_in_a_possible_order() -> None:
    assert calls(WANTED, NEW) == [
        "add qos ai_opportunistic set Priority=100 PreemptMode=REQUEUE GraceTime=30",
        "add qos vasp_priority set Priority=1000 Preempt=ai_opportunistic",
        "add account ai",
        "add user llama Account=ai",
        "modify user llama where Account=ai set QOS+=ai_opportunistic",
        "modify user llama where Account=ai set DefaultQOS=ai_opportunistic",
    ]


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        (Qos("ai_opportunistic", 100, frozenset(), "REQUEUE", 60), "GraceTime=30"),
        (Qos("ai_opportunistic", 1, frozenset(), "REQUEUE", 30), "Priority=100"),
        (Qos("ai_opportunistic", 100, frozenset(), "", 30), "PreemptMode=REQUEUE"),
        (Qos("ai_opportunistic", 100, frozenset(), "CANCEL", 30), "PreemptMode=REQUEUE"),
    ],
)
def test_only_differences_are_set(has: Qos, expected: str) -> None:
    wanted = Accounting({LOW.name: LOW})
    assert calls(wanted, Accounting({LOW.name: has})) == [f"modify qos ai_opportunistic set {expected}"]


def test_other_preempted_qos_are_kept() -> None:
    has = Accounting({HIGH.name: Qos(HIGH.name, 1000, frozenset({"scavenger"}))})
    assert calls(Accounting({HIGH.name: HIGH}), has) == [
        "modify qos vasp_priority set Preempt=ai_opportunistic,scavenger"
    ]


def test_configuration_of_the_lab_has_no_problems() -> None:
    configuration = slurm_accounting.parse_configuration(read("config"))
    assert configuration["SLURM_VERSION"] == "22.05.8"
    assert slurm_accounting.configuration_problems(configuration) == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("PreemptType", "preempt/none", "preempt/qos"),
        ("PreemptMode", "OFF", "REQUEUE"),
        ("PreemptMode", "GANG,SUSPEND", "REQUEUE"),
        ("AccountingStorageEnforce", "associations,limits", "qos"),
    ],
)
def test_configuration_without_preemption_is_reported(name: str, value: str, word: str) -> None:
    configuration = {**slurm_accounting.parse_configuration(read("config")), name: value}
    (problem,) = slurm_accounting.configuration_problems(configuration)
    assert name in problem
    assert word in problem
    assert value in problem


def test_both_requeue_modes_are_accepted() -> None:
    configuration = {**slurm_accounting.parse_configuration(read("config")), "PreemptMode": "GANG,REQUEUE"}
    assert slurm_accounting.configuration_problems(configuration) == []


def test_partitions() -> None:
    partitions = slurm_accounting.parse_partitions(read("partition"))
    wanted = {"gpu_ai": ["ai_opportunistic"]}
    assert slurm_accounting.partition_problems(partitions, {**wanted, "gpu_vasp": []}) == []
    (gone,) = slurm_accounting.partition_problems(partitions, {"gpu_other": []})
    assert "gpu_ai, gpu_vasp" in gone
    (down,) = slurm_accounting.partition_problems({"gpu_ai": {**partitions["gpu_ai"], "State": "DOWN"}}, wanted)
    assert "state=up" in down
    closed = {"gpu_ai": {**partitions["gpu_ai"], "AllowQos": "normal,debug"}}
    (refused,) = slurm_accounting.partition_problems(closed, wanted)
    assert "AllowQos" in refused


def said(**changes: str) -> list[str]:
    configuration = {**slurm_accounting.parse_configuration(read("config")), **changes}
    return slurm_accounting.configuration_warnings(configuration, {"ai_opportunistic": 30}, "llama")


def test_configuration_of_the_lab_has_no_warnings() -> None:
    assert said() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"KillWait": "10 sec"}, "KillWait is 10 seconds"),
        ({"PreemptParameters": "reorder_count=1,send_user_signal"}, "send_user_signal"),
        ({"PriorityType": "priority/basic"}, "priority/basic"),
        ({"PriorityWeightQOS": "0"}, "PriorityWeightQOS 0"),
        ({"PrivateData": "accounts,jobs,users"}, "AdminLevel=Operator"),
    ],
)
def test_unsuitable_settings_get_a_warning(changes: dict[str, str], words: str) -> None:
    (warning,) = said(**changes)
    assert words in warning


@pytest.mark.parametrize("level", ["Operator", "Administrator"])
def test_operator_gets_no_warning_of_private_data(level: str) -> None:
    configuration = {**slurm_accounting.parse_configuration(read("config")), "PrivateData": "jobs"}
    assert slurm_accounting.configuration_warnings(configuration, {}, "llama", level) == []
    assert slurm_accounting.configuration_warnings(configuration, {}) == []


def test_levels() -> None:
    assert slurm_accounting.parse_levels("llama|None\nroot|Administrator\n\n") == {
        "llama": "None",
        "root": "Administrator",
    }


@pytest.mark.parametrize(
    ("version", "is_old"), [("22.05.8", False), ("20.11.0", False), ("20.02.7", True), ("19.05.8", True), ("", False)]
)
def test_slurm_without_overlapping_steps_is_refused(version: str, is_old: bool) -> None:
    found = slurm_accounting.version_problems({"SLURM_VERSION": version})
    assert bool(found) is is_old
    assert all("--overlap" in text and version in text for text in found)


@pytest.mark.parametrize(
    ("graces", "has", "expected"),
    [
        ({"ai_opportunistic": 30}, 30, []),
        ({"ai_opportunistic": 90}, 30, ["ai_opportunistic"]),
        ({"ai_opportunistic": 30}, 0, []),
        # A QoS outside the inventory has its own grace; a missing QoS has none.
        ({"site": 30}, 60, []),
        ({"site": 90}, 60, ["site"]),
        ({"none": 30}, 30, ["none"]),
    ],
)
def test_qos_with_a_shorter_grace_than_its_tiers_is_reported(
    graces: dict[str, int], has: int, expected: list[str]
) -> None:
    there = Accounting({LOW.name: Qos(LOW.name, 100, grace=has), "site": Qos("site", 1, grace=has)})
    found = slurm_accounting.grace_problems(graces, WANTED, there)
    assert [name for name in expected if any(f"the QoS {name} to have" in text for text in found)] == expected
    assert len(found) == len(expected)


NODE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=10  CPUAlloc=0 CPUEfctv=40 CPUTot=40 CPULoad=0.10 "
    "AvailableFeatures=(null) ActiveFeatures=(null) Gres={gres} NodeAddr={name} NodeHostName={name} Version=22.05.8 "
    "OS=Linux 5.10.0 #1 SMP Debian RealMemory=128000 Sockets=2 Boards=1 State=IDLE ThreadsPerCore=2 Partitions=gpu_ai"
)
FAST = {"cpus": 24, "nodes": 1, "hosts": ["a", "b"]}


@pytest.mark.parametrize(
    ("gres", "processors"),
    [
        ("gpu:v100:1(S:0)", {"a": 20}),
        ("gpu:1(S:1),shard:8(S:1)", {"a": 20}),
        ("gpu:2(S:0-1)", {"a": 40}),
        ("gpu:tesla_v100-32g:2(S:0,1)", {"a": 40}),
        # Without Cores= Slurm knows no socket.
        ("gpu:v100:1", {}),
        ("(null)", {}),
        ("nic:1(S:0)", {}),
    ],
)
def test_processors_near_the_gpus_are_read_from_slurm(gres: str, processors: dict[str, int]) -> None:
    assert slurm_accounting.parse_gpu_processors(NODE.format(name="a", gres=gres)) == processors


def test_node_that_says_no_size_is_left_out() -> None:
    line = NODE.format(name="a", gres="gpu:1(S:0)").replace("ThreadsPerCore=2 ", "")
    assert slurm_accounting.parse_gpu_processors(f"{line}\n\n") == {}


@pytest.mark.parametrize(
    ("processors", "tier", "most"),
    [
        ({"a": 20, "b": 20}, FAST, 20),
        ({"a": 20, "b": 20}, {**FAST, "cpus": 20}, 0),
        # Another host of the tier has room, or says nothing.
        ({"a": 20, "b": 40}, FAST, 0),
        ({"a": 20}, FAST, 0),
        ({"a": 20, "b": 40}, {**FAST, "nodes": 2}, 20),
        ({}, FAST, 0),
    ],
)
def test_tier_with_more_processors_than_the_gpus_sockets_is_a_problem(
    processors: dict[str, int], tier: dict[str, object], most: int
) -> None:
    problems = slurm_accounting.binding_problems(processors, {"fast": tier})
    assert bool(problems) is bool(most)
    if most:
        assert f"tier fast: expected at most {most} cpus" in problems[0]
        assert (
            "found 24: Slurm would never start the job. Lower cpus, or set slurm_tiers_near_gpu: false" in problems[0]
        )
