# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slurm_accounting as Ansible runs it. scontrol and sacctmgr are doubles that print what real ones have printed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule
from ansible_collections.herd.inference.plugins.modules import slurm_accounting

FIXTURES = Path(__file__).parents[3] / "fixtures" / "slurm"
WANTED = {
    "qos": [
        {"name": "ai_opportunistic", "priority": 100, "preempt_mode": "REQUEUE", "grace": 30},
        {"name": "vasp_priority", "priority": 1000, "preempts": ["ai_opportunistic"]},
    ],
    "accounts": ["ai"],
    "users": [{"name": "llama", "account": "ai", "qos": ["ai_opportunistic"], "default_qos": "ai_opportunistic"}],
    "partitions": {"gpu_ai": ["ai_opportunistic"], "gpu_vasp": ["vasp_priority"]},
    "graces": {"ai_opportunistic": 30},
    "viewer": "llama",
}
DOUBLE = """#!/bin/sh
case "$*" in
  *"show node"*) cat {folder}/nodes;;
  *config*) cat {folder}/config;;
  *partition*) cat {fixtures}/partition-22.05.txt;;
  *"show qos"*) cat {fixtures}/qos-22.05.txt;;
  *"show assoc"*) cat {fixtures}/assoc-22.05.txt;;
  *"show user"*) cat {folder}/users;;
esac
"""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, configuration: str, **more: Any) -> dict[str, Any]:
    (folder / "config").write_text(configuration, encoding="utf-8")
    (folder / "nodes").write_text(
        "NodeName=vasp-02 CoresPerSocket=20 Gres=gpu:v100:1(S:0) Sockets=2 ThreadsPerCore=1\n", encoding="utf-8"
    )
    (folder / "users").write_text("llama|None\nroot|Administrator\n", encoding="utf-8")
    for name in ("scontrol", "sacctmgr"):
        (folder / name).write_text(DOUBLE.format(folder=folder, fixtures=FIXTURES), encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with patch_module_args({**WANTED, **more}), pytest.raises(SystemExit):
        slurm_accounting.main()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def configuration(**changes: str) -> str:
    text = (FIXTURES / "config-22.05.txt").read_text(encoding="utf-8")
    for name, value in changes.items():
        text, count = re.subn(rf"(?m)^{name}( *=).*$", rf"{name}\1 {value}", text)
        assert count == 1, name
    return text


def test_matching_cluster_has_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    found = run(tmp_path, monkeypatch, capsys, configuration())
    assert (found["changed"], found["commands"]) == (False, []), found
    assert "slurm.conf" not in str(found.get("warnings"))


def test_unsuitable_settings_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    said: list[str] = []
    # Ansible says each warning once in a process, and other tests had theirs.
    monkeypatch.setattr(HerdModule, "warn", lambda _module, text: said.append(text))
    found = run(tmp_path, monkeypatch, capsys, configuration(PrivateData="jobs", KillWait="5 sec"))
    assert not found.get("failed"), found
    assert "KillWait is 5 seconds" in str(said)
    assert "llama is no operator" in str(said)


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({}, {"graces": {"ai_opportunistic": 90}}, "the 90 seconds of grace of its tiers, found GraceTime 30"),
        ({"SLURM_VERSION": "20.02.7"}, {}, "expected Slurm 20.11 or newer"),
        (
            {},
            {"bindings": {"fast": {"cpus": 24, "nodes": 1, "hosts": ["vasp-02"]}}},
            "tier fast: expected at most 20 cpus, which the sockets of the GPUs of vasp-02 have",
        ),
    ],
)
def test_impossible_settings_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    changes: dict[str, str],
    more: dict[str, Any],
    words: str,
) -> None:
    found = run(tmp_path, monkeypatch, capsys, configuration(**changes), **more)
    assert found["failed"]
    assert words in found["msg"]
