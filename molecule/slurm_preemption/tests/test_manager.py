# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier manager keeps one job for each tier."""

from __future__ import annotations

import json
import time

from tests.scenarios.kept_tiers import Kept
from tests.scenarios.slurm import CONTROLLER, JOB_NAMES, MANAGER, SCRIPTS, until

# With the default pauses ten jobs would take most of an hour.
PAUSES = [1, 1, 1, 2, 2, 2, 3, 3, 4, 600]


def test_operator_stops_and_starts_a_tier(ready: Kept) -> None:
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


def test_duplicate_job_is_cancelled(ready: Kept) -> None:
    since, first = ready.now(), ready.tier("fast")["job_id"]
    second = ready.submit("fast")
    until("the second job to end", lambda: [one[0] for one in ready.jobs(JOB_NAMES["fast"])] == [first], 90)
    assert f"ending job {second}: {first} is already this tier's job" in ready.said(since)
    assert ready.tier("fast")["state"] == "ready"


def test_renamed_job_still_belongs_to_its_tier(ready: Kept) -> None:
    since, job = ready.now(), ready.tier("fast")["job_id"]
    ready.sure(CONTROLLER, f"scontrol update jobid={job} jobname=another")
    try:
        until("Slurm to show the name", lambda: ready.jobs("another"), 10)
        # The manager reads the queue several times.
        time.sleep(10)
        assert ready.tier("fast")["state"] == "ready"
        assert ready.tier("fast")["job_id"] == job
        assert ready.jobs(JOB_NAMES["fast"]) == []
        assert "submitted" not in ready.said(since)
        # The manager recognises the job after the loss of its state too.
        ready.sure(
            CONTROLLER, f"systemctl stop {MANAGER}; rm /var/lib/herd-tiers/tier-states.json; systemctl start {MANAGER}"
        )
        ready.wait("fast", "ready", 20)
        time.sleep(6)
        assert ready.tier("fast")["job_id"] == job
        assert ready.jobs(JOB_NAMES["fast"]) == []
    finally:
        ready.sure(CONTROLLER, f"scontrol update jobid={job} jobname={JOB_NAMES['fast']}")
    assert [one[0] for one in ready.jobs(JOB_NAMES["fast"])] == [job]


def test_held_job_is_kept(ready: Kept) -> None:
    since, job = ready.now(), ready.tier("fast")["job_id"]
    ready.sure(CONTROLLER, f"scontrol requeuehold {job}")
    try:
        tier = ready.wait("fast", "stopped", 60)
        assert tier["reason"] == f"job {job} is held"
        assert tier["advice"] == f"scontrol release {job}"
        time.sleep(6)
        assert [one[0] for one in ready.jobs(JOB_NAMES["fast"])] == [job]
        assert "ending job" not in ready.said(since)
    finally:
        ready.sure(CONTROLLER, f"scontrol release {job}")
    assert ready.wait_ready_again("fast", 240)["job_id"] == job


def test_orphaned_job_is_cancelled(ready: Kept) -> None:
    settings, since = "/etc/herd/tiers.json", ready.now()
    kept = ready.sure(CONTROLLER, f"cat {settings}")
    job, other = ready.tier("fast")["job_id"], ready.tier("reasoning")["job_id"]
    data = json.loads(kept)
    data["tiers"] = [tier for tier in data["tiers"] if tier["name"] != "fast"]
    ready.sure(CONTROLLER, f"cp -p {settings} /tmp/kept.json; cat > {settings} <<'END'\n{json.dumps(data)}\nEND")
    try:
        ready.sure(CONTROLLER, f"systemctl restart {MANAGER}")
        until("its job to end", lambda: ready.jobs(JOB_NAMES["fast"]) == [], 60)
        assert f"fast: ending job {job}: its tier is not in the inventory" in ready.said(since)
        # The job drains within the grace time.
        assert "draining: SIGTERM" in ready.log(job)
        assert ready.tier("reasoning")["job_id"] == other
    finally:
        ready.sure(CONTROLLER, f"cp -p /tmp/kept.json {settings}; systemctl restart {MANAGER}")
    assert ready.wait("fast", "ready", 90)["job_id"] != job


def test_two_jobs_on_one_node_have_different_ports(ready: Kept) -> None:
    """A job that the manager does not know runs on the node of the tier's job."""
    first = ready.tier("fast")
    ready.sure(CONTROLLER, "herdctl tiers stop reasoning --reason 'room for a second job'")
    until("room for a second job", lambda: ready.jobs(JOB_NAMES["reasoning"]) == [], 60)
    line = f"sbatch --parsable --job-name=other {SCRIPTS}/run-14b.slurm"
    second = ready.sure(CONTROLLER, line, "llama").strip()
    try:
        found = until("both jobs to be ready", lambda: _both(ready, second), 90)
        assert {one["port"] for one in found} == {8080, 8081}
        assert {one["job_id"] for one in found} == {first["job_id"], second}
        assert all(ready.chat(one).status == 200 for one in found)
        assert ready.chat_at("fast").status == 200
    finally:
        ready.sure(CONTROLLER, f"scancel {second}; herdctl tiers start reasoning")
    until("the second job to end", lambda: len(ready.tier("fast")["endpoints"]) == 1, 60)
    assert ready.tier("fast")["job_id"] == first["job_id"]
    until("the gateway to use the remaining job", lambda: ready.chat_at("fast").status == 200, 10)


def _both(cluster: Kept, second: str) -> list[dict[str, object]] | None:
    found = [one for one in cluster.tier("fast")["endpoints"] if one["state"] == "ready"]
    return found if len(found) == 2 and second in {one["job_id"] for one in found} else None


def test_job_near_its_time_limit_is_requeued_in_an_idle_window(ready: Kept) -> None:
    """The time limit is shortened while the job runs."""
    job = ready.tier("fast")["job_id"]
    minutes = int(
        ready.sure(CONTROLLER, f"squeue -h -j {job} -o %M | awk -F: '{{print (NF > 2 ? $1 * 60 : 0) + $(NF-1)}}'")
    )
    ready.sure(CONTROLLER, f"scontrol update jobid={job} timelimit={minutes + 3}")
    until("the signal", lambda: "the time limit is near" in ready.log(job), 60)
    until("the renewal", lambda: "requeued" in ready.log(job), 60)
    assert "the time limit is near, and no request runs" in ready.log(job)
    until("the job to be pending", lambda: [one for one in ready.jobs() if one[:2] == (job, "PENDING")], 60)
    ready.sure(CONTROLLER, f"scontrol update jobid={job} timelimit=1-00:00:00")
    assert ready.wait_ready_again("fast", 120)["job_id"] == job


def test_backoff_grows_while_jobs_fail(ready: Kept) -> None:
    script, settings = f"{SCRIPTS}/run-14b.slurm", "/etc/herd/tiers.json"
    since = ready.now()
    ready.sure(CONTROLLER, "herdctl tiers stop fast --reason 'a test'")
    ready.wait("fast", "stopped", 40)
    shorter = json.dumps({**json.loads(ready.sure(CONTROLLER, f"cat {settings}")), "backoff": PAUSES})
    ready.sure(
        CONTROLLER,
        f"cp -p {script} /tmp/kept.slurm && sed -i 's/^set -eu$/echo broken >\\&2; exit 7/' {script}; "
        f"cp -p {settings} /tmp/kept.json && cat > {settings} <<'END'\n{shorter}\nEND\nsystemctl restart {MANAGER}",
    )
    try:
        ready.sure(CONTROLLER, "herdctl tiers start fast")
        tier = until("ten failed jobs", lambda: _failed(ready, 10), 300)
        assert "with status 7" in tier["reason"]
        assert "10 times in a row; the next job follows in" in tier["reason"]
        assert "/job.log in the shared directory" in tier["advice"]
        assert tier["retry_after_s"] > 400
        assert ready.said(since).count("fast: submitted job") == 10
        # The first job follows at once, each later one after its pause.
        answer = ready.chat_at("fast")
        assert answer.status == 503
        assert "10 times in a row" in answer.json()["error"]["message"]
    finally:
        ready.sure(
            CONTROLLER, f"cp -p /tmp/kept.slurm {script}; cp -p /tmp/kept.json {settings}; systemctl restart {MANAGER}"
        )
    # A restart of the tier ends the pause.
    ready.sure(CONTROLLER, "herdctl tiers stop fast --reason 'a test'")
    ready.wait("fast", "stopped", 40)
    ready.sure(CONTROLLER, "herdctl tiers start fast")
    assert ready.wait("fast", "ready", 60)["state"] == "ready"


def _failed(cluster: Kept, times: int) -> dict[str, object] | None:
    tier = cluster.tier("fast")
    return tier if f"{times} times in a row" in tier["reason"] else None
