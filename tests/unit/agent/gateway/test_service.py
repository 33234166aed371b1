# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's process: its start, its socket and its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import http_parser

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import service
from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import user_keys
from tests.unit.agent.gateway.running_gateway import CHAT, KEY, STREAM_HEAD, settings_data, token


class UnixConnection(http.client.HTTPConnection):
    """A connection as nginx makes it."""

    def __init__(self, path: Path) -> None:
        super().__init__("gateway", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


def eventually(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


class Process:
    """Gateway processes that share a socket, and an engine that writes a stream slowly."""

    def __init__(self, herdctl: Path, root: Path) -> None:
        self.herdctl, self.root = herdctl, root
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(root / "s"))
        self.listening.listen(64)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(root / "n"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.engine = socket.create_server(("127.0.0.1", 0))
        self.tokens, self.ended = 20, threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self.engine.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _read_request(connection: socket.socket) -> None:
        """Read the whole request. Closing a connection with unread bytes would reset it, and lose the response."""
        with connection.makefile("rb") as stream:
            size = 0
            while (line := stream.readline()).strip():
                name, _colon, value = line.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            stream.read(size)

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._read_request(connection)
            connection.sendall(STREAM_HEAD)
            for _each in range(self.tokens):
                connection.sendall(token())
                time.sleep(0.05)
            connection.sendall(b"0\r\n\r\n")

    def configure(self, **more: Any) -> None:
        data = settings_data(self.root, **more)
        keys = user_keys.parse([{"id": "ann", "sha256": user_keys.sha256(KEY)}], data["limits"], ["fast"])
        for name, value in (("keys.json", user_keys.as_data(keys)), ("gateway.json", data)):
            (self.root / name).write_text(json.dumps(value), encoding="utf-8")
        (self.root / "engine-key").write_text("key\n", encoding="utf-8")
        (self.root / "endpoints").mkdir(exist_ok=True)
        self.report()

    def report(self) -> None:
        """Write the state of the tier as the tier manager does every few seconds."""
        entry = {
            "schema": 1, "tier": "fast", "job_id": "1", "host": "lab", "address": "127.0.0.1",
            "port": self.engine.getsockname()[1], "models": ["small"], "state": "ready", "percent": 100, "context": 8,
            "slots": 0, "release": "r", "started": 1.0, "heartbeat": time.time(),
        }  # fmt: skip
        tiers = {"fast": {"enabled": True, "state": "ready", "reason": "ready", "endpoints": [entry]}}
        new = self.root / "tiers.json.new"
        new.write_text(json.dumps({"schema": 1, "written": time.time(), "tiers": tiers}), encoding="utf-8")
        new.replace(self.root / "tiers.json")

    def report_on(self) -> None:
        while not self.ended.wait(1):
            self.report()

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        number = self.listening.fileno()
        shell = f'exec 3<&{number}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        argv = [sys.executable, "-I", str(self.herdctl), "gateway", "--config", str(self.root / "gateway.json")]
        process = subprocess.Popen(
            ["bash", "-c", shell, "-", *argv],
            pass_fds=(number,),
            env={**os.environ, "NOTIFY_SOCKET": str(self.root / "n"), **environment},
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def wait_for(self, notice: bytes) -> None:
        self.notices.settimeout(20)
        while self.notices.recv(100) != notice:
            pass

    def ask(self, body: Any = None) -> http.client.HTTPResponse:
        connection = UnixConnection(self.root / "s")
        headers = {"Authorization": f"Bearer {KEY}", "Connection": "close", "X-Herd-Entry": "fast"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body or CHAT), headers)
        return connection.getresponse()


@pytest.fixture
def process(herdctl: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with short_folder() as root:
        made = Process(herdctl, root)
        made.configure()
        reporting = threading.Thread(target=made.report_on)
        reporting.start()
        yield made
        made.ended.set()
        reporting.join()
        for each in made.processes:
            each.kill()
            each.communicate()
        for opened in (made.listening, made.notices, made.engine):
            opened.close()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path, since paths of sockets must be short."""
    made = Path("/tmp") / f"herd-{os.getpid()}-{time.monotonic_ns() % 10**6}"
    made.mkdir()
    try:
        yield made
    finally:
        subprocess.run(["rm", "-rf", str(made)], check=True)


def test_running_streams_end_before_the_process_does(process: Process) -> None:
    first = process.start()
    process.wait_for(b"READY=1")
    response = process.ask()
    assert response.readline().startswith(b"data:")
    process.start()
    process.wait_for(b"READY=1")
    first.send_signal(signal.SIGTERM)
    process.wait_for(b"STOPPING=1")
    # The next process has the same socket.
    assert process.ask().status == 200
    assert response.read().count(b"data:") == process.tokens - 1
    assert first.wait(20) == 0


def test_no_request_is_lost_by_restarts(process: Process) -> None:
    process.tokens = 2
    former = process.start()
    process.wait_for(b"READY=1")
    ended, found, faults = threading.Event(), list[int](), list[str]()

    def ask() -> None:
        while not ended.is_set():
            try:
                response = process.ask()
                text = response.read()
                found.append(response.status)
                if response.status != 200 or text.count(b"data:") != process.tokens:
                    faults.append(f"{response.status}: {text.decode()}")
            except (OSError, http.client.HTTPException) as error:
                faults.append(repr(error))

    threads = [threading.Thread(target=ask) for _each in range(6)]
    for thread in threads:
        thread.start()
    for _each in range(4):
        new = process.start()
        process.wait_for(b"READY=1")
        former.send_signal(signal.SIGTERM)
        assert former.wait(20) == 0
        former = new
    ended.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert faults == []
    assert len(found) > 50


def test_remaining_streams_end_in_the_apis_shape(process: Process) -> None:
    process.tokens = 10_000
    process.configure(drain_timeout=0.5)
    first = process.start()
    process.wait_for(b"READY=1")
    response = process.ask()
    assert response.readline().startswith(b"data:")
    first.send_signal(signal.SIGTERM)
    *_tokens, last, _rest = response.read().decode().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "tier_unavailable"
    assert first.wait(20) == 0


def test_connections_are_refused_if_the_start_fails(process: Process) -> None:
    (process.root / "gateway.json").write_text("{}", encoding="utf-8")
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(process.root / "s"))
    waiting.settimeout(20)
    failed = process.start()
    assert waiting.recv(1) == b""
    assert failed.wait(20) == 2
    assert b"configuration" in (failed.stderr.read() if failed.stderr else b"")


def test_python_parser_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    service.check_libraries()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(NotFoundError, match="C extensions"):
        service.check_libraries()
