# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed program as a user calls it, from another directory, on a terminal and without one."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent import herdctl
from tests.installed import ROOT
from tests.scenarios.runbook import read
from tests.unit.agent.vllm.conftest import MODEL, WorkSpace
from tests.unit.agent.vllm.slurm_double import line

NAME = f"vllm-{MODEL}"
RUNNING = line("4711", NAME, "RUNNING", StartTime=1795266500, NodeList="c1")


@pytest.fixture
def installed(work: WorkSpace, herdctl: Path) -> WorkSpace:
    """The program below the work space, as the role installs it."""
    shutil.rmtree(work.path / "herdctl")
    shutil.copytree(herdctl.parents[1], work.path / "herdctl", symlinks=True)
    (work.path / "bin").mkdir()
    program = work.path / "bin" / "herdctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {work.path}/herdctl/bin/herdctl "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    shutil.copy(ROOT / "roles" / "vllm_slurm" / "files" / "run.sh", work.path / "run.sh")
    return work


def test_run_sh_launches_the_active_model_from_any_directory(installed: WorkSpace, tmp_path: Path) -> None:
    installed.slurm.empty()
    installed.slurm.picture(RUNNING, status=installed.status("ready", percent=100))
    link = tmp_path / "run"
    link.symlink_to(installed.path / "run.sh")
    done = subprocess.run([link], cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{MODEL} is ready: job 4711 on c1" in done.stdout
    assert "/bin/herdctl vllm query --model" in done.stdout
    other = tmp_path / "my config.yaml"
    shutil.copy(installed.path / "config.yaml", other)
    argv = [str(installed.path / "run.sh"), "-c", other.name, "--test-only", "--json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    # The configuration's directory is its work space, and nothing is installed there.
    assert done.returncode == 2
    assert "an environment with vLLM" in done.stderr


def test_terminal_shows_one_line_that_changes_and_is_left_in_order(installed: WorkSpace) -> None:
    installed.slurm.empty()
    installed.slurm.picture(line("4711", NAME, "PENDING", "Priority"))
    installed.slurm.picture(RUNNING, status=installed.status("ready", percent=100))
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [installed.path / "run.sh"], stdout=subprocess.PIPE, stderr=follower, text=True, cwd=installed.path
    ) as child:
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:
            # Linux reports the end of a terminal as an error.
            pass
        output = child.stdout.read() if child.stdout else ""
    os.close(leader)
    assert child.returncode == 0, shown
    assert b"\r\x1b[K" in shown
    assert b"is pending as job 4711: jobs of higher priority come first" in shown
    assert shown.endswith(b"\r\x1b[K")
    assert "is ready" in output


def test_interrupted_program_leaves_the_job_and_says_how_to_go_on(installed: WorkSpace) -> None:
    installed.slurm.empty()
    installed.slurm.picture(line("4711", NAME, "PENDING", "Priority"))
    with subprocess.Popen(
        [installed.path / "run.sh", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=installed.path, start_new_session=True,
    ) as child:  # fmt: skip
        assert child.stderr
        assert child.stdout
        for text in child.stderr:
            if "is pending" in text:
                break
        time.sleep(0.2)
        os.killpg(child.pid, signal.SIGINT)
        data = json.loads(child.stdout.read())
    assert child.returncode == 130
    assert (data["exit_status"], data["job_id"], data["phase"]) == (130, "4711", "pending")
    assert installed.slurm.calls("scancel") == []


def test_help_names_the_exit_statuses(installed: WorkSpace) -> None:
    for command in ("launch", "status", "logs", "metrics", "query", "list", "plan", "stop", "cleanup"):
        status, out, _err = installed.run(command, "--help")
        assert status == 0
        assert "Exit status: 0 done" in out
        assert "--json" in out


def documented_commands() -> list[str]:
    pages = sorted((ROOT / "docs" / "operations" / "vllm").glob("*.md"))
    commands = [command for page in pages for part in read(page).sections.values() for command in part]
    return sorted({command.text for command in commands if command.text.startswith("bin/herdctl")})


@pytest.mark.parametrize("command", documented_commands())
def test_command_of_a_page_is_one_of_the_program(command: str) -> None:
    assert callable(herdctl.parse(shlex.split(command)[1:]).run)


def test_broken_configuration_is_named_with_its_lines(installed: WorkSpace) -> None:
    (installed.path / "config.yaml").write_text("active_model: x\nslurm:\n  acount: p\nmodels: {}\n", encoding="utf-8")
    status, _out, err = installed.run("status")
    assert status == 2
    assert "config.yaml:3" in err
    assert "account" in err
