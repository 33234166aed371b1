# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""journal_info as Ansible runs it, with a journalctl that prints what the real one does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.operations import bundle
from ansible_collections.herd.inference.plugins.modules import journal_info

Run = Callable[..., dict[str, Any]]
RECORD = {"__REALTIME_TIMESTAMP": "1795350000000000", "_SYSTEMD_UNIT": "herd-agent.service"}
JOURNALCTL = """#!/bin/sh
printf '%s\\n' "$@" > {folder}/arguments
case "$*" in *--since=soon*) echo 'Failed to parse timestamp: soon' >&2; exit 1;; esac
cat {folder}/journal
"""


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    units, herd, programs = tmp_path / "units", tmp_path / "herd", tmp_path / "bin"
    for folder in (units, herd, programs):
        folder.mkdir()
    (units / "herd-agent.service").write_text("# Written by Ansible (herd.inference, role node_agent).\n")
    (units / "other.service").write_text("[Unit]\n")
    (herd / "key").write_text("canary-of-a-key\n")
    (herd / "key").chmod(0o600)
    (tmp_path / "journal").write_text(json.dumps({**RECORD, "MESSAGE": "it uses canary-of-a-key"}) + "\n")
    (programs / "journalctl").write_text(JOURNALCTL.format(folder=tmp_path))
    (programs / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(systemd, "UNIT_DIRECTORY", units)
    monkeypatch.setattr(bundle, "SECRETS", herd)
    monkeypatch.setattr(bundle, "GATEWAY", herd / "gateway.json")

    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            journal_info.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return call


def test_journal_of_the_own_units_is_read_without_secrets(run: Run, tmp_path: Path) -> None:
    found = run(since="-1h")
    assert found["lines"] == [
        {"time": 1795350000000000, "unit": "herd-agent.service", "text": "it uses [left out]"},
    ]
    assert (found["changed"], found["cut"]) == (False, False)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert {"--since=-1h", "--lines=501", "--unit=herd-agent.service"} <= set(arguments)
    assert not [word for word in arguments if "other" in word]


def test_web_server_is_read_in_front_of_a_gateway(run: Run, tmp_path: Path) -> None:
    (tmp_path / "herd" / "gateway.json").write_text("{}")
    run()
    assert "--unit=nginx.service" in (tmp_path / "arguments").read_text().splitlines()


def test_host_without_the_unit_has_no_lines(run: Run, tmp_path: Path) -> None:
    assert run(units=["head"])["lines"] == []
    assert not (tmp_path / "arguments").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"since": "soon"},
            "journalctl accepts, such as -15min or 2026-11-30 10:00, found Failed to parse timestamp: soon",
        ),
        ({"lines": 0}, "expected 1 to 5000 lines, found 0"),
        ({"lines": 5001}, "expected 1 to 5000 lines, found 5001"),
        ({"units": ["sshd"]}, "expected units among head, worker, router"),
    ],
)
def test_invalid_window_is_refused_with_a_sentence(run: Run, arguments: dict[str, Any], sentence: str) -> None:
    found = run(**arguments)
    assert found["failed"]
    assert sentence in found["msg"]


def test_logs_of_jobs_are_lines_of_the_window(run: Run, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "41").mkdir(parents=True)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 60))
    (logs / "41" / "job.log").write_text(f"2020-01-01 10:00:00 old\n{stamp} it uses canary-of-a-key\n")
    (logs / "41" / "head.log").write_text("0.00.001.000 I srv  init\n0.01.001.000 I srv  ready\n")
    (logs / "41" / "tier.json").write_text("{}")
    (logs / "coder_7.out").write_text(f"{stamp} hello\n")
    (logs / "other.txt").write_text(f"{stamp} not ours\n")
    given = {"since": "-1h", "job_logs": [str(logs), str(tmp_path / "none")]}
    found = run(**given)
    units = [line["unit"] for line in found["lines"]]
    assert sorted(units) == ["herd-agent.service", "job-41/head", "job-41/head", "job-41/job", "job-7/coder"]
    times = [line["time"] for line in found["lines"]]
    assert times == sorted(times)
    assert {line["text"] for line in found["lines"] if line["unit"] == "job-41/job"} == {f"{stamp} it uses [left out]"}
    # The journal is not asked for logs of jobs alone.
    (tmp_path / "arguments").unlink()
    assert {line["unit"] for line in run(units=["job-41"], **given)["lines"]} == {"job-41/job", "job-41/head"}
    assert [line["unit"] for line in run(units=["job-7/coder"], **given)["lines"]] == ["job-7/coder"]
    assert not (tmp_path / "arguments").exists()
    assert [line["unit"] for line in run(units=["agent"], **given)["lines"]] == ["herd-agent.service"]
    last = run(lines=1, **given)
    assert (len(last["lines"]), last["cut"]) == (1, True)
    assert "such as -15min" in run(units=["jobs"], since="soon", job_logs=[str(logs)])["msg"]
