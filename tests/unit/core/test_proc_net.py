# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's TCP table while a head uses a worker, and after that worker was killed."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core import proc_net

TABLES = Path(__file__).parents[2] / "fixtures" / "proc_net"


def read(name: str) -> list[proc_net.Socket]:
    return proc_net.parse((TABLES / name).read_text(encoding="ascii"))


def test_a_busy_worker_is_seen_from_both_sides() -> None:
    sockets = read("tcp-busy-worker.txt")
    assert len(proc_net.established_to(sockets, "127.0.0.1", 51011)) == 1
    assert [s.remote_port for s in proc_net.established_from(sockets, 51011)] == [41184]
    assert [(s.local_address, s.inode) for s in proc_net.listening_on(sockets, 51011)] == [("127.0.0.1", 65082)]


def test_a_worker_that_is_gone_leaves_no_established_connection() -> None:
    sockets = read("tcp-worker-gone.txt")
    assert proc_net.established_to(sockets, "127.0.0.1", 51011) == []
    assert "CLOSE_WAIT" in {s.state for s in sockets if s.remote_port == 51011}


def test_an_ipv4_address_within_ipv6_is_the_same_address() -> None:
    line = "0: 0000000000000000FFFF00001F00640A:C384 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1"
    assert proc_net.parse(line)[0].local_address == "10.100.0.31"
