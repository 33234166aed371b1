# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_model, with a double of herdctl that is a shell script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.modules import vllm_model

READY = {"changed": True, "job_id": "17", "phase": "ready", "host": "c1", "port": 8006}


class Work:
    """A work space with a double of herdctl."""

    def __init__(self, folder: Path) -> None:
        self.herdctl, self.config = folder / "herdctl", folder / "config.yaml"
        self.config.write_text("active_model: tiny\n", encoding="utf-8")

    def says(self, answer: Any, status: int = 0, progress: str = "pending: waits for GPUs") -> None:
        text = f"#!/bin/sh\necho \"$@\" >>{self.herdctl}.calls\necho '{progress}' >&2\n"
        text += f"echo '{json.dumps(answer)}'\nexit {status}\n"
        self.herdctl.write_text(text, encoding="utf-8")
        self.herdctl.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return Path(f"{self.herdctl}.calls").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def run(capsys: pytest.CaptureFixture[str], work: Work, check: bool = False, **more: Any) -> dict[str, Any]:
    given = {"herdctl": str(work.herdctl), "config": str(work.config), "_ansible_check_mode": check, **more}
    with patch_module_args(given), pytest.raises(SystemExit):
        vllm_model.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_answer_of_the_launch_is_returned(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.says(READY)
    found = run(capsys, work)
    assert (found["changed"], found["answer"]) == (True, READY)
    assert work.calls == [f"vllm launch --config {work.config} --json --timeout 7200"]
    progress = json.loads(Path(found["progress_file"]).read_text(encoding="utf-8"))
    assert progress == {"what": "pending: waits for GPUs", "finished": True}


def test_running_model_is_no_change(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.says({**READY, "changed": False})
    assert not run(capsys, work)["changed"]


def test_job_is_only_submitted_without_a_time_to_wait(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.says({**READY, "phase": "pending"})
    assert run(capsys, work, wait=0)["changed"]
    assert work.calls == [f"vllm launch --config {work.config} --json --no-follow"]


def test_check_mode_submits_nothing(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, work, check=True)["changed"]
    work.says({"changed": True, "problems": []})
    assert run(capsys, work, check=True)["changed"]
    assert work.calls == [f"vllm launch --config {work.config} --json --test-only"]


def test_problems_of_the_configuration_are_the_error(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.says({"changed": True, "problems": ["config.yaml:4: slurm.account is empty."]})
    assert "config.yaml:4: slurm.account is empty" in run(capsys, work, check=True)["msg"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"reason": "the ranks did not find each other"}, "(exit status 1): the ranks did not find each other"),
        ({"error": "config.yaml has 2 errors"}, "(exit status 1): config.yaml has 2 errors"),
        ({}, "(exit status 1): loading 45 %"),
        ("nothing", "(exit status 1): loading 45 %"),
    ],
)
def test_failure_gives_the_reason_or_the_last_line(
    work: Work, capsys: pytest.CaptureFixture[str], answer: Any, says: str
) -> None:
    work.says(answer, status=1, progress="loading 45 %")
    found = run(capsys, work)
    assert found["failed"]
    assert says in found["msg"]


def test_missing_program_is_reported(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    assert "run the whole role vllm_slurm" in run(capsys, work)["msg"]
