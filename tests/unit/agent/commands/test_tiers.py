# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl tiers: show, stop, start and manage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.conftest import run_herdctl
from tests.unit.agent.slurm.tier_manager import Home, homes, wait_for


@pytest.fixture
def home(tmp_path: Path, herdctl: Path) -> Iterator[Home]:
    yield from homes(tmp_path, herdctl)


def test_tier_is_stopped_and_started(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    assert home.tiers("stop", "fast", "--reason", "new fan").returncode == 0
    wait_for("its end", lambda: home.slurm.calls("scancel") == [["12"]])
    home.slurm.queue()
    wait_for("the tier to stop", lambda: home.tier()["state"] == "stopped")
    assert home.tier()["reason"].endswith(": new fan")
    assert home.slurm.calls("sbatch") == []
    home.slurm.says("sbatch", "14\n")
    assert home.tiers("start", "fast").returncode == 0
    wait_for("a new job", lambda: home.slurm.calls("sbatch"))
    done = home.tiers("stop", "slow")
    assert done.returncode == 2
    assert "expected a tier among fast, found slow" in done.stderr


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 2}', "[]", '{"schema": 1, "tiers": 5}'])
def test_unreadable_configuration_is_reported(home: Home, text: str) -> None:
    home.config.write_text(text, encoding="utf-8")
    done = home.tiers()
    assert done.returncode == 2
    assert "run the role slurm_tiers on the controller" in done.stderr


def test_missing_and_old_status_are_reported(home: Home) -> None:
    done = home.tiers()
    assert done.returncode == 2
    assert "see that herd-tiers.service runs on this host" in done.stderr
    (home.folder / "run" / "tiers.json").write_text('{"schema": 1, "written": 5, "tiers": {}}', encoding="utf-8")
    done = home.tiers()
    assert done.returncode == 3
    assert "This is old" in done.stdout


def test_manager_refuses_another_user(home: Home) -> None:
    home.config.write_text(json.dumps({**home.data, "user": "llama-of-nobody"}), encoding="utf-8")
    done = home.tiers("manage")
    assert done.returncode == 2
    assert "expected to run as llama-of-nobody" in done.stderr


def test_second_manager_is_refused(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    done = home.tiers("manage")
    assert done.returncode == 2
    assert "expected no other tier manager" in done.stderr


@pytest.mark.parametrize("every", [0, -1, 61])
def test_interval_of_reads_outside_its_range_is_refused(home: Home, every: int) -> None:
    home.config.write_text(json.dumps({**home.data, "every": every}), encoding="utf-8")
    done = home.tiers("manage")
    assert done.returncode != 0
    assert f"every is {every} seconds; it must be above 0 and at most 60" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["status", "watch"])
def test_commands_of_the_documents_show_the_tiers_on_the_controller(home: Home, herdctl: Path, command: str) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    home.begin()
    wait_for("the job", lambda: home.tier()["job_id"] == "12")
    options = ["--config", str(home.folder / "none.json"), "--tiers-config", str(home.config)]
    done = run_herdctl(herdctl, command, *options)
    assert done.stdout.splitlines()[0].split()[:3] == ["TIER", "STATE", "JOB"]
    assert " 12 " in done.stdout
    # The tier's engine is not registered, so it is not ready.
    assert done.returncode == 1
    assert json.loads(run_herdctl(herdctl, command, *options, "--json").stdout)["tiers"]["fast"]["job_id"] == "12"
