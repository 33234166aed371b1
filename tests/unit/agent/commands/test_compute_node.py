# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of an operator on a compute node of Slurm, which has no agent and no tiers of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from ansible_collections.herd.inference.plugins.module_utils.agent.common import compute_node

COMMANDS = {
    "llama-cluster-monitor": (["--config", "none", "--tiers-config", "none"], "llama-service-status"),
    "llama-service-status": (["--config", "none", "--tiers-config", "none"], "llama-service-status"),
    "llama-model-selector": (["--config", "none", "fix"], "llama-model-selector"),
    "herdctl tiers": (["--config", "none", "--agent-config", "none"], "herdctl tiers"),
}


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]) -> int:
    program, *words = name.split()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [f"/usr/local/bin/{program}", *words, *given])
    return herdctl.main()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("guard", "controller"),
    [(json.dumps({"schema": 1, "controller": "slurm-ctl"}), "slurm-ctl"), ("{}", "Slurm's controller")],
)
def test_command_names_the_controller(
    name: str,
    guard: str,
    controller: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "guard.json").write_text(guard, encoding="utf-8")
    monkeypatch.setattr(compute_node, "GUARD", "guard.json")
    given, remedy = COMMANDS[name]
    assert run(name, tmp_path, monkeypatch, given) == herdctl.EXIT_ELSEWHERE
    said = capsys.readouterr().err
    assert f"found a compute node of Slurm, whose jobs the controller manages: run {remedy} on {controller}; " in said
    assert "squeue --nodelist=" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_host_without_a_configuration_is_no_compute_node(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compute_node, "GUARD", "guard.json")
    assert run(name, tmp_path, monkeypatch, COMMANDS[name][0]) == herdctl.EXIT_CONFIG
    assert "compute node" not in capsys.readouterr().err
