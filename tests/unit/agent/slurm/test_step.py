# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine of a job under a step. The engine is a double."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from tests.unit.agent.slurm.whole_job import free_ports

# Listens as the engine does, and prints its received signals.
ENGINE = """
import signal, socket, sys, time
def ended(*_each):
    print("asked to end", flush=True)
    sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, ended)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
print("serving", flush=True)
time.sleep(120)
"""


class Step:
    """A step under test."""

    def __init__(self, herdctl: Path, folder: Path, **changes: Any) -> None:
        (folder / "engine.py").write_text(ENGINE, encoding="utf-8")
        self.log = folder / "engine.log"
        order = {
            "role": "head",
            "argv": [sys.executable, str(folder / "engine.py"), "{port}"],
            "address": "127.0.0.1",
            "port": free_ports(4),
            "ports": 4,
            "log": str(self.log),
            **changes,
        }
        path = folder / "order.json"
        path.write_text(json.dumps(order), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(herdctl), "job", "step", "--order", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._events: Queue[dict[str, Any]] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._events.put(json.loads(line))

    def event(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                found = self._events.get(timeout=1)
            except Empty:
                continue
            if found["event"] == kind:
                return found
        raise AssertionError(f"no event {kind}")

    def tell(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(name="steps")
def _steps() -> Iterator[list[Step]]:
    found: list[Step] = []
    yield found
    for step in found:
        step.end()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def gone(pid: int) -> bool:
    limit = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    return not is_alive(pid)


def test_signal_is_reported_and_does_not_reach_the_engine(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    # Like Slurm, signal every process of the step.
    os.kill(engine, signal.SIGTERM)
    os.kill(step.process.pid, signal.SIGTERM)
    assert step.event("signal")["name"] == "SIGTERM"
    step.event("progress")
    assert is_alive(engine)
    step.tell("stop 5\n")
    assert step.event("exit") == {"event": "exit", "status": 0, "wanted": True}
    assert step.process.wait(30) == 0
    assert step.log.read_text() == "serving\nasked to end\n"


def test_port_with_a_listener_is_skipped(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    first = free_ports(4)
    with socket.create_server(("127.0.0.1", first)):
        step = Step(herdctl, tmp_path, port=first)
        steps.append(step)
        assert step.event("listening")["port"] == first + 1


def test_missing_free_port_is_reported(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    first = free_ports(1)
    with socket.create_server(("127.0.0.1", first)):
        step = Step(herdctl, tmp_path, port=first, ports=1)
        steps.append(step)
        assert "expected a free port" in step.event("error")["text"]
        assert step.process.wait(30) == 1


@pytest.mark.parametrize("how", ["killed", "left alone"])
def test_no_engine_outlives_its_step(herdctl: Path, tmp_path: Path, steps: list[Step], how: str) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    if how == "killed":
        step.process.kill()
    elif step.process.stdin:
        step.process.stdin.close()
    assert gone(engine)


def test_step_sends_heartbeats(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    step.event("started")
    for _each in range(2):
        step.event("alive")


def test_heartbeat_of_a_worker_has_its_connections(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, role="worker")
    steps.append(step)
    engine = step.event("started")["pid"]
    with socket.create_connection(("127.0.0.1", step.event("listening")["port"])) as head:
        where = f"127.0.0.1:{head.getsockname()[1]}"
        # The first heartbeat may be older than the connection.
        facts = [step.event("alive")["worker"] for _each in range(2)][-1]
    assert facts["clients"] == [where]
    assert facts["pid"] == engine
    assert facts["started"] > 0
    assert facts["state"] in "SR"
    assert facts["stale"] == 0
    assert facts["unanswered"] is False


def test_end_of_an_engine_is_reported(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path)
    steps.append(step)
    engine = step.event("started")["pid"]
    step.event("listening")
    os.kill(engine, signal.SIGKILL)
    assert step.event("exit") == {"event": "exit", "status": -9, "wanted": False}
    assert step.process.wait(30) == 1


def test_missing_program_is_reported(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, argv=["/no/such/engine", "{port}"])
    steps.append(step)
    assert step.event("exit")["wanted"] is False
    assert "/no/such/engine" in step.log.read_text()


def test_worker_does_not_start_without_a_guard(herdctl: Path, tmp_path: Path, steps: list[Step]) -> None:
    step = Step(herdctl, tmp_path, role="worker", guard=str(tmp_path / "none.sock"), allow="127.0.0.1")
    steps.append(step)
    assert "herd-job-guard.service" in step.event("error")["text"]
