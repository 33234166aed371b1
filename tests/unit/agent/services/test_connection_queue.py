# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection queue as a program on loopback queues, forwards and rejects connections."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import jinja2
import pytest

from tests.unit.agent.conftest import run_herdctl, run_inside

Start = Callable[..., tuple[subprocess.Popen[str], int]]


class Head(threading.Thread):
    """A double of an engine that echoes the bytes of each connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.peers: list[str] = []

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, peer = self.listener.accept()
                self.peers.append(peer[0])
                with connection:
                    while piece := connection.recv(65536):
                        connection.sendall(piece)


@pytest.fixture
def head() -> Iterator[Head]:
    found = Head()
    found.start()
    yield found
    found.listener.close()


@pytest.fixture
def start(herdctl: Path, tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(target_port: int, *more: str) -> tuple[subprocess.Popen[str], int]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # systemd's socket, which receives READY=1.
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(tmp_path / f"notify{len(running)}")
        channel.bind(path)
        channel.settimeout(30)
        process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-I",
                    str(herdctl),
                    "queue-connections",
                    "--address",
                    "127.0.0.1",
                    "--port",
                    str(port),
                ),
                *("--target", "127.0.0.1", "--target-port", str(target_port), *more),
            ],
            env={**os.environ, "NOTIFY_SOCKET": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        with channel:
            assert channel.recv(64) == b"READY=1"
        return process, port

    yield begin
    for process in running:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    output, _nothing = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def test_queued_connections_are_forwarded_when_the_queue_ends(start: Start, head: Head) -> None:
    process, port = start(head.port)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"a question")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert head.peers == []
        process.send_signal(signal.SIGTERM)
        client.settimeout(30)
        found = b""
        while len(found) < len(b"a question"):
            found += client.recv(100)
        assert found == b"a question"
        # Both directions carry more than the buffers hold, and the queue forwards the end of each.
        large = os.urandom(4 << 20)

        def send() -> None:
            client.sendall(large)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        back = b""
        while piece := client.recv(65536):
            back += piece
        sender.join()
        assert back == large
    output, _nothing = process.communicate(timeout=60)
    assert output.startswith("1 connections waited, ")
    assert output.endswith("; 0 were lost\n")
    # The rules of nftables exempt this source address from the redirection.
    assert head.peers == ["127.0.0.2"]


def test_client_that_gives_up_disturbs_no_other(start: Start, head: Head) -> None:
    process, port = start(head.port)
    socket.create_connection(("127.0.0.1", port), timeout=30).close()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"x")
        process.send_signal(signal.SIGTERM)
        assert client.recv(1) == b"x"
    assert "2 connections waited" in process.communicate(timeout=60)[0]


def test_queued_client_that_disconnects_is_dropped_at_once(start: Start, head: Head) -> None:
    process, port = start(head.port)
    gone = [socket.create_connection(("127.0.0.1", port), timeout=30) for _each in range(5)]
    for client in gone:
        client.sendall(b"a question")
        client.close()
    descriptors = Path(f"/proc/{process.pid}/fd")
    with socket.create_connection(("127.0.0.1", port), timeout=30):
        deadline = time.monotonic() + 20
        while (found := sum(1 for _each in sockets_of(descriptors))) != 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        # The listener, the event loop's pair, and the queued connection.
        assert found == 4
    # The last client may have disconnected before the queue ended.
    assert re.search("[56] left before", end(process))


def sockets_of(descriptors: Path) -> list[str]:
    links = []
    for path in descriptors.iterdir():
        with suppress(OSError):
            links.append(str(path.readlink()))
    return [link for link in links if link.startswith("socket:")]


def test_memory_of_each_connection_is_limited(start: Start, head: Head) -> None:
    process, port = start(head.port)
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _each in range(40)]
    status = Path(f"/proc/{process.pid}/status")

    def resident_kib() -> int:
        return int(status.read_text(encoding="ascii").split("VmRSS:")[1].split()[0])

    before = resident_kib()
    sent = 0
    for client in clients:
        client.settimeout(0.05)
        with suppress(TimeoutError):
            while True:
                sent += client.send(b"x" * 65536)
    # The clients keep the bytes that did not fit into the buffers of both kernels.
    assert resident_kib() - before < 40 * 192
    assert sent > 0
    for client in clients:
        client.close()


def test_connections_beyond_the_limit_are_closed(start: Start, head: Head) -> None:
    process, port = start(head.port, "--most", "3")
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _each in range(5)]
    # The queue closes the last connections and keeps the first one.
    assert [client.recv(1) for client in clients[3:]] == [b"", b""]
    clients[0].settimeout(0.1)
    with pytest.raises(TimeoutError):
        clients[0].recv(1)
    for client in clients:
        client.close()
    assert "2 were too many" in end(process)


def test_rejected_clients_get_status_503(start: Start, head: Head) -> None:
    process, port = start(head.port, "--reject")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions", b"x" * 100_000)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    assert json.load(answer)["error"]["code"] == 503
    # A client that uses TLS could not read the response.
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"\x16")
        assert client.recv(1) == b""
    assert head.peers == []
    assert "2 connections were rejected" in end(process)


def test_missing_head_counts_as_idle(herdctl: Path) -> None:
    done = run_herdctl(herdctl, "idle", "--unit", "no-such-unit.service", "--timeout=10", "--grace=10")
    assert done.returncode == 0
    assert json.loads(done.stdout)["idle"] is True


TEMPLATES = Path(__file__).parents[4] / "roles" / "head_server" / "templates"
# Prints the rules that remain when herdctl is killed while it blocks idle connections.
KILLED = """
import json, subprocess, time
from herd.agent.common import engine_api as engine
from herd.agent.services import connection_queue
engine.slots, engine.is_idle, connection_queue.CUT_S = lambda api: None, lambda api, slots: True, 1
nft = lambda *words: subprocess.run([connection_queue.NFT, *words], capture_output=True, text=True, check=True).stdout
nft("-f", sys.argv[2])
found = [connection_queue._is_between_requests(engine.Api("127.0.0.1", 8000, "", ""))]
found.append("8000 timeout 1s" in nft("list set ip herd_queue cut"))
time.sleep(1.5)
found.append("8000" in nft("list set ip herd_queue cut"))
connection_queue._is_between_requests(engine.Api("127.0.0.1", 8000, "", ""))
found.append(" drop" in nft("list table ip herd_queue"))
idle = [sys.executable, "-I", sys.argv[3], "idle", "--unit", "no-such-unit.service", "--timeout=600", "--grace=10"]
subprocess.run(idle, check=True)
found.append(" drop" in nft("list table ip herd_queue"))
print()
print(json.dumps(found))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/nft").exists(), reason="needs nft and a network namespace of its own"
)
def test_killed_command_leaves_no_connection_blocked(herdctl: Path, tmp_path: Path) -> None:
    template = jinja2.Environment(trim_blocks=True).from_string((TEMPLATES / "herd-queue.nft.j2").read_text("utf-8"))
    path = tmp_path / "queue.nft"
    rules = {"_head_server_queue_match": "tcp dport 8000", "_head_server_queue_target": "redirect to :50063"}
    path.write_text(template.render(head_server_firewalld_sources=[], **rules), encoding="utf-8")
    said = run_inside(herdctl, KILLED, str(path), str(herdctl), wrapper=("unshare", "--net"))
    assert json.loads(said.splitlines()[-1]) == [True, True, False, True, False]
