# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl wait-for-workers as it is installed, with workers that answer, refuse, hang and send wrong data.

The workers are doubles: sockets that use the protocol of core/engine/rpc_protocol.py. The scenario cluster
tests real ones.
"""

from __future__ import annotations

import importlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.rpc_protocol import parse_version
from ansible_collections.herd.inference.plugins.module_utils.core.engine.worker_readiness import (
    ExpectedWorker,
    ReadinessCheck,
    write_check,
)
from tests.unit.agent.agent_config import AGENT
from tests.unit.agent.conftest import run_herdctl

GIB = 1 << 30


class Worker:
    """A double of an RPC worker; like a real one, it serves one client at a time."""

    def __init__(self, version: tuple[int, int, int], devices: int = 1, total: int = 32 * GIB, port: int = 0) -> None:
        self.version, self.devices, self.total = version, devices, total
        self.clients = 0
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            self.clients += 1
            with closing(client):
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        def take(size: int) -> bytes:
            data = b""
            while len(data) < size:
                part = client.recv(size - len(data))
                if not part:
                    raise EOFError
                data += part
            return data

        def give(data: bytes) -> None:
            client.sendall(struct.pack("<Q", len(data)) + data)

        hello_size = 24 if self.version[0] >= 7 else 0
        try:
            while True:
                command, (size,) = take(1)[0], struct.unpack("<Q", take(8))
                if command == 0x0E:
                    if size != hello_size:
                        return
                    take(size)
                    give(bytes(self.version) + (bytes(25) if hello_size else b""))
                elif command == 0x0F:
                    give(struct.pack("<I", self.devices))
                elif command == 0x0B:
                    take(size)
                    give(struct.pack("<QQ", self.total - GIB, self.total))
        except (EOFError, ConnectionError):
            return

    def close(self) -> None:
        self.listener.close()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check_file(tmp_path: Path) -> Callable[..., Path]:
    def write(*ports: int, protocol: str = "7.0.0", timeout: float = 0.4, devices: int = 1, memory: int = 0) -> Path:
        workers = tuple(
            ExpectedWorker(f"vllm-node{i + 2}", "127.0.0.1", p, devices, memory) for i, p in enumerate(ports)
        )
        config = tmp_path / "wait-for-workers.json"
        config.write_text(write_check(ReadinessCheck(parse_version(protocol), timeout, workers)), encoding="utf-8")
        return config

    return write


@pytest.fixture
def wait(herdctl: Path, check_file: Callable[..., Path]) -> Run:
    def run(*ports: int, **facts: Any) -> subprocess.CompletedProcess[str]:
        return run_herdctl(herdctl, "wait-for-workers", "--config", str(check_file(*ports, **facts)))

    return run


@pytest.fixture
def workers() -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(*arguments: Any, **more: Any) -> Worker:
        made.append(Worker(*arguments, **more))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.mark.parametrize("version", [(7, 0, 0), (3, 6, 0)])
def test_head_starts_when_workers_are_ready(
    wait: Run, workers: Callable[..., Worker], version: tuple[int, int, int]
) -> None:
    two = [workers(version), workers(version)]
    done = wait(*(w.port for w in two), protocol=".".join(map(str, version)), memory=30000)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" ready")[0] for line in done.stdout.splitlines()] == ["vllm-node2", "vllm-node3"]
    assert "31744 of 32768 MiB free" in done.stdout
    assert [w.clients for w in two] == [1, 1]


def test_refused_connection_is_reported(wait: Run) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    done = wait(port)
    assert done.returncode == 3
    assert f"connection refused at 127.0.0.1:{port}" in done.stderr
    assert "worker vllm-node2 to answer with RPC protocol 7.0.0" in done.stderr


def test_busy_worker_is_reported_as_silent(wait: Run) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=8)) as busy:
        done = wait(busy.getsockname()[1])
    assert done.returncode == 3
    assert "one client at a time" in done.stderr


@pytest.mark.parametrize(("speaks", "wanted"), [((3, 6, 0), "7.0.0"), ((7, 0, 0), "3.6.0"), ((7, 1, 0), "7.0.0")])
def test_other_protocol_is_reported(
    wait: Run, workers: Callable[..., Worker], speaks: tuple[int, int, int], wanted: str
) -> None:
    done = wait(workers(speaks).port, protocol=wanted)
    assert done.returncode == 4
    assert f"speak RPC protocol {wanted}" in done.stderr
    assert f"found {'.'.join(map(str, speaks))}" in done.stderr
    assert "same release on every node" in done.stderr


def test_missing_devices_are_reported(wait: Run, workers: Callable[..., Worker]) -> None:
    done = wait(workers((7, 0, 0), devices=1).port, devices=2)
    assert done.returncode == 5
    assert "to offer 2 devices, found 1" in done.stderr


def test_smaller_device_is_reported(wait: Run, workers: Callable[..., Worker]) -> None:
    done = wait(workers((7, 0, 0), total=8 * GIB).port, memory=29491)
    assert done.returncode == 5
    assert "have 29491 MiB, found one with 8192 MiB" in done.stderr


def test_other_server_at_the_port_is_reported(wait: Run) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as web:

        def answer() -> None:
            while True:
                try:
                    client, _address = web.accept()
                except OSError:
                    return
                with closing(client):
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        done = wait(web.getsockname()[1])
    assert done.returncode == 3
    assert "something else at" in done.stderr


def test_head_waits_for_a_late_worker(
    herdctl: Path, check_file: Callable[..., Path], workers: Callable[..., Worker]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-I", str(herdctl), "wait-for-workers", "--config", str(check_file(port, timeout=30))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = [running.stdout.readline()]
        workers((7, 0, 0), port=port)
        said += running.stdout.readlines()
    assert running.returncode == 0
    # One line for each change, not for each attempt.
    assert [line.split(":")[0].split(" ready")[0] for line in said] == ["waiting", "vllm-node2"]


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"schema": 2}), "not json"])
def test_unreadable_configuration_is_rejected(herdctl: Path, tmp_path: Path, content: str) -> None:
    config = tmp_path / "wait-for-workers.json"
    config.write_text(content, encoding="utf-8")
    done = run_herdctl(herdctl, "wait-for-workers", "--config", str(config))
    assert done.returncode == 2
    assert "expected the worker readiness check of schema 1 at" in done.stderr
    assert "run the role head_server" in done.stderr


def test_missing_configuration_is_rejected(herdctl: Path) -> None:
    done = run_herdctl(herdctl, "wait-for-workers", "--config", "/nowhere")
    assert done.returncode == 2
    assert "No such file" in done.stderr


@pytest.fixture
def program(herdctl: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The command's own code, imported from where it is installed."""
    monkeypatch.syspath_prepend(str(herdctl.parent.parent / "lib"))
    assert not [name for name in sys.modules if name == "herd" or name.startswith("herd.")]
    yield importlib.import_module("herd.agent.services.wait_for_workers")
    for name in [name for name in sys.modules if name == "herd" or name.startswith("herd.")]:
        del sys.modules[name]


def test_living_connection_is_not_reset(program: Any, workers: Callable[..., Worker]) -> None:
    """Scenario firewalld tests the reset of a lost connection, which needs a kernel that does not know it."""
    busy = workers((7, 0, 0))
    expectation = ExpectedWorker("vllm-node2", "127.0.0.1", busy.port, 1, 0)
    with closing(socket.create_connection(("127.0.0.1", busy.port))) as living:
        program.reset_connections(expectation, [living.getsockname()[1]])
        living.settimeout(5)
        living.sendall(b"\x0f" + struct.pack("<Q", 0))
        assert living.recv(64) == struct.pack("<QI", 4, 1)


@pytest.fixture
def agent_config(tmp_path: Path) -> str:
    path = tmp_path / "agent.json"
    given = {**AGENT, "node": "vllm-node1", "address": "10.100.0.31", "port": 50061}
    path.write_text(json.dumps(given), encoding="utf-8")
    return str(path)


def observation(clients: list[str]) -> Any:
    return SimpleNamespace(heartbeat=SimpleNamespace(worker=SimpleNamespace(clients=clients)), detail="")


def test_ports_of_other_hosts_are_not_reset(program: Any, agent_config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = observation(["10.100.0.31:41000", "10.100.0.39:41001", "10.100.0.31:41002"])
    reset: list[int] = []
    monkeypatch.setattr(program.heartbeat_client, "fetch", lambda *_arguments: seen)
    monkeypatch.setattr(program, "reset_connections", lambda _worker, ports: reset.extend(ports))
    said: list[str] = []
    worker = ExpectedWorker("vllm-node2", "10.100.0.32", 50052, 1, 0)
    program._reset_lost(worker, agent_config, said.append)
    assert reset == [41000, 41002]
    assert said == ["resetting connections to vllm-node2 that this host has lost (ports 41000, 41002)"]
    seen.heartbeat.worker.clients = []
    program._reset_lost(worker, agent_config, said.append)
    assert len(said) == 1


def test_agent_without_answer_is_logged(program: Any, agent_config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = SimpleNamespace(heartbeat=None, detail="timed out")
    monkeypatch.setattr(program.heartbeat_client, "fetch", lambda *_arguments: silent)
    said: list[str] = []
    program._reset_lost(ExpectedWorker("vllm-node2", "10.100.0.32", 50052, 1, 0), agent_config, said.append)
    assert len(said) == 1
    assert said[0].startswith("cannot reset lost connections to vllm-node2: expected the agent of vllm-node2")


@pytest.mark.parametrize(
    ("state", "detail", "is_suspect"),
    [
        ("silent", "", True),
        ("unreachable", "no answer to a connection", True),
        ("unreachable", "No route to host", False),
        ("refused", "", False),
        ("answered", "", False),
    ],
)
def test_only_worker_without_any_response_may_hold_a_dead_connection(
    program: Any, state: str, detail: str, is_suspect: bool
) -> None:
    assert program._may_hold_dead(program.WorkerObservation(state, detail=detail)) is is_suspect
