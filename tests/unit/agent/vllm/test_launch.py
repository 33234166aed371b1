# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm launch) against doubles of Slurm's programs, which replay output of Slurm 22.05."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm.control import launcher
from tests.unit.agent.vllm.conftest import ID, MODEL, WorkSpace
from tests.unit.agent.vllm.slurm_double import REFUSED, line

NAME = f"vllm-{MODEL}"
PENDING = line("4711", NAME, "PENDING", "Priority", StartTime=int(time.time()) + 3600)
RUNNING = line("4711", NAME, "RUNNING", StartTime=int(time.time()) - 20, NodeList="c1")


def test_launch_follows_the_job_until_it_is_ready(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(PENDING)
    work.slurm.picture(RUNNING)
    work.slurm.picture(RUNNING, status=work.status("loading", percent=42, reason="weights: 25 of 50 files"))
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    status, out, err = work.run("launch")
    assert status == 0
    assert "submitted as job 4711" in err
    assert "Slurm would start it by 2026-11-29 17:53:18 on c[1-2]" in err
    shown = [words for words in ("is pending", "is starting", "is loading 42 %", "is ready") if words in err]
    assert shown == ["is pending", "is starting", "is loading 42 %", "is ready"]
    assert "jobs of higher priority come first; Slurm expects to start it at" in err
    assert f"query --model {MODEL} --prompt" in out
    assert "export OPENAI_BASE_URL=http://127.0.0.1:8006/v1 OPENAI_API_KEY=$(cat " in out
    script = work.path / "jobs" / f"{MODEL}.sh"
    assert work.slurm.calls("sbatch") == [f"sbatch --test-only {script}", f"sbatch --parsable {script}"]
    assert "#SBATCH --account=p_project" in script.read_text(encoding="utf-8")


def test_new_job_that_the_queue_shows_late_is_not_given_up(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0


def test_new_job_that_never_appears_is_given_up(work: WorkSpace) -> None:
    work.slurm.empty()
    status, data = work.json("launch")
    assert (status, data["job_id"], data["phase"]) == (1, "4711", "failed")
    assert "gone from the queue" in data["reason"]


def test_script_reads_one_document(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    status, data = work.json("launch")
    assert status == 0
    expected = {"changed": True, "job_id": "4711", "model": MODEL, "phase": "ready", "host": "c1", "port": 8006}
    assert {name: data[name] for name in expected} == expected
    assert data["exit_status"] == 0
    assert data["problems"] == []


def test_second_launch_submits_nothing(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    before = len(work.slurm.calls("sbatch"))
    status, data = work.json("launch")
    assert (status, data["changed"], data["phase"]) == (0, False, "ready")
    assert len(work.slurm.calls("sbatch")) == before


def test_refusal_is_explained(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.put("test-only", REFUSED)
    status, out, err = work.run("launch")
    assert status == 4
    assert out == ""
    assert "the account does not exist, or may not use this partition: correct slurm.account" in err
    assert "docs/operations/vllm/submission-refused.md" in err
    assert not [call for call in work.slurm.calls("sbatch") if "--parsable" in call]


def test_refusal_of_the_submission_itself_is_explained(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.put("refusal", "sbatch: error: Batch job submission failed: Invalid qos specification\n")
    status, data = work.json("launch")
    assert (status, data["exit_status"], data["changed"]) == (4, 4, False)
    assert "Invalid qos specification" in data["problems"][0]


def test_job_that_dies_is_explained_by_its_log(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING)
    work.slurm.picture(line("4711", NAME, "FAILED", exit_code=256))
    work.log("Starting x on 1 node (1 GPU)...\n0: vllm: error: unrecognized arguments: --no-such-flag\n")
    status, out, _err = work.run("launch")
    assert status == 1
    assert "this vLLM release does not know --no-such-flag (rank" not in out
    assert f"{MODEL} has failed as job 4711: this vLLM release does not know --no-such-flag" in out
    assert "docs/operations/vllm/wrong-argument.md" in out


def test_job_that_requeues_itself_after_a_failure_is_followed_on(work: WorkSpace) -> None:
    lost = "rank 1 on c2 (10.0.0.2) has sent no heartbeat for 7 seconds"
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("failed", reason=lost))
    work.slurm.picture(line("4711", NAME, "PENDING", "BeginTime", RestartCnt=1))
    again = line("4711", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c1", RestartCnt=1)
    work.slurm.picture(again, status=work.status("ready", percent=100, restarts=1))
    status, _out, err = work.run("launch")
    assert status == 0
    assert f"has failed as job 4711: {lost}" in err
    assert f"Slurm waits two minutes before it starts a requeued job again; its last run: {lost}" in err


def test_job_that_is_being_stopped_is_followed_by_a_new_one(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    work.slurm.put("job", "4712\n")
    work.slurm.picture(RUNNING, status=work.status("draining", reason="draining: stop"))
    work.slurm.picture(status=work.status("ended", reason="stopped as requested"))
    other = line("4712", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c1")
    work.slurm.empty()
    work.slurm.picture(other, status=work.status("ready", job_id="4712", percent=100))
    status, data = work.json("launch")
    assert (status, data["changed"], data["job_id"]) == (0, True, "4712")


def test_two_launches_at_once_submit_one_job(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    comment = (
        f"herd-vllm:{MODEL}:{json.loads((work.path / 'jobs' / f'launched-{MODEL}.json').read_text())['fingerprint']}"
    )
    other = line("4713", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c1", Comment=comment)
    work.slurm.picture()
    work.slurm.picture(other, status=work.status("ready", job_id="4713", percent=100))
    status, data = work.json("launch")
    assert (status, data["changed"], data["job_id"]) == (0, False, "4713")


def test_older_job_that_is_being_stopped_is_no_other_launch(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    record = json.loads((work.path / "jobs" / f"launched-{MODEL}.json").read_text())
    began = int(time.time()) - 5
    same = f"herd-vllm:{MODEL}:{record['fingerprint']}"
    stopping = line("4711", NAME, "RUNNING", StartTime=began, NodeList="c1", Comment=same)
    changed = line("4712", NAME, "RUNNING", StartTime=began, NodeList="c1", Comment=f"herd-vllm:{MODEL}:00000000")
    again = line("4713", NAME, "RUNNING", StartTime=began, NodeList="c1", Comment=same)
    work.slurm.put("job", "4713\n")
    work.slurm.picture(stopping, changed)
    work.slurm.picture(stopping, changed)
    work.slurm.picture(changed, again, status=work.status("ready", job_id="4713", percent=100))
    status, data = work.json("launch")
    assert (status, data["changed"], data["job_id"], data["former_job"]) == (0, True, "4713", "4712")


def test_silent_slurm_is_no_refusal(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.put("refusal", "sbatch: error: Unable to contact slurm controller (connect failure)\n")
    assert work.json("launch")[0] == 1


def test_interrupt_leaves_the_job_running(work: WorkSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    work.slurm.empty()
    work.slurm.picture(RUNNING)
    monkeypatch.setattr(launcher, "pause", interrupt)
    status, out, _err = work.run("launch")
    assert status == 130
    assert f"job 4711 goes on. Follow it again: herdctl vllm launch {MODEL}; end it: herdctl vllm stop {MODEL}" in out
    assert work.slurm.calls("scancel") == []


def test_interrupt_before_a_submission_says_where_to_look(work: WorkSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_launcher: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher.Launcher, "run", interrupt)
    status, out, _err = work.run("launch")
    assert status == 130
    assert "herdctl vllm status shows whether a job was submitted" in out


def test_time_to_follow_is_limited(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(PENDING)
    status, data = work.json("launch", "--timeout", "0.01")
    assert (status, data["phase"], data["reason"]) == (5, "pending", "jobs of higher priority come first")
    assert data["expected_start"] > time.time()


def test_submission_without_following(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(PENDING)
    status, data = work.json("launch", "--no-follow")
    assert (status, data["job_id"], data["phase"], data["changed"]) == (0, "4711", "pending", True)


def test_test_only_submits_nothing(work: WorkSpace) -> None:
    work.slurm.empty()
    status, out, _err = work.run("launch", "--test-only")
    assert status == 0
    assert f"{MODEL} would start by 2026-11-29 17:53:18; nothing was submitted" in out
    assert not (work.path / "jobs").exists()
    assert not (work.path / "api-key").exists()
    assert not [call for call in work.slurm.calls("sbatch") if "--parsable" in call]


def test_model_that_is_not_downloaded_is_refused_with_the_command(work: WorkSpace) -> None:
    work.slurm.empty()
    status, _out, err = work.run("launch", "other-model")
    assert status == 2
    assert "openai/gpt-oss-120b is not in " in err
    assert "venv/current/bin/hf download openai/gpt-oss-120b" in err or "/bin/hf download openai/gpt-oss-120b" in err
    assert work.slurm.calls("sbatch") == []


def test_download_that_is_not_complete_is_refused_before_the_submission(work: WorkSpace, home: Path) -> None:
    work.slurm.empty()
    snapshot = home / ".cache/huggingface/hub/models--openai--gpt-oss-20b/snapshots/abc"
    (snapshot / "pytorch_model.bin").unlink()
    files = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}), encoding="utf-8")
    status, _out, err = work.run("launch")
    assert status == 2
    assert f"the download of {ID} is not complete (expected the file {snapshot}/model-00001-of-00002.safetensors" in err
    assert f"hf download {ID}" in err
    assert work.slurm.calls("sbatch") == []


def test_folder_without_all_files_is_refused_with_its_line(
    work: WorkSpace, tmp_path: Path, change_config: Callable[[str, str], None]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}", encoding="utf-8")
    change_config(f"    huggingface_id: {ID}\n", f"    huggingface_id: {ID}\n    path: {tmp_path}/m\n")
    work.slurm.empty()
    status, _out, err = work.run("launch")
    assert status == 2
    assert re.search(r"config.yaml:\d+: models.gpt-oss-20b.path: the model is not complete: .*/model.safetensors", err)


def test_expected_start_is_that_of_the_test_until_the_queue_has_one(work: WorkSpace) -> None:
    far = "sbatch: Job 4711 to start at 2099-11-29T17:53:18 using 2 processors on nodes c1 in partition capella\n"
    work.slurm.put("test-only", far)
    work.slurm.empty()
    work.slurm.picture(line("4711", NAME, "PENDING", "Priority"))
    status, data = work.json("launch", "--timeout", "0.1")
    assert status == 5
    assert data["expected_start_iso"].startswith("2099-11-2")


def test_model_that_does_not_fit_is_refused_with_what_would(work: WorkSpace) -> None:
    work.slurm.empty()
    facts = {"schema": 1, "gpu": {"name": "small", "memory_mib": 12000, "compute_capability": "9.0"}}
    (work.path / "site.json").write_text(json.dumps(facts), encoding="utf-8")
    status, data = work.json("launch")
    assert (status, data["exit_status"]) == (6, 6)
    assert "--no-plan" in data["problems"][0]
    assert work.slurm.calls("sbatch") == []
    work.slurm.picture(PENDING)
    assert work.json("launch", "--no-plan", "--no-follow")[0] == 0


def test_changed_configuration_replaces_the_job_when_the_new_one_is_ready(
    work: WorkSpace, change_config: Callable[[str, str], None]
) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    change_config("port: 8006", "port: 8016")
    work.slurm.put("job", "4712\n")
    work.slurm.picture(RUNNING)
    other = line("4712", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c2")
    work.slurm.picture(RUNNING, other, status=work.status("ready", job_id="4712", percent=100, port=8016))
    status, data = work.json("launch")
    assert (status, data["changed"], data["job_id"], data["former_job"]) == (0, True, "4712", "4711")
    assert work.slurm.calls("scancel") == ["scancel --signal=HUP --batch 4711"]


def test_former_job_gives_way_if_the_new_one_needs_its_gpus(
    work: WorkSpace, change_config: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GIVE_WAY_S", 0.0)
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    change_config("port: 8006", "port: 8016")
    work.slurm.put("job", "4712\n")
    work.slurm.picture(RUNNING)
    work.slurm.picture(RUNNING, line("4712", NAME, "PENDING", "Resources"))
    other = line("4712", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c1")
    work.slurm.picture(other, status=work.status("ready", job_id="4712", percent=100, port=8016))
    assert work.json("launch")[0] == 0
    assert work.slurm.calls("scancel") == ["scancel --signal=HUP --batch 4711"]


def test_interrupted_replacement_is_completed(work: WorkSpace) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    older = line("4700", NAME, "RUNNING", StartTime=int(time.time()) - 900, NodeList="c3")
    work.slurm.picture(older, RUNNING)
    status, data = work.json("launch")
    assert (status, data["changed"], data["job_id"]) == (0, False, "4711")
    assert work.slurm.calls("scancel") == ["scancel --signal=HUP --batch 4700"]


def test_replacement_can_be_refused(work: WorkSpace, change_config: Callable[[str, str], None]) -> None:
    work.slurm.empty()
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100))
    assert work.run("launch")[0] == 0
    change_config("port: 8006", "port: 8016")
    status, data = work.json("launch", "--no-replace")
    assert (status, data["changed"], data["job_id"]) == (3, False, "4711")
    assert "another configuration" in data["problems"][0]


def test_requeued_job_is_not_ready_by_the_status_of_its_last_run(work: WorkSpace) -> None:
    again = line("4711", NAME, "RUNNING", StartTime=int(time.time()) - 5, NodeList="c1", RestartCnt=1)
    work.slurm.picture(again, status=work.status("ready", percent=100, restarts=0))
    status, data = work.json("launch", "--timeout", "0.01")
    assert (status, data["phase"]) == (5, "starting")


def test_job_that_never_starts_is_not_followed_for_ever(work: WorkSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "NEVER_S", 0.0)
    work.slurm.empty()
    work.slurm.picture(line("4711", NAME, "PENDING", "QOSMaxGRESPerJob"))
    status, data = work.json("launch")
    assert (status, data["phase"], data["starts_by_itself"]) == (3, "pending", False)
    assert "request less of it" in data["cure"]


def test_host_without_slurm_is_named(work: WorkSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    status, _out, err = work.run("launch")
    assert status == 2
    assert "run this on a login node of the Slurm cluster" in err


def test_commands_are_listed_to_a_user_who_names_none(work: WorkSpace) -> None:
    status, out, err = work.run()
    assert (status, out) == (2, "")
    for command in ("launch", "status", "logs", "metrics", "query", "list", "plan", "stop", "cleanup"):
        assert re.search(rf"^ +{command} ", err, re.MULTILINE)


def test_missing_environment_is_named(work: WorkSpace) -> None:
    (work.path / "venv/current/bin/vllm").unlink()
    status, _out, err = work.run("launch")
    assert status == 2
    assert "expected an environment with vLLM" in err
    assert "playbooks/vllm.yml" in err


def test_missing_configuration_is_named(work: WorkSpace) -> None:
    (work.path / "config.yaml").unlink()
    status, _out, err = work.run("launch")
    assert status == 2
    assert f"there is no config.yaml in {work.path}" in err
    assert "inventory/capella/config.yaml" in err
    status, data = work.json("launch")
    assert (status, data["exit_status"]) == (2, 2)
    assert "config.yaml" in data["error"]


def test_key_of_another_mode_is_refused(work: WorkSpace) -> None:
    work.slurm.empty()
    (work.path / "api-key").write_text("secret\n", encoding="ascii")
    (work.path / "api-key").chmod(0o644)
    status, _out, err = work.run("launch")
    assert status == 2
    assert "chmod 600" in err
