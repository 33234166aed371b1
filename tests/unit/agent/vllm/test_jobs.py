# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm) status, list, plan, stop and logs against doubles of Slurm's programs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm.control import log_files
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job_status import RankStatus
from tests.unit.agent.vllm.conftest import MODEL, WorkSpace
from tests.unit.agent.vllm.slurm_double import line

NAME = f"vllm-{MODEL}"
RUNNING = line("4711", NAME, "RUNNING", StartTime=int(time.time()) - 700, NodeList="c1")
KILLED = """\
4711|FAILED|1:0|75|12:00:00|64G||c1
4711.batch|FAILED|1:0|75|||120K|c1
4711.0|FAILED|1:0|70|||9G|c1
"""


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (("PENDING", "AssocGrpGRES"), "all jobs of the account together use all GPUs that they may"),
        (("PENDING", "QOSMaxWallDurationPerJobLimit"), "it requests more time than the QoS allows a job"),
        (("PENDING", "PartitionTimeLimit"), "its time limit is longer than the partition's; lower slurm.time_default"),
        (("PENDING", "JobHeldUser"), "it is held; scontrol release 4711"),
        (("PENDING", "ReqNodeNotAvail, UnavailableNodes:c[1-4]"), "a node is down, drained or reserved; see sinfo -R"),
        (("COMPLETING", "None"), "Slurm ends it"),
        (("CONFIGURING", "None"), "Slurm prepares its nodes"),
    ],
)
def test_status_says_why_the_model_is_not_ready(work: WorkSpace, state: tuple[str, str], words: str) -> None:
    work.slurm.picture(line("4711", NAME, *state))
    status, out, _err = work.run("status")
    assert status == 3
    assert words in out


def test_ready_model_has_its_address(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    status, out, _err = work.run("status")
    assert status == 0
    assert "http://127.0.0.1:8006/v1" in out
    assert " minutes " in out
    status, data = work.json("status", MODEL)
    assert (status, data["ready"]) == (0, True)
    assert data["models"][0]["base_url"] == "http://127.0.0.1:8006/v1"


def test_ready_model_is_warned_of_slow_nccl(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    work.log("0: c1:1:2 [0] NCCL INFO Using network Socket\n0: (APIServer pid=1) INFO: Application startup complete.\n")
    status, out, _err = work.run("status")
    assert status == 0
    assert "NCCL uses TCP sockets, not InfiniBand" in out


def test_pending_job_says_why_its_last_run_ended(work: WorkSpace) -> None:
    reason = (
        "rank 1 on c2: vLLM has ended without being asked, with status 0; requeued (failure 1 of at most 4 in a row)"
    )
    work.slurm.picture(
        line("4711", NAME, "PENDING", "BeginTime", RestartCnt=1), status=work.status("starting", reason=reason)
    )
    _status, out, _err = work.run("status")
    assert reason in out


def test_silent_and_failed_jobs_are_told_apart(work: WorkSpace) -> None:
    old = work.status("ready", updated=time.time() - 500)
    work.slurm.picture(RUNNING, status=old)
    status, data = work.json("status")
    assert (status, data["models"][0]["state"]) == (3, "silent")
    lost = work.status("failed", reason="rank 1 is lost", ranks=(RankStatus(1, "c2", "lost", "no heartbeat for 10 s"),))
    work.slurm.picture(RUNNING, status=lost)
    status, data = work.json("status")
    assert (status, data["models"][0]["state"]) == (3, "failed")
    assert data["models"][0]["reason"] == "rank 1 is lost"


@pytest.mark.parametrize("has_accounting", [True, False])
def test_job_that_has_ended_is_explained(work: WorkSpace, has_accounting: bool) -> None:
    work.slurm.picture()
    if has_accounting:
        work.slurm.put("accounting", KILLED)
    work.log("Starting x on 1 node (1 GPU)...\nslurmstepd: error: Detected 1 oom_kill event in StepId=4711.0.\n")
    status, data = work.json("status")
    found = data["models"][0]
    assert (status, found["state"], found["job_id"]) == (3, "failed", "4711")
    assert "raise slurm.mem_per_gpu" in found["cure"]
    assert found["page"] == "node-out-of-memory.md"


def test_model_that_was_never_launched(work: WorkSpace) -> None:
    work.slurm.picture()
    status, out, _err = work.run("status")
    assert status == 3
    assert "it was never launched here" in out
    assert f"herdctl vllm launch {MODEL}" in out


def test_status_of_a_job_by_its_number(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING, status=work.status("loading", percent=30))
    status, data = work.json("status", "--job", "4711")
    assert (status, data["models"][0]["percent"]) == (3, 30)
    status, _out, err = work.run("status", "--job", "99")
    assert status == 2
    assert "job 99 is no job of a model" in err


def test_silent_slurm_is_named(work: WorkSpace) -> None:
    work.slurm.put("squeue-error", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
    status, _out, err = work.run("status")
    assert status == 1
    assert "Unable to contact slurm controller" in err
    assert "scontrol ping" in err


def test_list_works_without_slurm(work: WorkSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    status, out, _err = work.run("list")
    assert status == 0
    assert out.splitlines()[0].split()[:3] == ["MODEL", "NODES", "GPUS"]
    assert work.json("list")[1]["active_model"] == MODEL


def test_plan_names_the_gpus_that_it_needs(work: WorkSpace) -> None:
    status, _out, err = work.run("plan")
    assert status == 2
    assert "--gpu" in err
    status, out, _err = work.run("plan", "--gpu", "h100-80")
    assert status == 0
    assert f"{MODEL} on 1 x " in out
    assert work.run("plan", "--gpu", "nosuch")[0] == 2


def test_stop_lets_the_requests_finish(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING)
    work.slurm.put("after-scancel", "")
    status, data = work.json("stop", "--timeout", "5")
    assert (status, data["jobs"], data["gone"]) == (0, {"4711": "finishing"}, True)
    assert work.slurm.calls("scancel") == ["scancel --signal=HUP --batch 4711"]


def test_stop_cancels_a_pending_job_or_at_once(work: WorkSpace) -> None:
    work.slurm.picture(line("4711", NAME, "PENDING", "Priority"))
    work.slurm.put("after-scancel", "")
    assert work.json("stop")[1]["jobs"] == {"4711": "cancelled"}
    assert work.slurm.calls("scancel") == ["scancel 4711"]
    status, data = work.json("stop")
    assert (status, data["changed"]) == (0, False)


def test_stop_that_takes_longer_says_so(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING)
    status, out, _err = work.run("stop", "--timeout", "0.1")
    assert status == 5
    assert "it still runs after 0.1 s" in out


def test_jobs_of_others_and_other_jobs_are_left_alone(work: WorkSpace) -> None:
    work.slurm.picture(line("5", "vllm-something", "RUNNING"), line("6", "training", "RUNNING"))
    assert work.json("stop")[1]["changed"] is False
    assert work.run("stop", "--job", "6")[0] == 2
    assert work.slurm.calls("scancel") == []


LOG = "Starting x on 2 nodes (2 GPUs)...\n0: first\n1: second\n0: NCCL third\n10: fourth\n"


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ((), ["Starting x on 2 nodes (2 GPUs)...", "0: first", "1: second", "0: NCCL third", "10: fourth"]),
        (("--rank", "1"), ["1: second"]),
        (("--lines", "2"), ["0: NCCL third", "10: fourth"]),
        (("--grep", "nccl"), ["0: NCCL third"]),
        (("--job", "4711", "--rank", "0", "-n", "1"), ["0: NCCL third"]),
    ],
)
def test_logs_are_chosen(work: WorkSpace, arguments: tuple[str, ...], lines: list[str]) -> None:
    work.slurm.picture(RUNNING)
    work.log(LOG)
    status, out, _err = work.run("logs", *arguments)
    assert status == 0
    assert out.splitlines() == lines
    assert work.json("logs", *arguments)[1]["lines"] == lines


def test_log_that_is_not_there_yet(work: WorkSpace) -> None:
    work.slurm.picture(RUNNING)
    status, _out, err = work.run("logs")
    assert status == 2
    assert "has no log in" in err
    assert work.run("logs", "--grep", "(")[0] == 2


def test_followed_log_ends_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.out"
    path.write_text("0: before\n", encoding="utf-8")
    added = iter(["0: one\n1: t", "wo\n", "0: \x1b[2Jthree\n"])

    def grow(_seconds: float) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(next(added, ""))

    monkeypatch.setattr(log_files, "pause", grow)
    looks = iter([False, False, False, False, True])
    found = list(log_files.follow(path, log_files.Selection(None, None), lambda: next(looks)))
    assert found == ["0: one", "1: two", "0:  [2Jthree"]


def test_large_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "job.out"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
        stream.seek(0, 2)
        stream.write(b"\n0: vllm: error: unrecognized arguments: --x\n" + b"0: end\n" * 10)
    began = time.monotonic()
    found = log_files.read(path).diagnosis()
    assert found is not None
    assert found.name == "unknown-option"
    assert log_files.last(path, 1, log_files.Selection(0, None)) == ["0: end"]
    assert time.monotonic() - began < 20
