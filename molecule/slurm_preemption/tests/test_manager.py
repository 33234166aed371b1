# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job for each tier, whatever happens."""

from __future__ import annotations

import json
import time

from tests.lab.kept_tiers import Kept
from tests.lab.slurm import CONTROLLER, JOB_NAMES, MANAGER, SCRIPTS, until


def test_work_that_comes_first_gets_the_nodes_and_the_tiers_come_back(ready: Kept) -> None:
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    first = ready.vasp(20, "--time=2")
    for name in JOB_NAMES:
        tier = ready.wait(name, "preempted", 30)
        assert f"preempted by job {first} of vasp_priority; pending: " in tier["reason"]
        assert tier["retry_after_s"] >= 10
        assert tier["endpoints"] == []
        assert tier["expected"] > time.time()
    for name in JOB_NAMES:
        # Requeued, not submitted anew: Slurm waits two minutes before it starts one again.
        assert ready.wait(name, "ready", 240)["job_id"] == jobs[name]
        assert len(ready.jobs(JOB_NAMES[name])) == 1


def test_a_cancelled_job_is_replaced_once_somebody_could_have_stopped_the_tier(ready: Kept) -> None:
    before = ready.tier("fast")["job_id"]
    ready.sure(CONTROLLER, f"scancel {before}")
    tier = ready.wait("fast", "backing-off", 40)
    assert f"job {before} was cancelled by user number 0" in tier["reason"]
    assert tier["advice"] == "herdctl tiers stop keeps the tier away"
    assert ready.wait("fast", "ready", 120)["job_id"] != before


def test_a_tier_is_stopped_and_started(ready: Kept) -> None:
    ready.sure(CONTROLLER, "herdctl tiers stop fast --reason 'maintenance of vasp-02'")
    tier = ready.wait("fast", "stopped", 40)
    assert tier["reason"] == "stopped by root: maintenance of vasp-02"
    assert not tier["enabled"]
    until("its job to end", lambda: ready.jobs(JOB_NAMES["fast"]) == [], 40)
    assert ready.on(CONTROLLER, "herdctl tiers").rc == 0
    ready.sure(CONTROLLER, f"systemctl restart {MANAGER}")
    assert ready.tier("fast")["state"] == "stopped"
    ready.sure(CONTROLLER, "herdctl tiers start fast")
    assert ready.wait("fast", "ready", 60)["enabled"]


def test_nothing_is_submitted_twice_while_slurm_and_the_manager_come_and_go(ready: Kept) -> None:
    jobs = {name: ready.tier(name)["job_id"] for name in JOB_NAMES}
    ready.sure(CONTROLLER, "systemctl kill -s KILL slurmctld slurmdbd; systemctl stop slurmctld slurmdbd")
    problems = until("the manager to say so", lambda: ready.view()["problems"], 60)
    assert "Slurm does not answer" in problems[0]
    # What runs goes on.
    assert {name: ready.tier(name)["state"] for name in JOB_NAMES} == dict.fromkeys(JOB_NAMES, "ready")
    ready.sure(CONTROLLER, f"systemctl kill -s KILL {MANAGER}")
    ready.sure(CONTROLLER, "systemctl start slurmdbd slurmctld")
    until("the manager to hear Slurm", lambda: ready.view()["problems"] == [], 90)
    for name, job in jobs.items():
        assert [one[0] for one in ready.jobs(JOB_NAMES[name])] == [job]
        assert ready.tier(name)["state"] == "ready"


def test_a_second_job_that_somebody_submits_is_ended(ready: Kept) -> None:
    since, first = ready.now(), ready.tier("fast")["job_id"]
    second = ready.submit("fast")
    until("it to end", lambda: [one[0] for one in ready.jobs(JOB_NAMES["fast"])] == [first], 90)
    assert f"ending job {second}: {first} is this tier's job already" in ready.said(since)
    assert ready.tier("fast")["state"] == "ready"


def test_what_is_wrong_in_the_registry_is_dead_and_named(ready: Kept) -> None:
    entry = ready.tier("fast")["endpoints"][0]
    folder = ready.shared / "ai" / "endpoints"
    late = {**entry, "job_id": "999991", "heartbeat": time.time() + 3600, "port": 9000}
    gone = {**entry, "job_id": "999993", "heartbeat": time.time() + 30, "port": 9001}
    same = {**entry, "job_id": "999994", "heartbeat": time.time() + 30, "started": entry["started"] - 60}
    files = {
        "fast-999991.json": json.dumps(late),
        "fast-999992.json": json.dumps(entry)[:100],
        "fast-999993.json": json.dumps(gone),
        "fast-999994.json": json.dumps(same),
        "fast-999995.json": "",
    }
    try:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        until("the manager to see them", lambda: len(ready.view()["problems"]) >= len(files), 10)
        view = ready.view()
        for name in files:
            assert any(line.startswith(f"{name} in the registry is dead: ") for line in view["problems"]), name
        assert [one["job_id"] for one in view["tiers"]["fast"]["endpoints"]] == [entry["job_id"]]
    finally:
        for name in files:
            (folder / name).unlink(missing_ok=True)


def test_a_node_that_is_drained_is_the_reason_why_a_job_waits(ready: Kept) -> None:
    ready.sure(CONTROLLER, "scontrol update nodename=vasp-02 state=drain reason='a fan'")
    job = ready.tier("fast")["job_id"]
    ready.sure(CONTROLLER, f"scontrol requeue {job}")
    tier = ready.wait("fast", "pending", 60)
    assert tier["job_id"] == job
    ready.sure(CONTROLLER, f"scontrol update jobid={job} starttime=now")
    tier = until("Slurm to say why", lambda: _waits_for_node(ready), 200)
    assert "a node is down, drained or reserved" in tier["reason"]
    assert "sinfo -R" in tier["advice"]


def _waits_for_node(cluster: Kept) -> dict[str, object] | None:
    tier = cluster.tier("fast")
    return tier if "drained" in tier["reason"] else None


def test_a_job_that_dies_at_once_is_tried_less_and_less_often(ready: Kept) -> None:
    script = f"{SCRIPTS}/run-14b.slurm"
    since = ready.now()
    ready.sure(CONTROLLER, "herdctl tiers stop fast --reason 'a test'")
    ready.wait("fast", "stopped", 40)
    ready.sure(
        CONTROLLER, f"cp -p {script} /tmp/kept.slurm && sed -i 's/^set -eu$/echo broken >\\&2; exit 7/' {script}"
    )
    try:
        ready.sure(CONTROLLER, "herdctl tiers start fast")
        tier = until("three to have died", lambda: _died(ready, 3), 150)
        assert "with status 7" in tier["reason"]
        assert "in a row; the next job follows in" in tier["reason"]
        assert ready.said(since).count("fast: submitted job") == 3
    finally:
        ready.sure(CONTROLLER, f"cp -p /tmp/kept.slurm {script}")
    assert ready.wait("fast", "ready", 200)["state"] == "ready"


def _died(cluster: Kept, times: int) -> dict[str, object] | None:
    tier = cluster.tier("fast")
    return tier if f"{times} times in a row" in tier["reason"] else None
