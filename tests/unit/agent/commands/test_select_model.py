# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-model-selector on real files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.conftest import run_herdctl

TASKS = {
    "schema": 1,
    "types": {
        "fix": {"tier": "fast", "model": "strand", "why": "It compiles."},
        "borrowing": {"tier": "reasoning", "model": "OR1-Behemoth", "why": "Reasons deepest."},
    },
    "default": None,
}
ENDPOINT = {
    "schema": 1,
    "tier": "fast",
    "job_id": "12",
    "host": "vasp-02",
    "address": "10.0.0.42",
    "port": 8080,
    "models": ["strand"],
    "state": "ready",
    "percent": 100,
    "context": 32768,
    "slots": 2,
    "release": "0c1e57098",
    "started": 1.0,
    "heartbeat": 2.0,
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name the gateway's configuration and a fresh status of the tiers."""
    (tmp_path / "gateway.json").write_text(json.dumps({"schema": 1, "tasks": TASKS}), encoding="utf-8")
    wall = time.time()
    view = {
        "schema": 1,
        "written": wall,
        "tiers": {
            "fast": {"enabled": True, "state": "ready", "endpoints": [ENDPOINT]},
            "reasoning": {
                "enabled": True,
                "state": "preempted",
                "reason": "preempted by VASP job 88",
                "expected": wall + 1500,
            },
        },
    }
    (tmp_path / "tiers.json").write_text(json.dumps(view), encoding="utf-8")
    return ["--config", str(tmp_path / "gateway.json"), "--tier-status", str(tmp_path / "tiers.json")]


def test_selector_shows_the_choice_and_the_reason(herdctl: Path, files: list[str]) -> None:
    done = run_herdctl(herdctl, "select-model", "fix", *files)
    assert done.stdout == "Task:  fix\nModel: strand\nTier:  fast: ready\nWhy:   It compiles.\n"
    done = run_herdctl(herdctl, "select-model", "borrowing", *files)
    assert "Tier:  reasoning: preempted by VASP job 88, expected in about 25 minutes\n" in done.stdout


def test_llama_model_selector_runs_the_same_command(herdctl: Path, files: list[str]) -> None:
    link = herdctl.parent / "llama-model-selector"
    link.symlink_to("herdctl")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(link), "borrowing", "--model", *files],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        link.unlink()
    assert (done.returncode, done.stdout) == (0, "OR1-Behemoth\n")


def test_json_has_all_facts(herdctl: Path, files: list[str]) -> None:
    done = run_herdctl(herdctl, "select-model", "Fix", "--json", *files)
    assert json.loads(done.stdout) == {
        "task": "Fix",
        "known": True,
        "tier": "fast",
        "model": "strand",
        "why": "It compiles.",
        "ready": True,
        "state": "ready",
    }
    assert set(json.loads(run_herdctl(herdctl, "select-model", "--json", *files).stdout)) == {"fix", "borrowing"}


def test_selector_shows_the_table_without_a_type(herdctl: Path, files: list[str]) -> None:
    lines = run_herdctl(herdctl, "select-model", *files).stdout.splitlines()
    assert lines[0].split() == ["TASK", "TIER", "MODEL", "NOW", "WHY"]
    assert lines[1].split() == ["fix", "fast", "strand", "ready", "It", "compiles."]


def test_unknown_type_gives_an_error_that_names_the_known_types(herdctl: Path, files: list[str]) -> None:
    done = run_herdctl(herdctl, "select-model", "poetry", *files)
    assert done.returncode == 2
    assert "expected a task type (fix, borrowing), found 'poetry'" in done.stderr


@pytest.mark.parametrize("view", [None, "{", "[]", json.dumps({"schema": 1, "written": 1.0, "tiers": {}})])
def test_selector_chooses_while_the_tier_manager_is_silent(herdctl: Path, files: list[str], view: str | None) -> None:
    if view is None:
        Path(files[3]).unlink()
    else:
        Path(files[3]).write_text(view, encoding="utf-8")
    done = run_herdctl(herdctl, "select-model", "fix", *files)
    assert "Model: strand" in done.stdout
    assert "the tier manager is silent" in done.stdout


@pytest.mark.parametrize("content", [None, "{", "{}", '{"tasks": {"schema": 9}}'])
def test_error_names_the_gateways_host(herdctl: Path, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "none.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    done = run_herdctl(herdctl, "select-model", "fix", "--config", str(path))
    assert done.returncode == 2
    assert "gateway" in done.stderr
    assert "Traceback" not in done.stderr
