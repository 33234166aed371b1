# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's TCP table while a head uses a worker, and after that worker was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import proc_net

TABLES = Path(__file__).parents[3] / "fixtures" / "proc_net"


def read(name: str) -> list[proc_net.TcpSocket]:
    return proc_net.parse((TABLES / name).read_text(encoding="ascii"))


def test_a_busy_worker_is_seen_from_both_sides() -> None:
    sockets = read("tcp-busy-worker.txt")
    assert len(proc_net.established_to(sockets, "127.0.0.1", 51011)) == 1
    assert [s.remote_port for s in proc_net.established_from(sockets, 51011)] == [41184]
    assert [(s.local_address, s.inode) for s in proc_net.listening_on(sockets, 51011)] == [("127.0.0.1", 65082)]


def test_an_ended_worker_has_no_established_connection() -> None:
    sockets = read("tcp-worker-gone.txt")
    assert proc_net.established_to(sockets, "127.0.0.1", 51011) == []
    assert "CLOSE_WAIT" in {s.state for s in sockets if s.remote_port == 51011}


def test_an_ipv4_address_within_ipv6_is_the_same_address() -> None:
    line = "0: 0000000000000000FFFF00001F00640A:C384 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1"
    assert proc_net.parse(line)[0].local_address == "10.100.0.31"


CLIENT = "10.0.0.9"
HEAD = "10.0.0.31"


def sock(local: str, local_port: int, remote: str, remote_port: int, state: str = "ESTABLISHED", uid: int = 990) -> Any:
    return proc_net.TcpSocket(local, local_port, remote, remote_port, state, uid, 1)


@pytest.mark.parametrize(
    ("sockets", "count"),
    [
        ([sock(HEAD, 8000, CLIENT, 40000)], 1),
        ([sock(HEAD, 8000, CLIENT, 40000, "SYN_RECV")], 1),
        # The client has said all that it will say, and waits.
        ([sock(HEAD, 8000, CLIENT, 40000, "CLOSE_WAIT")], 1),
        ([sock(HEAD, 8000, CLIENT, 40000, "TIME_WAIT")], 0),
        ([sock(HEAD, 8000, "0.0.0.0", 0, "LISTEN")], 0),
        ([sock(HEAD, 50052, CLIENT, 40000)], 0),
        # The queue's own.
        ([sock(HEAD, 8000, "127.0.0.2", 40000)], 0),
        # The agent asks for the slots: both sides are in the table.
        ([sock(HEAD, 8000, HEAD, 40000), sock(HEAD, 40000, HEAD, 8000, uid=0)], 0),
        # Somebody else on the same host.
        ([sock(HEAD, 8000, HEAD, 40000), sock(HEAD, 40000, HEAD, 8000, uid=1000)], 1),
    ],
)
def test_clients_that_may_expect_an_answer(sockets: list[proc_net.TcpSocket], count: int) -> None:
    assert len(proc_net.clients_of(sockets, 8000, "127.0.0.2")) == count


@pytest.mark.parametrize(
    ("table", "port", "unanswered"),
    [
        ("tcp-busy-worker.txt", 51011, 0),
        # The other end does not read, and says so whenever it is asked.
        ("tcp-full-window.txt", 50053, 0),
        # What was sent is sent again and again.
        ("tcp-cable-out.txt", 50052, 1),
        # Nothing leaves this host.
        ("tcp-own-cable-out.txt", 50052, 1),
    ],
)
def test_a_connection_without_acknowledgement_is_detected(table: str, port: int, unanswered: int) -> None:
    sockets = read(table)
    assert [s for s in sockets if s.state == "ESTABLISHED" and port in (s.local_port, s.remote_port)]
    assert sum(s.is_unacked for s in sockets) == unanswered


def test_connections_of_given_users_are_excluded() -> None:
    sockets = [sock(HEAD, 8000, HEAD, 40000), sock(HEAD, 40000, HEAD, 8000, uid=990), sock(HEAD, 8000, CLIENT, 40001)]
    assert [s.remote_port for s in proc_net.clients_of(sockets, 8000, "", (0, 990))] == [40001]
