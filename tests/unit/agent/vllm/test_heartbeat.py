# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heartbeats over real sockets: strangers, slow and silent connections change nothing, and a cut is a silence."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import heartbeat_message as message
from tests.vllm.two_ranks import free_ports

SECRET = b"s" * 32
RECEIVER, SENDER = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def receiver() -> Iterator[heartbeat.HeartbeatReceiver]:
    found = heartbeat.HeartbeatReceiver(0, (RECEIVER, 0), SECRET, {1: SENDER})
    yield found
    found.close()


def port_of(receiver: heartbeat.HeartbeatReceiver) -> int:
    return int(receiver._listener.getsockname()[1])


def until(is_so: Callable[[], object], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def sender(port: int, secret: bytes = SECRET, beat: message.Heartbeat | None = None) -> heartbeat.HeartbeatSender:
    current = beat or message.Heartbeat(1, "ready", 100)
    return heartbeat.HeartbeatSender(1, SENDER, secret, {0: RECEIVER}, port, lambda: current, 0.1)


def connect(port: int, source: str = SENDER) -> socket.socket:
    return socket.create_connection((RECEIVER, port), 3, (source, 0))


def test_heartbeats_come_again_and_again(receiver: heartbeat.HeartbeatReceiver) -> None:
    one = sender(port_of(receiver))
    until(lambda: 1 in receiver.heard)
    first = receiver.heard[1][0]
    until(lambda: receiver.heard[1][0] > first)
    assert receiver.heard[1][1] == message.Heartbeat(1, "ready", 100)
    one.close()


def test_last_word_is_sent_at_once(receiver: heartbeat.HeartbeatReceiver) -> None:
    words = [message.Heartbeat(1)]
    one = heartbeat.HeartbeatSender(1, SENDER, SECRET, {0: RECEIVER}, port_of(receiver), lambda: words[-1], 30.0)
    until(lambda: 1 in receiver.heard)
    words.append(message.Heartbeat(1, "draining", 100, "failed", "rank 1: why"))
    one.tell(3.0)
    until(lambda: receiver.heard[1][1].reason == "rank 1: why", 1.0)
    one.close()


def test_sender_without_the_secret_is_not_heard(receiver: heartbeat.HeartbeatReceiver) -> None:
    one = sender(port_of(receiver), b"t" * 32)
    time.sleep(1.0)
    assert receiver.heard == {}
    one.close()


def test_stranger_is_refused_by_his_address(receiver: heartbeat.HeartbeatReceiver) -> None:
    with connect(port_of(receiver), "127.0.0.9") as stranger:
        stranger.settimeout(3)
        assert stranger.recv(100) == b""


def test_rank_at_the_address_of_another_one_is_refused() -> None:
    receiver = heartbeat.HeartbeatReceiver(0, (RECEIVER, 0), SECRET, {1: SENDER, 2: "127.0.0.3"})
    with connect(port_of(receiver), "127.0.0.3") as other:
        nonce = other.recv(message.GREETING)[len(message.MAGIC) :]
        mine = secrets.token_bytes(message.NONCE)
        other.sendall(message.introduction(1, mine))
        key = message.connection_key(SECRET, 1, 0, nonce, mine)
        other.sendall(message.seal(key, 0, message.Heartbeat(1)))
        other.settimeout(3)
        with pytest.raises((ConnectionResetError, AssertionError)):
            assert other.recv(100) != b""
    assert receiver.heard == {}
    receiver.close()


def test_many_silent_connections_keep_no_rank_out(receiver: heartbeat.HeartbeatReceiver) -> None:
    port, before = port_of(receiver), threading.active_count()
    idle = [connect(port) for _index in range(40)]
    one = sender(port)
    until(lambda: 1 in receiver.heard)
    # The tests before this one may have left threads.
    assert threading.active_count() < before + 40
    one.close()
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 200, message.MAGIC, secrets.token_bytes(5000)]
)
def test_garbage_ends_only_its_own_connection(receiver: heartbeat.HeartbeatReceiver, garbage: bytes) -> None:
    one = sender(port_of(receiver))
    until(lambda: 1 in receiver.heard)
    with connect(port_of(receiver)) as attacker:
        attacker.sendall(garbage)
        before = receiver.heard[1][0]
        until(lambda: receiver.heard[1][0] > before)
    one.close()


def test_recorded_frames_are_of_no_use_on_another_connection(receiver: heartbeat.HeartbeatReceiver) -> None:
    with connect(port_of(receiver)) as first:
        nonce = first.recv(message.GREETING)[len(message.MAGIC) :]
        mine = secrets.token_bytes(message.NONCE)
        key = message.connection_key(SECRET, 1, 0, nonce, mine)
        recorded = message.introduction(1, mine) + message.seal(key, 0, message.Heartbeat(1, "failed", 0, "failed"))
        first.sendall(recorded)
        until(lambda: 1 in receiver.heard)
    receiver.heard.clear()
    with connect(port_of(receiver)) as again:
        again.recv(message.GREETING)
        again.sendall(recorded)
        time.sleep(0.5)
    assert receiver.heard == {}


def test_connection_that_sends_byte_by_byte_is_closed(
    receiver: heartbeat.HeartbeatReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PROOF_S", 0.5)
    with connect(port_of(receiver)) as slow:
        slow.recv(message.GREETING)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for byte in message.MAGIC * 10:
                slow.sendall(bytes([byte]))
                time.sleep(0.1)


class Cable:
    """Passes connections on until it is cut; then nothing arrives, and nothing is closed."""

    def __init__(self, port: int) -> None:
        self.is_cut = False
        self._listener = socket.create_server((RECEIVER, 0))
        self.port, self._target = self._listener.getsockname()[1], port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _remote = self._listener.accept()
            far = connect(self._target)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if not self.is_cut:
                    target.sendall(data)
        while self.is_cut:
            time.sleep(0.05)
        # The end of a connection passes the healed cable, too.
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_cut_cable_is_a_silence_and_a_healed_one_is_heard_again(
    receiver: heartbeat.HeartbeatReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_S", 1.0)
    cable = Cable(port_of(receiver))
    one = sender(cable.port)
    until(lambda: 1 in receiver.heard)
    cable.is_cut = True
    time.sleep(0.3)
    last = receiver.heard[1][0]
    time.sleep(1.0)
    assert receiver.heard[1][0] == last
    cable.is_cut = False
    until(lambda: receiver.heard[1][0] > last)
    one.close()


def test_receiver_needs_its_own_port() -> None:
    master, _second, _third = free_ports()
    with socket.create_server((RECEIVER, master)), pytest.raises(OSError, match="in use"):
        heartbeat.HeartbeatReceiver(0, (RECEIVER, master), SECRET, {})
