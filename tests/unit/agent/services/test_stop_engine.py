# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl stop-engine, with a process that exits on SIGTERM, one that does not, and none."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.conftest import run_herdctl

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a shell that reports when it is ready; a thread reaps it, as systemd would."""
    started = []

    def begin(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        threading.Thread(target=process.wait, daemon=True).start()
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("script", "seconds", "status", "said"),
    [
        # Long enough that only the process's own exit can end the command.
        ("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done", "60", 7, ""),
        ("trap '' TERM; echo ready; while :; do sleep 0.05; done", "0.3", -signal.SIGKILL, "clients still waited"),
    ],
    ids=["it ends", "it waits"],
)
def test_process_is_stopped(herdctl: Path, start: Start, script: str, seconds: str, status: int, said: str) -> None:
    process = start(script)
    done = run_herdctl(herdctl, "stop-engine", "--pid", str(process.pid), "--seconds", seconds)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said)
    assert bool(done.stdout) == bool(said)
    assert process.wait(timeout=60) == status


@pytest.mark.parametrize("pid", ["", "0", "1", "no number"])
def test_missing_process_is_ignored(herdctl: Path, pid: str) -> None:
    """Systemd runs the command also when the process has exited by itself."""
    done = run_herdctl(herdctl, "stop-engine", f"--pid={pid}", "--seconds=5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
