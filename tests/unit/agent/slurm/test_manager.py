# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier manager as a process, with doubles of Slurm's programs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.agent.slurm.tier_manager import Home, homes, wait_for


@pytest.fixture
def home(tmp_path: Path, herdctl: Path) -> Iterator[Home]:
    yield from homes(tmp_path, herdctl)


def test_job_is_submitted_once_and_followed(home: Home) -> None:
    home.slurm.says("sbatch", "12\n")
    home.begin()
    wait_for("a submission", lambda: home.slurm.calls("sbatch"))
    assert home.slurm.calls("sbatch") == [
        ["--parsable", "--dependency=singleton", "--comment=herd-tiers", "tier=fast", "/scripts/run-14b.slurm"]
    ]
    home.slurm.queue(("12", "RUNNING", "None"))
    wait_for("it to start", lambda: home.tier()["reason"] == "starting as job 12")
    # The manager's environment does not affect Slurm's programs.
    assert (home.slurm.folder / "sbatch.environment").read_text(encoding="utf-8").split() == ["%s"]
    home.entry("12", state="loading", percent=43)
    wait_for("it to load", lambda: home.tier()["reason"] == "loading 43 %")
    home.entry("12")
    wait_for("it to be ready", lambda: home.tier()["state"] == "ready")
    assert home.tiers().returncode == 0
    home.entry("12", state="draining")
    wait_for("it to drain", lambda: home.tier()["state"] == "draining")
    (home.folder / "registry" / "fast-12.json").unlink()
    home.slurm.queue(("12", "PENDING", "Priority"))
    wait_for("it to wait", lambda: home.tier()["pending_reason"] == "Priority")
    assert len(home.slurm.calls("sbatch")) == 1
    done = home.tiers()
    assert done.returncode == 3
    assert "pending: Priority (jobs of higher priority come first)" in done.stdout
    assert json.loads(home.tiers("--json").stdout)["is_old"] is False


def test_restarted_manager_finds_its_job(home: Home) -> None:
    home.slurm.says("sbatch", "sbatch: error: Socket timed out on send/recv operation", 1)
    process = home.begin()
    wait_for("a submission", lambda: home.slurm.calls("sbatch"))
    process.kill()
    process.wait()
    home.begin()
    looks = len(home.slurm.calls("squeue"))
    wait_for("two looks", lambda: len(home.slurm.calls("squeue")) >= looks + 2)
    assert len(home.slurm.calls("sbatch")) == 1
    home.slurm.queue(("13", "RUNNING", "None"))
    wait_for("the job", lambda: home.tier()["job_id"] == "13")
    assert len(home.slurm.calls("sbatch")) == 1


def test_failed_job_is_explained_by_log_and_accounting(home: Home) -> None:
    home.slurm.queue(("34", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "34")
    (home.folder / "logs" / "34").mkdir()
    text = "2026-11-21 12:46:57 lost: head on vasp-01 has ended with status 1\n"
    (home.folder / "logs" / "34" / "job.log").write_text(text, encoding="utf-8")
    home.slurm.says("sacct", "34|FAILED|1:0|49|1-00:00:00|3G||vasp-[01-03]\n34.batch|FAILED|1:0|49|||46.50M|vasp-01\n")
    home.slurm.queue(("34", "FAILED", "NonZeroExitCode"))
    tier = wait_for("a back-off", lambda: home.tier() if home.tier()["state"] == "backing-off" else None)
    assert "job 34 failed with status 1 after 49 seconds: head on vasp-01 has ended with status 1" in tier["reason"]
    assert tier["advice"] == "see ai/logs/34/job.log in the shared directory"


@pytest.mark.parametrize("accounting", [("", 0), ("sacct: error: slurm_persist_conn_open", 1)])
def test_queue_explains_a_failed_job_without_accounting(home: Home, accounting: tuple[str, int]) -> None:
    home.slurm.says("sacct", *accounting)
    home.slurm.queue(("34", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "34")
    home.slurm.queue(("34", "OUT_OF_MEMORY", "OutOfMemory"))
    tier = wait_for("a back-off", lambda: home.tier() if home.tier()["state"] == "backing-off" else None)
    assert "ran out of memory" in tier["reason"]
    assert "raise memory" in tier["advice"]


def test_ready_tier_is_shown_while_slurm_does_not_answer(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12")
    home.begin()
    wait_for("it to be ready", lambda: home.tier()["state"] == "ready")
    home.slurm.says("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)
    wait_for("the manager to say so", lambda: "has not answered" in home.tier()["advice"])
    assert home.tier()["state"] == "ready"
    assert home.slurm.calls("sbatch") == []


def test_renamed_job_is_followed_by_its_number(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    # The name differs after scontrol update or a change of job_name in the inventory.
    home.slurm.queue(("12", "RUNNING", "None"), name="llama-new")
    looks = len(home.slurm.calls("squeue"))
    wait_for("looks", lambda: len(home.slurm.calls("squeue")) >= looks + 5)
    assert home.tier()["job_id"] == "12"
    assert home.slurm.calls("sbatch") == []
    assert home.slurm.calls("scancel") == []


def test_orphaned_job_is_cancelled(home: Home) -> None:
    home.slurm.comment = "herd-tiers tier=fast"
    home.slurm.queue(("12", "RUNNING", "None"))
    data = {**home.data, "tiers": [{**home.data["tiers"][0], "name": "quick"}]}
    home.config.write_text(json.dumps(data), encoding="utf-8")
    home.begin()
    wait_for("its end", lambda: home.slurm.calls("scancel"))
    looks = len(home.slurm.calls("squeue"))
    wait_for("looks", lambda: len(home.slurm.calls("squeue")) >= looks + 5)
    # No second cancellation at once: the job may have running requests.
    assert home.slurm.calls("scancel") == [["12"]]
    journal = (home.folder / "journal").read_text(encoding="utf-8")
    assert "fast: ending job 12: its tier is not in the inventory" in journal


def test_node_with_a_slow_clock_serves_and_is_reported(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()

    def is_ready() -> bool:
        home.entry("12", heartbeat=time.time() - 3600)
        return bool(home.tier()["state"] == "ready")

    wait_for("it to be ready", is_ready)
    wait_for("its clock to be named", lambda: any("the clock of vasp-02 is 60 minutes" in p for p in home.problems()))


def test_restarted_manager_keeps_an_engine_with_a_slow_clock_ready(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12", heartbeat=time.time() - 3600)
    stop = threading.Event()

    def beats() -> None:
        while not stop.wait(0.5):
            home.entry("12", heartbeat=time.time() - 3600)

    with ThreadPoolExecutor(1) as other:
        other.submit(beats)
        try:
            home.begin()
            wait_for("a view", lambda: home.tier()["state"])
            assert home.tier()["state"] == "ready"
            journal = (home.folder / "journal").read_text(encoding="utf-8")
            assert "fast: loading" not in journal
        finally:
            stop.set()


def test_invalid_queue_is_not_an_empty_queue(home: Home) -> None:
    home.slurm.says("squeue", "squeue: something that a later Slurm prints there\n")
    home.begin()
    wait_for("the manager to say so", home.problems)
    assert "squeue printed no jobs but b'squeue: something" in home.problems()[0]
    assert home.slurm.calls("sbatch") == []


def test_outdated_job_is_asked_to_requeue_and_replaced_while_pending(home: Home) -> None:
    home.data["tiers"][0]["fingerprint"] = "aaaaaaaa"
    home.config.write_text(json.dumps(home.data), encoding="utf-8")
    home.slurm.comment = "herd-tiers tier=fast fingerprint=bbbbbbbb"
    home.slurm.queue(("12", "RUNNING", "None"))
    home.entry("12")
    home.begin()
    wait_for("it to be asked", lambda: home.slurm.calls("scancel"))
    assert home.slurm.calls("scancel") == [["--signal=USR2", "--batch", "12"]]
    wait_for("it to be said", lambda: "job 12 is outdated" in home.tier()["advice"])
    assert "job 12 is outdated" in home.tiers().stdout
    (home.folder / "registry" / "fast-12.json").unlink()
    home.slurm.queue(("12", "PENDING", "BeginTime"))
    wait_for("it to be replaced", lambda: len(home.slurm.calls("scancel")) > 1)
    assert home.slurm.calls("scancel")[1:] == [["12"]]
    home.slurm.says("sbatch", "13\n")
    home.slurm.says("sacct", "")
    home.slurm.queue()
    wait_for("another one", lambda: home.slurm.calls("sbatch"))
    ((_parsable, _singleton, comment, *rest),) = home.slurm.calls("sbatch")
    assert comment.startswith("--comment=herd-tiers")
    assert rest[-2:] == ["fingerprint=aaaaaaaa", "/scripts/run-14b.slurm"]
