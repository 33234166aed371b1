# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under load each request gets a complete response, a response that ends with an error, or a refusal with a reason."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.scenarios.kept_tiers import CLIENT, CLIENTS, Kept
from tests.scenarios.slurm import CONTROLLER, GATEWAY, JOB_NAMES, MANAGER, SCRIPTS, TESTER, until
from tests.scenarios.streams import Answer
from tests.scenarios.tier_load import follow

HONEST = {"whole", "refused", "told"}
SCRIPT = f"{SCRIPTS}/run-14b.slurm"


@pytest.fixture(scope="module")
def questions(cluster: Kept) -> dict[str, list[dict[str, Any]]]:
    """Return the responses of the engines without a gateway."""
    cluster.sure(
        CONTROLLER, f"scancel --user=vasp; systemctl start {MANAGER}; herdctl tiers start {' '.join(JOB_NAMES)}"
    )
    for name in JOB_NAMES:
        cluster.wait_ready_again(name, 300)
    return cluster.questions()


@contextmanager
def honest_load(cluster: Kept, questions: dict[str, list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Load both tiers. Check that no client sees a fault and that each tier completes some responses."""
    for name in JOB_NAMES:
        until(f"the gateway to know of {name}", lambda at=name: cluster.chat_at(at, tokens=1).status == 200, 30)
    with cluster.load(questions) as found:
        yield found
    kinds = Counter((one["address"], one["what"]) for one in found)
    print(sorted(kinds.items()))
    assert {what for _address, what in kinds} <= HONEST, kinds
    for address in questions:
        assert kinds[address, "whole"] >= CLIENTS


def refused(found: list[dict[str, Any]], name: str) -> list[float]:
    """Return the start times of a tier's refused requests."""
    return sorted(one["began"] for one in found if one["what"] == "refused" and one["address"] in GATEWAY[name])


def _time_of(cluster: Kept, job: str, text: str) -> float:
    lines = [line for line in cluster.log(job).splitlines() if text in line]
    return float(cluster.sure(CONTROLLER, f"date -d '{lines[-1][:19]}' +%s"))


def test_preempting_job_gets_the_nodes_and_no_response_is_cut(
    ready: Kept, questions: dict[str, list[dict[str, Any]]]
) -> None:
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    with honest_load(ready, questions) as found:
        first = ready.vasp(20, "--time=2")
        for name in JOB_NAMES:
            tier = ready.wait(name, "preempted", 60)
            assert f"preempted by job {first} of vasp_priority; pending: " in tier["reason"]
            assert tier["retry_after_s"] >= 10
            assert tier["endpoints"] == []
            assert tier["expected"] > time.time()
        time.sleep(3)
    for name, job in jobs.items():
        # Times in the log are whole seconds.
        stops = _time_of(ready, job, "stopping after ")
        assert refused(found, name)[0] < stops + 1, f"{name}: the processes stopped before the gateway refused"
    for name, job in jobs.items():
        # The job was requeued, not submitted again.
        assert ready.wait_ready_again(name, 240)["job_id"] == job
        assert len(ready.jobs(JOB_NAMES[name])) == 1


def test_response_longer_than_the_grace_ends_with_an_error(ready: Kept) -> None:
    """Both responses run when a preempting job arrives: one takes minutes, the other seconds."""
    with ThreadPoolExecutor(2) as others:
        long = others.submit(_stream, ready, "reasoning", 1900)
        time.sleep(2)
        # Measure the token rate of this machine while the other response runs.
        began = time.monotonic()
        _stream(ready, "fast", 20)
        tokens = min(1500, int(8 / (time.monotonic() - began) * 20))
        short = others.submit(_stream, ready, "fast", tokens)
        time.sleep(1)
        ready.vasp(5, "--time=2")
        for name in JOB_NAMES:
            ready.wait(name, "draining", 60)
        assert (long.done(), short.done()) == (False, False)
        whole, told = short.result(), long.result()
    what, text = follow(whole.text.encode().splitlines())
    assert (whole.status, what, bool(text)) == (200, "whole", True)
    what, text = follow(told.text.encode().splitlines())
    assert (told.status, told.is_whole, what) == (200, True, "told")
    assert "The response of the tier reasoning ends here: " in told.text
    for name in JOB_NAMES:
        ready.wait_ready_again(name, 240)
    # The text before the error is the engine's.
    pieces = sum('"content":"' in line for line in told.text.splitlines())
    assert pieces > 5
    again, alone = follow(_stream(ready, "reasoning", pieces).text.encode().splitlines())
    assert (again, alone[: len(text)]) == ("whole", text)


def _stream(cluster: Kept, name: str, tokens: int) -> Answer:
    body = {"model": "lab-llama", "stream": True, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body["messages"] = [{"role": "user", "content": "Say hello."}]
    return cluster.ask(f"{GATEWAY[name]}/v1/chat/completions", TESTER, body, 200, CLIENT)


def test_cancelled_job_is_replaced_after_a_minute(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    before = ready.tier("fast")["job_id"]
    with honest_load(ready, questions) as found:
        ready.sure(CONTROLLER, f"scancel {before}")
        tier = ready.wait("fast", "backing-off", 60)
        time.sleep(2)
    assert f"job {before} was cancelled by user number 0" in tier["reason"]
    assert tier["advice"] == "run herdctl tiers stop to keep the tier stopped"
    assert refused(found, "fast")
    assert not refused(found, "reasoning")
    assert ready.wait("fast", "ready", 120)["job_id"] != before


def test_jobs_serve_while_slurm_and_the_manager_restart(
    ready: Kept, questions: dict[str, list[dict[str, Any]]]
) -> None:
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    with honest_load(ready, questions) as found:
        ready.sure(CONTROLLER, "systemctl kill -s KILL slurmctld slurmdbd; systemctl stop slurmctld slurmdbd")
        problems = until("the problem in the status", lambda: ready.view()["problems"], 60)
        assert "Slurm has not answered since" in problems[0]
        assert {name: ready.tier(name)["state"] for name in JOB_NAMES} == dict.fromkeys(JOB_NAMES, "ready")
        ready.sure(CONTROLLER, f"systemctl kill -s KILL {MANAGER}")
        ready.sure(CONTROLLER, "systemctl start slurmdbd slurmctld")
        until("Slurm to answer again", lambda: ready.view()["problems"] == [], 90)
    assert {one["what"] for one in found} == {"whole"}
    for name, job in jobs.items():
        assert [one[0] for one in ready.jobs(JOB_NAMES[name])] == [job]
        assert ready.tier(name)["state"] == "ready"


def test_killed_engine_is_reported(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    job = ready.tier("fast")["job_id"]
    with honest_load(ready, questions):
        ready.sure("vasp-02", "pkill -KILL -f '[/]llama-server'")
        until("the loss in the log", lambda: "lost: head on vasp-02 has ended by SIGKILL" in ready.log(job), 20)
        assert ready.wait_ready_again("fast", 90)["job_id"] == job


def test_node_without_fabric_ends_the_run_of_its_head(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    """The processes run, and the step sends heartbeats over the other network. The head would wait forever."""
    job = ready.tier("reasoning")["job_id"]
    try:
        with honest_load(ready, questions) as found:
            ready.cut("vasp-03", "ib")
            said = "lost: vasp-03 has acknowledged nothing for 30 seconds"
            until("the loss in the log", lambda: said in ready.log(job), 90)
    finally:
        ready.heal("vasp-03", "ib")
    assert {one["what"] for one in found if one["address"] in GATEWAY["fast"]} == {"whole"}
    assert ready.wait_ready_again("reasoning", 180)["job_id"] == job


def test_invalid_registry_entries_are_dead_and_reported(
    ready: Kept, questions: dict[str, list[dict[str, Any]]]
) -> None:
    entry = ready.tier("fast")["endpoints"][0]
    folder = ready.shared / "ai" / "endpoints"
    late = {**entry, "job_id": "999991", "heartbeat": time.time() + 3600, "port": 9000}
    gone = {**entry, "job_id": "999993", "heartbeat": time.time() + 30, "port": 9001}
    # Two entries with the same port, of an earlier and of a later job.
    same = {**entry, "job_id": "999994", "heartbeat": time.time() + 30, "started": entry["started"] - 60}
    files = {
        "fast-999991.json": json.dumps(late),
        "fast-999992.json": json.dumps(entry)[:100],
        "fast-999993.json": json.dumps(gone),
        "fast-999994.json": json.dumps(same),
        "fast-999995.json": "",
        "fast-999996.json": json.dumps({**same, "job_id": "999996", "started": entry["started"] + 60}),
    }
    own = folder / f"fast-{entry['job_id']}.json"
    with honest_load(ready, questions) as found:
        try:
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            # Only a queue that was read after the entry proves that its job does not exist.
            until("all problems in the status", lambda: _are_named(ready, files), 20)
            ready.wait("fast", "ready", 5)
            assert [one["job_id"] for one in ready.tier("fast")["endpoints"]] == [entry["job_id"]]
        finally:
            for name in files:
                (folder / name).unlink(missing_ok=True)
        until("no problem in the status", lambda: ready.view()["problems"] == [], 10)
        # The next heartbeat replaces the job's own truncated file.
        own.write_text(own.read_text(encoding="utf-8")[:80], encoding="utf-8")
        until("a complete entry", lambda: ready.ready("fast"), 5)
        ready.wait("fast", "ready", 5)
    assert not refused(found, "reasoning")


def _are_named(cluster: Kept, files: Collection[str]) -> bool:
    problems = cluster.view()["problems"]
    return all(any(line.startswith(f"{name} in the registry is dead: ") for line in problems) for name in files)


def test_drained_node_keeps_its_job_until_a_requeue(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    since, job = ready.now(), ready.tier("fast")["job_id"]
    with honest_load(ready, questions) as found:
        ready.sure(CONTROLLER, "scontrol update nodename=vasp-02 state=drain reason='a fan'")
        time.sleep(8)
        assert ready.tier("fast")["state"] == "ready"
        requeued = time.time()
        ready.sure(CONTROLLER, f"scontrol requeue {job}")
        assert ready.wait("fast", "pending", 60)["job_id"] == job
        ready.hurry(job)
        tier = until("the reason of Slurm", lambda: _waits_for_node(ready), 200)
        assert "a node is down, drained or reserved" in tier["reason"]
        assert "sinfo -R" in tier["advice"]
    assert refused(found, "fast")[0] >= requeued
    ready.sure(CONTROLLER, "scontrol update nodename=vasp-02 state=resume")
    assert ready.wait_ready_again("fast", 120)["job_id"] == job
    # The next run of the job is not taken for a draining one.
    assert ready.said(since).count("fast: draining") == 1


def _waits_for_node(cluster: Kept) -> dict[str, object] | None:
    tier = cluster.tier("fast")
    return tier if "drained" in tier["reason"] else None


def test_jobs_return_after_a_power_loss_of_a_node(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    """The node runs the fast tier's head and a worker of the reasoning tier. No process reports their end."""
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    try:
        with honest_load(ready, questions) as found:
            ready.lose("vasp-02")
            until(
                "the silent worker in the log",
                lambda: "rpc-vasp-02 on vasp-02 has sent nothing" in _log(ready, jobs),
                60,
            )
            for name in JOB_NAMES:
                until(f"{name} to have no endpoint", lambda at=name: ready.tier(at)["endpoints"] == [], 120)
            tier = until("Slurm to mark the node down", lambda: _lost_node(ready, "fast"), 120)
            assert tier["job_id"] == jobs["fast"]
    finally:
        ready.bring_back("vasp-02")
    for name in JOB_NAMES:
        assert refused(found, name)
    for name in JOB_NAMES:
        ready.wait_ready_again(name, 240)
    states = ready.sure(CONTROLLER, f"sacct -X -n -P --duplicates -j {jobs['fast']} -S now-1hour -o state")
    assert "NODE_FAIL" in states


def _log(cluster: Kept, jobs: dict[str, str]) -> str:
    return cluster.log(jobs["reasoning"])


def _lost_node(cluster: Kept, name: str) -> dict[str, Any] | None:
    tier = cluster.tier(name)
    if str(tier["pending_reason"]).startswith("BeginTime"):
        cluster.hurry(str(tier["job_id"]))
    return tier if tier["state"] == "pending" and "a node is down" in tier["reason"] else None


def test_other_tier_serves_while_the_heads_node_has_no_power(
    ready: Kept, questions: dict[str, list[dict[str, Any]]]
) -> None:
    """The node runs the batch script of the reasoning tier. Slurm ends the other steps of the job."""
    job = ready.tier("reasoning")["job_id"]
    assert ready.tier("reasoning")["endpoints"][0]["host"] == "vasp-01"
    others = ("vasp-02", "vasp-03")
    try:
        with honest_load(ready, questions) as found:
            ready.lose("vasp-01")
            until("reasoning to have no endpoint", lambda: ready.tier("reasoning")["endpoints"] == [], 60)
            tier = until("Slurm to mark the node down", lambda: _lost_node(ready, "reasoning"), 180)
            assert tier["job_id"] == job
            for node in others:
                until(f"its worker on {node} to end", lambda at=node: _workers(ready, at) == 0, 60)
    finally:
        ready.bring_back("vasp-01")
    assert refused(found, "reasoning")
    assert not refused(found, "fast")
    assert ready.wait_ready_again("reasoning", 240)["job_id"] == job
    states = ready.sure(CONTROLLER, f"sacct -X -n -P --duplicates -j {job} -S now-1hour -o state")
    assert "NODE_FAIL" in states
    assert [_workers(ready, node) for node in others] == [1, 1]


def _workers(cluster: Kept, node: str) -> int:
    return int(cluster.on(node, "pgrep -c -x ggml-rpc-server").out or 0)


def test_time_limit_without_a_renewal_cuts_no_response(ready: Kept, questions: dict[str, list[dict[str, Any]]]) -> None:
    before = ready.tier("fast")["job_id"]
    change = "s/^#SBATCH --time=.*/#SBATCH --time=1/; /^#SBATCH --signal/d"
    ready.sure(CONTROLLER, "herdctl tiers stop fast --reason 'a test'")
    ready.wait("fast", "stopped", 60)
    until("its job to end", lambda: ready.jobs(JOB_NAMES["fast"]) == [], 60)
    ready.sure(CONTROLLER, f"cp -p {SCRIPT} /tmp/kept.slurm && sed -i '{change}' {SCRIPT}")
    try:
        ready.sure(CONTROLLER, "herdctl tiers start fast")
        job = ready.wait("fast", "ready", 60)["job_id"]
        assert job != before
        with honest_load(ready, questions) as found:
            tier = ready.wait("fast", "backing-off", 150)
            ready.sure(CONTROLLER, f"cp -p /tmp/kept.slurm {SCRIPT}")
    finally:
        ready.sure(CONTROLLER, f"cp -p /tmp/kept.slurm {SCRIPT}")
    assert f"job {job} reached its time limit of 00:01:00" in tier["reason"]
    assert "renew_before" in tier["advice"]
    assert "draining: SIGTERM" in ready.log(job)
    assert refused(found, "fast")
    assert not refused(found, "reasoning")
    assert ready.wait("fast", "ready", 120)["job_id"] != job
