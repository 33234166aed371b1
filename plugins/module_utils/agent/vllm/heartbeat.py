# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchange heartbeats between the ranks of a vLLM job over TCP.

Each rank sends its heartbeats to every other one, and judges by those that it receives. Connections come from the other
ranks' addresses only, prove the job's secret before anything is read, and are limited in number, size and time.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ...core.vllm.job import heartbeat_message as message
from ...core.vllm.job.heartbeat_message import BadFrameError, Heartbeat

#: Seconds for a connection, for the proof of the secret, and without a frame until a connection is closed.
CONNECT_S, PROOF_S, SILENT_S = 2.0, 3.0, 15.0
AGAIN_S = 0.5
#: Most connections of one address that have not proved the secret. A further one replaces the oldest.
MOST_UNPROVED = 8
# A cut line is noticed by the kernel after this time, so that a new connection is tried.
_USER_TIMEOUT_MS = 4000


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    """Receive exactly so many bytes until a monotonic time: a peer may send them one by one."""
    found = bytearray()
    while len(found) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no data in time")
        connection.settimeout(left)
        piece = connection.recv(count - len(found))
        if not piece:
            raise ConnectionResetError("closed")
        found += piece
    return bytes(found)


class HeartbeatReceiver:
    """Receives the heartbeats of all other ranks.

    :param addresses: addresses of the other ranks, by rank.
    """

    def __init__(self, rank: int, where: tuple[str, int], secret: bytes, addresses: Mapping[int, str]) -> None:
        self._rank, self._secret, self._addresses = rank, secret, dict(addresses)
        #: The last heartbeat of each rank and when it came, by the monotonic clock.
        self.heard: dict[int, tuple[float, Heartbeat]] = {}
        self._lock = threading.Lock()
        self._unproved: dict[str, list[socket.socket]] = {}
        self._proved: dict[int, socket.socket] = {}
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(where)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        known = set(self._addresses.values())
        while True:
            try:
                connection, remote = self._listener.accept()
            except OSError:
                if self._listener.fileno() < 0:
                    return
                time.sleep(AGAIN_S)
                continue
            if remote[0] not in known:
                connection.close()
                continue
            try:
                self._admit(connection, str(remote[0]))
                threading.Thread(target=self._serve, args=(connection, str(remote[0])), daemon=True).start()
            except RuntimeError:
                # The system has no more threads for now.
                self._forget(connection, str(remote[0]))
                connection.close()

    def _admit(self, connection: socket.socket, address: str) -> None:
        with self._lock:
            waiting = self._unproved.setdefault(address, [])
            waiting.append(connection)
            oldest = waiting.pop(0) if len(waiting) > MOST_UNPROVED else None
        if oldest is not None:
            _end(oldest)

    def _forget(self, connection: socket.socket, address: str) -> None:
        with self._lock, suppress(ValueError):
            self._unproved.get(address, []).remove(connection)

    def _serve(self, connection: socket.socket, address: str) -> None:
        rank = -1
        try:
            rank, key = self._introduce(connection, address)
            for sequence in range(1 << 62):
                deadline = time.monotonic() + (PROOF_S if sequence == 0 else SILENT_S)
                head = _receive(connection, message.HEAD, deadline)
                body = _receive(connection, message.body_length(head), deadline)
                heartbeat = message.open_frame(key, sequence, rank, head, body)
                if sequence == 0:
                    self._prove(connection, address, rank)
                self.heard[rank] = (time.monotonic(), heartbeat)
        except (OSError, BadFrameError):
            # The rank connects again; without it, its silence counts.
            pass
        finally:
            self._forget(connection, address)
            with self._lock:
                if self._proved.get(rank) is connection:
                    del self._proved[rank]
            connection.close()

    def _introduce(self, connection: socket.socket, address: str) -> tuple[int, bytes]:
        deadline = time.monotonic() + PROOF_S
        nonce = secrets.token_bytes(message.NONCE)
        connection.settimeout(PROOF_S)
        connection.sendall(message.greeting(nonce))
        rank, theirs = message.read_introduction(_receive(connection, message.INTRODUCTION, deadline))
        if self._addresses.get(rank) != address:
            raise BadFrameError("a rank at another address")
        return rank, message.connection_key(self._secret, rank, self._rank, nonce, theirs)

    def _prove(self, connection: socket.socket, address: str, rank: int) -> None:
        """Keep one connection of each rank: the last one that proved the secret."""
        self._forget(connection, address)
        with self._lock:
            former, self._proved[rank] = self._proved.get(rank), connection
        if former is not None:
            _end(former)


def _end(connection: socket.socket) -> None:
    """End a connection that another thread reads: it wakes up, and closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class HeartbeatSender:
    """Sends this rank's heartbeats to all other ranks.

    :param own_address: address on the fabric, from which all connections come.
    :param addresses: addresses of the other ranks, by rank.
    :param source: returns the current heartbeat.
    """

    def __init__(
        self,
        rank: int,
        own_address: str,
        secret: bytes,
        addresses: Mapping[int, str],
        port: int,
        source: Callable[[], Heartbeat],
        every_s: float,
    ) -> None:
        self._rank, self._own, self._secret, self._port = rank, own_address, secret, port
        self._source, self._every_s = source, every_s
        self._wake = threading.Condition()
        self._generation = 0
        self._told: dict[int, int] = {}
        self._is_closed = False
        self._others = dict(addresses)
        for other, address in self._others.items():
            threading.Thread(target=self._follow, args=(other, address), daemon=True).start()

    def tell(self, timeout_s: float) -> None:
        """Send the current heartbeat at once, and wait until it is on its way to all ranks."""
        until = time.monotonic() + timeout_s
        with self._wake:
            self._generation += 1
            wanted = self._generation
            self._wake.notify_all()
            while any(self._told.get(other, 0) < wanted for other in self._others):
                left = until - time.monotonic()
                if left <= 0 or not self._wake.wait(left):
                    return

    def close(self) -> None:
        """Send no more heartbeats."""
        with self._wake:
            self._is_closed = True
            self._wake.notify_all()

    def _follow(self, other: int, address: str) -> None:
        while not self._is_closed:
            with suppress(OSError, BadFrameError):
                self._send(other, address)
            time.sleep(AGAIN_S)

    def _send(self, other: int, address: str) -> None:
        with socket.create_connection((address, self._port), CONNECT_S, (self._own, 0)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
            theirs = message.read_greeting(_receive(connection, message.GREETING, time.monotonic() + PROOF_S))
            nonce = secrets.token_bytes(message.NONCE)
            connection.settimeout(CONNECT_S)
            connection.sendall(message.introduction(self._rank, nonce))
            key = message.connection_key(self._secret, self._rank, other, theirs, nonce)
            sequence = 0
            while not self._is_closed:
                with self._wake:
                    generation = self._generation
                connection.sendall(message.seal(key, sequence, self._source()))
                sequence += 1
                with self._wake:
                    self._told[other] = generation
                    self._wake.notify_all()
                    self._wait_for_change(generation)

    def _wait_for_change(self, generation: int) -> None:
        """Wait until the next heartbeat is due. Another sender's notification is no reason to send."""
        self._wake.wait_for(lambda: self._is_closed or self._generation != generation, self._every_s)
