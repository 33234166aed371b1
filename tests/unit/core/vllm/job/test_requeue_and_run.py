# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job does after its ranks have ended, and how a run chooses its ports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.drain import SlurmJobTimes
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import ports, requeue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import run as job_run
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.requeue import Ending, Failure
from tests.vllm import two_ranks

RUNNING = SlurmJobTimes("RUNNING", 100.0, 900.0)
PREEMPTED = SlurmJobTimes("RUNNING", 100.0, 900.0, 500.0)
BEFORE_THIS_START = SlurmJobTimes("RUNNING", 600.0, 900.0, 500.0)
LOST = Ending("", False, "rank 1 is lost", 30.0)
YOUNG, OLD = Failure(1.0, 5.0), Failure(1.0, 6000.0)


@pytest.mark.parametrize(
    ("ending", "times", "before", "action", "pause"),
    [
        (Ending("preempted", True, "drained"), PREEMPTED, [], "wait", 0),
        (LOST, PREEMPTED, [], "wait", 0),
        (Ending("preempted", True, "drained"), SlurmJobTimes(), [], "wait", 0),
        (Ending("preempted", True, "drained"), RUNNING, [], "end", 0),
        (LOST, BEFORE_THIS_START, [], "requeue", 120),
        (Ending("stop", True, "drained"), RUNNING, [], "end", 0),
        (Ending("stop", False, "rank 1 is lost"), RUNNING, [], "end", 0),
        (Ending("time limit", True, "drained"), RUNNING, [], "end", 0),
        (Ending("renewal", True, "drained"), RUNNING, [YOUNG] * 9, "requeue", 0),
        (Ending("outdated", True, "drained"), RUNNING, [], "requeue", 0),
        (Ending("renewal", False, "rank 1 is lost"), RUNNING, [], "requeue", 120),
        (LOST, RUNNING, [], "requeue", 120),
        (LOST, SlurmJobTimes(), [], "requeue", 120),
        (LOST, RUNNING, [YOUNG, YOUNG], "requeue", 300),
        (LOST, RUNNING, [YOUNG, YOUNG, YOUNG], "fail", 0),
        (LOST, RUNNING, [YOUNG, YOUNG, OLD], "requeue", 120),
        (Ending("", False, "lost", 6000.0), RUNNING, [YOUNG] * 9, "requeue", 120),
        (Ending("", False, "bad settings", is_permanent=True), RUNNING, [], "fail", 0),
        (LOST, SlurmJobTimes("CANCELLED"), [], "fail", 0),
        (LOST, SlurmJobTimes("COMPLETING"), [], "fail", 0),
    ],
)
def test_end_of_the_ranks_is_followed_by(
    ending: Ending, times: SlurmJobTimes, before: list[Failure], action: str, pause: int
) -> None:
    found = requeue.decide(ending, times, before, 3)
    assert (found.action, found.pause_s) == (action, pause)
    assert found.reason


def test_job_without_requeues_fails_at_once() -> None:
    assert requeue.decide(LOST, RUNNING, [], 0).action == "fail"


def test_ports_follow_from_the_number_of_the_job() -> None:
    assert ports.choose(29500, 21, ()) == ports.RankPorts(29542, 29543)
    assert ports.choose(29500, 21, {29543}) == ports.RankPorts(29544, 29545)
    assert ports.choose(29500, 249, {29998}) == ports.RankPorts(29500, 29501)
    pairs = list(ports.candidates(29500, 4711))
    assert len({pair.master for pair in pairs}) == ports.SPAN // 2
    with pytest.raises(HerdError, match="two free ports between 29500 and 29999"):
        ports.choose(29500, 1, range(29500, 30000))


def test_api_takes_the_next_free_port() -> None:
    assert ports.choose_api(8006, 8, {8006, 8007}) == 8008
    with pytest.raises(HerdError, match="port 8006 to be free on the first node"):
        ports.choose_api(8006, 1, {8006})


def _report(rank: int, **changes: Any) -> str:
    facts = {"rank": rank, "host": f"n{rank}", "address": f"10.0.0.{rank}", "client": f"10.1.0.{rank}"}
    return job_run.write_report(job_run.NodeReport(**{**facts, "interface": "ib0", "taken": (29500,), **changes}))


def test_run_is_planned_from_the_reports_of_all_nodes(tmp_path: Any) -> None:
    spec = two_ranks.make_spec(tmp_path, tmp_path)
    text = "\n".join(["Welcome to the cluster", _report(1, taken=(29501, 18000)), "", _report(0)])
    reports = job_run.read_reports(text, 2)
    job_run.check_reports(reports)
    run = job_run.plan(spec, "250", 1, reports, "ab" * 32)
    assert (run.master_port, run.heartbeat_port, run.port) == (29502, 29503, 18000)
    assert [place.address for place in run.ranks] == ["10.0.0.0", "10.0.0.1"]
    assert job_run.read(job_run.write(run)) == run


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([_report(0)], "a report of each of 2 nodes, found 1: n0"),
        ([], "found 0: none"),
        ([_report(0), _report(1, address="10.0.0.0")], "10.0.0.0 on n0 and n1"),
        ([_report(0), _report(1, address="")], "none on n1"),
        ([_report(0), _report(1, problem="no GPU")], "rank 1 on n1 cannot take part: no GPU"),
        ([_report(0), job_run.MARK + "{"], "report in JSON"),
        ([_report(0), job_run.MARK + json.dumps({"rank": 1})], "report"),
        ([_report(0), _report(1, address="10.0.0.1; x")], "IPv4 address|at most|line"),
    ],
)
def test_job_does_not_start_with_wrong_reports(lines: list[str], words: str) -> None:
    with pytest.raises(HerdError, match=words):
        job_run.check_reports(job_run.read_reports("\n".join(lines), 2))


@pytest.mark.parametrize(
    "change", [{"secret": "ab"}, {"ranks": []}, {"ranks": [1]}, {"port": 80}, {"master_port": "1"}, {"schema": 2}]
)
def test_run_with_a_wrong_value_is_refused(tmp_path: Any, change: dict[str, Any]) -> None:
    spec = two_ranks.make_spec(tmp_path, tmp_path)
    reports = job_run.read_reports("\n".join([_report(0), _report(1)]), 2)
    data = {**json.loads(job_run.write(job_run.plan(spec, "7", 0, reports, "ab" * 32))), **change}
    with pytest.raises(HerdError):
        job_run.read(json.dumps(data))


def test_own_failure_of_a_rank_explains_the_others() -> None:
    reports = [
        {"end": "failed", "is_own": False, "reason": "rank 1 is lost", "at": 5, "served_s": 700.0},
        {"end": "failed", "is_own": True, "reason": "vLLM has ended", "at": 9, "served_s": 2.0, "is_permanent": True},
    ]
    found = requeue.ending_of("stop", [requeue.read_end(report) for report in reports])
    assert found == Ending("stop", False, "vLLM has ended", 700.0, True)
    assert requeue.ending_of("", []).reason.startswith("no rank has left a report")


@pytest.mark.parametrize("value", ["x", [], {}, None, float("nan"), float("inf"), -1, 10**400, True])
def test_damaged_report_of_a_rank_ends_no_job_without_a_decision(value: Any) -> None:
    damaged = dict.fromkeys(("end", "reason", "at", "served_s"), value)
    good = {"end": "failed", "is_own": True, "reason": "vLLM has ended", "at": 9, "served_s": 2.0}
    found = requeue.ending_of("", [requeue.read_end(damaged), requeue.read_end(good)])
    assert (found.is_done, found.reason, found.served_s) == (False, "vLLM has ended", 2.0)
    assert requeue.decide(found, RUNNING, [], 3).action == "requeue"
