# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rank tells the port guard which ports its processes listen on. The guard is a double; its own tests use nft."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import rank_ports
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from tests.vllm import two_ranks

OWN, OTHER = "10.100.0.41", "10.100.0.42"
LISTEN = """
import socket, sys, time
servers = [socket.create_server((address, 0)) for address in ("0.0.0.0", "127.0.0.1")]
print(*(one.getsockname()[1] for one in servers), flush=True)
time.sleep(99)
"""


class DoubleGuard:
    """Answers each request, and keeps it."""

    def __init__(self, path: Path, answer: str = "closed") -> None:
        self.path, self.answer = path, answer
        self.requests: list[dict[str, Any]] = []
        self.connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(4)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        for line in connection.makefile("r", encoding="utf-8"):
            self.requests.append(json.loads(line))
            connection.sendall(f"{self.answer}\n".encode())

    def restart(self) -> None:
        """End all connections, as a guard that systemd starts again."""
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[DoubleGuard]:
    found = DoubleGuard(tmp_path / "guard.sock")
    yield found
    found.close()


@pytest.fixture
def process() -> Iterator[tuple[int, int]]:
    """Listen in a child process, and return its port for others and its port on the loopback."""
    with subprocess.Popen([sys.executable, "-IS", "-c", LISTEN], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first, second = child.stdout.readline().split()
        yield int(first), int(second)
        child.kill()


def make(guard: DoubleGuard, peers: dict[str, tuple[int, ...]], spared: int = 8000) -> rank_ports.RankPorts:
    fixed = {OWN: (29500,), OTHER: ()}
    return rank_ports.RankPorts(str(guard.path), OWN, fixed, spared, lambda: peers, lambda _text: None)


def test_rendezvous_is_closed_before_it_listens(guard: DoubleGuard) -> None:
    make(guard, {}).start()
    assert guard.requests[0] == {"own": OWN, "ports": {OWN: [29500], OTHER: []}}


def test_random_ports_of_all_ranks_are_closed(guard: DoubleGuard, process: tuple[int, int]) -> None:
    peers: dict[str, tuple[int, ...]] = {}
    found = make(guard, peers)
    found.look()
    listed = set(guard.requests[-1]["ports"][OWN])
    assert {29500, process[0]} <= listed
    # Others cannot reach the loopback.
    assert process[1] not in listed
    assert found.own_ports == tuple(sorted(listed))
    peers[OTHER] = (40007,)
    found.look()
    assert guard.requests[-1]["ports"][OTHER] == [40007]
    count = len(guard.requests)
    found.look()
    assert len(guard.requests) == count


def test_port_of_the_api_stays_open(guard: DoubleGuard, process: tuple[int, int]) -> None:
    found = make(guard, {}, spared=process[0])
    found.look()
    assert process[0] not in guard.requests[-1]["ports"][OWN]


def test_restarted_guard_is_asked_again(guard: DoubleGuard) -> None:
    found = make(guard, {})
    found.look()
    guard.restart()
    found.look()
    assert len(guard.requests) == 2
    assert guard.requests[0] == guard.requests[1]


def test_rank_does_not_start_where_the_guard_refuses(tmp_path: Path) -> None:
    refusing = DoubleGuard(tmp_path / "guard.sock", "refused: a process of another user listens on port 29500")
    with pytest.raises(HerdError, match="found refused: a process of another user listens on port 29500"):
        make(refusing, {}).start()
    refusing.close()


def test_job_does_not_start_without_its_guard(herdctl: Path, tmp_path: Path) -> None:
    job = two_ranks.TwoRanks(tmp_path, herdctl, guard=str(tmp_path / "guard.sock")).start()
    for wrapper in job.wrappers.values():
        assert wrapper.wait(60) == 1
    reasons = [end["reason"] for end in job.folder.read_ends()]
    assert any("the guard of the ranks' ports" in reason for reason in reasons), reasons
    assert two_ranks.doubles_of(job.master) == []
