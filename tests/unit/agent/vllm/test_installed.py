# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed program as a user calls it, from another directory, on a terminal and without one."""

from __future__ import annotations

import json
import os
import pty
import re
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


#: What a user of a foreign cluster sees first, without Slurm and with an empty home.
FIRST_ERRORS = {
    "run.sh": "an environment with vLLM, found no bin/vllm in .*: run playbooks/vllm.yml, which installs it",
    "run.sh --test-only": "run playbooks/vllm.yml, which installs it",
    "run.sh -c nowhere.yaml": "no configuration at nowhere.yaml: create it, or name another file with --config",
    "bin/herdctl": "name a command; herdctl --help lists them",
    "bin/herdctl vllm": "Start with: plan, launch,",
    "bin/herdctl vllm status": "squeue cannot be started here .*: run this on a login node of the Slurm cluster",
    "bin/herdctl vllm stop": "run this on a login node of the Slurm cluster",
    "bin/herdctl vllm metrics": "run this on a login node of the Slurm cluster",
    "bin/herdctl vllm cleanup": "run this on a login node of the Slurm cluster",
    "bin/herdctl vllm logs": "has no log in .*: see herdctl vllm status",
    "bin/herdctl vllm plan": r"the GPUs of this cluster are not known here: name them with --gpu \(",
    "bin/herdctl vllm query": "the following arguments are required: --prompt",
    "bin/herdctl vllm query --prompt Hi": "run this on a login node of the Slurm cluster",
}


def at_home(home: Path, *argv: str | Path) -> tuple[int, str]:
    """Run a program as a new user does: with an empty home, no variables and no Slurm; return status and output."""
    home.mkdir(exist_ok=True)
    before = sorted(home.iterdir())
    done = subprocess.run(
        argv, cwd=home, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert sorted(home.iterdir()) == before, "nothing is written into the home"
    text = done.stdout + done.stderr
    assert "Traceback" not in text and text.strip()
    return done.returncode, text


@pytest.fixture
def fresh(installed: WorkSpace, tmp_path: Path) -> Path:
    """The work space after the installation of the commands, with the published configuration and nothing else."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    for name in ("bin", "herdctl"):
        shutil.copytree(installed.path / name, folder / name, symlinks=True)
    program = folder / "bin" / "herdctl"
    program.write_text(program.read_text(encoding="utf-8").replace(str(installed.path), str(folder)), encoding="utf-8")
    shutil.copy(installed.path / "run.sh", folder / "run.sh")
    shutil.copy(ROOT / "inventory" / "capella" / "config.yaml", folder / "config.yaml")
    return folder


@pytest.mark.parametrize("command", FIRST_ERRORS)
def test_first_error_in_an_empty_home_says_what_to_do(fresh: Path, tmp_path: Path, command: str) -> None:
    program, *arguments = command.split()
    status, text = at_home(tmp_path / "home", fresh / program, *arguments)
    assert status == 2
    assert re.search(FIRST_ERRORS[command], text), text


def test_first_commands_of_the_tutorial_work_in_an_empty_home(fresh: Path, tmp_path: Path) -> None:
    program = fresh / "bin" / "herdctl"
    status, text = at_home(tmp_path / "home", program, "vllm", "list")
    assert status == 0 and "llama-4-scout" in text
    status, text = at_home(tmp_path / "home", program, "vllm", "--help")
    assert status == 0 and "launch" in text


def test_run_sh_without_an_installation_says_what_to_do(tmp_path: Path) -> None:
    source = ROOT / "roles" / "vllm_slurm" / "files" / "run.sh"
    status, text = at_home(tmp_path / "home", source)
    assert status == 2
    assert f"there is no {source.parent}/bin/herdctl: run playbooks/vllm.yml" in text


def test_configuration_that_is_missing_is_named(fresh: Path, tmp_path: Path) -> None:
    (fresh / "config.yaml").unlink()
    status, text = at_home(tmp_path / "home", fresh / "run.sh")
    assert status == 2
    assert "there is no config.yaml in" in text and "inventory/capella/config.yaml of the collection" in text


@pytest.mark.parametrize("command", documented_commands())
def test_command_of_a_page_is_one_of_the_program(command: str) -> None:
    assert callable(herdctl.parse(shlex.split(command)[1:]).run)


def test_broken_configuration_is_named_with_its_lines(installed: WorkSpace) -> None:
    (installed.path / "config.yaml").write_text("active_model: x\nslurm:\n  acount: p\nmodels: {}\n", encoding="utf-8")
    status, _out, err = installed.run("status")
    assert status == 2
    assert "config.yaml:3" in err
    assert "account" in err
