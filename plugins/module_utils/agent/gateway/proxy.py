# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the gateway itself takes a request to an engine, and the answer back, byte by byte as it comes.

A piece of an answer is passed on in the very call that brings it, with no task between: users see every tenth of a
millisecond of each token. Each request has a connection of its own to its engine, which ends the one of a stream with
that stream, whatever its head said before: a second request on it would be lost.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from typing import Protocol

from ...core.gateway import api_errors, request_body, response_stream, routing
from ...core.gateway.http import Answer, Request

CONNECT_S = 5.0
#: As much of an answer in one piece as waits for its end.
MOST_HELD = 1024 * 1024
#: Seconds after which a host that has lost its power is given up: nothing else would ever end the answer.
SILENT_S = 20
#: What an engine says of itself and not of the request: it does not take the gateway's key, or it loads.
OWN_WORDS = (401, 503)
#: As much as is read at once.
CHUNK = 64 * 1024
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S // 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_S // 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
)
_PASSED_HEADERS = ("authorization", "content-type", "accept", "anthropic-version")


class Asker(Protocol):
    """Whoever waits for an answer: a connection of nginx."""

    def write(self, data: bytes) -> None:
        """Take a piece of the answer."""

    def refuse(self, answer: Answer, request: Request) -> None:
        """Take an answer of ours instead."""

    def note(self, relay: Relay) -> None:
        """Learn what is known of an answer, before the last of it goes on its way."""

    def relayed(self, relay: Relay, stays: bool) -> None:
        """Learn that the answer has ended, and whether the connection may carry the next one."""


class Desk(Protocol):
    """What all connections share."""

    is_leaving: bool

    def why_cut(self, tier: str) -> str:
        """Say why an answer of a tier ends before its end."""

    def failed(self, tier: str, status: str) -> Answer:
        """Say that an engine gave no answer."""


class Relay:
    """A request on its way to an engine, and its answer on the way back.

    A bare socket: asyncio's own connections take five turns of its loop to begin, each of which users wait for.
    """

    def __init__(self, desk: Desk, asker: Asker, request: Request, target: str) -> None:
        self.endpoint, _blank, model = target.partition(" ")
        self.request = request
        self.answer = response_stream.Answer()
        #: Seconds until the first piece of a stream; None before it.
        self.ttft: float | None = None
        #: Whether we had to say in its place why there is no answer.
        self.is_refused = False
        self._desk, self._asker = desk, asker
        self._loop = asyncio.get_running_loop()
        self._began = self._moved = self._loop.time()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._timer: asyncio.TimerHandle | None = None
        #: What has come and was not passed on. The head of a stream waits for the first byte of its body, also if that
        #: is only a sign of life: who sends one every half minute knows that there are clients that give up without.
        self._held: bytearray | None = bytearray()
        self._stays = self._is_connected = self._is_held_up = self._is_over = False
        body, request.body = request.body, b""
        if model:
            body = request_body.with_model(body, model, request.header("x-herd-at"))
        # Nothing else holds the body, which may be large, while an answer comes for hours.
        self._unsent = memoryview(self._head(len(body)) + body)

    def _head(self, length: int) -> bytes:
        given = [f"{name}: {value}" for name in _PASSED_HEADERS if (value := self.request.header(name))]
        lines = [f"POST {self.request.target} HTTP/1.1", f"Host: {self.endpoint}", *given, "Connection: close"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "\r\n"]).encode("latin-1", "replace")

    def begin(self) -> None:
        """Go to the engine."""
        host, _colon, port = self.endpoint.partition(":")
        for level, option, value in _SOCKET_OPTIONS:
            self._socket.setsockopt(level, option, value)
        try:
            status = self._socket.connect_ex((host, int(port)))
        except (OSError, ValueError, OverflowError):
            status = errno.EINVAL
        if status == errno.EINPROGRESS:
            self._timer = self._loop.call_later(CONNECT_S, self._over)
            self._loop.add_writer(self._socket, self._connected)
        elif status:
            self._over()
        else:
            self._connected()

    def _connected(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._loop.remove_writer(self._socket)
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._over()
            return
        self._is_connected = True
        self._send()
        if self._unsent:
            self._loop.add_writer(self._socket, self._send_rest)
        if not self._is_held_up:
            self._loop.add_reader(self._socket, self._read)

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # It takes no more of the request, and may have said why.
            self._unsent = memoryview(b"")

    def _send_rest(self) -> None:
        self._send()
        if not self._unsent:
            self._loop.remove_writer(self._socket)
            self._unsent = memoryview(b"")

    def _read(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self._over()

    def wait(self, must: bool) -> None:
        """Take nothing of the engine while nginx, and so the client, takes less than it gives."""
        self._is_held_up = must
        self._moved = self._loop.time()
        if self._is_over or not self._is_connected:
            return
        if must:
            self._loop.remove_reader(self._socket)
        else:
            self._loop.add_reader(self._socket, self._read)

    def abandon(self) -> None:
        """Stop, since the client has left: an engine whose connection ends hears of it."""
        self._is_over = True
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()

    @property
    def moved(self) -> float:
        """When anything has come of its engine; that of a client that takes nothing is not waited for."""
        return self._loop.time() if self._is_held_up else self._moved

    @property
    def tokens(self) -> response_stream.Tokens:
        """The numbers of its tokens. How fast they came an engine does not tell in every API."""
        found = self.answer.tokens
        if found.written_s is not None or self.ttft is None or not found.completion:
            return found
        # From the first one on, which has taken the time of the prompt.
        taken = self._moved - self._began - self.ttft
        return replace(found, written_s=taken * found.completion / max(1, found.completion - 1))

    def give_up(self) -> None:
        """End it, since nothing will come of its engine any more."""
        self._over()

    def _take(self, data: bytes) -> None:
        answer = self.answer
        self._moved = self._loop.time()
        try:
            answer.feed(data)
        except response_stream.BadAnswerError:
            self._over()
            return
        if answer.has_piece and self.ttft is None:
            self.ttft = self._moved - self._began
        ends = answer.has_end and answer.is_whole
        if ends and (self._held is None or answer.status not in OWN_WORDS):
            self._asker.note(self)
        if self._held is None:
            self._asker.write(data)
        else:
            self._held += data
            if answer.status in OWN_WORDS:
                self._over()
                return
            if answer.has_body if answer.is_stream else answer.status and self._is_enough:
                self._pass_held()
        if ends:
            self._over()

    @property
    def _is_enough(self) -> bool:
        """Whether an answer in one piece is there, so that it is no refusal any more."""
        return self.answer.is_whole or len(self._held or b"") > MOST_HELD

    def _pass_held(self) -> None:
        held, self._held = self._held, None
        self._stays = self.answer.has_end and not self._desk.is_leaving
        self._asker.write(response_stream.for_our_connection(bytes(held or b""), ends=not self._stays))

    def _over(self) -> None:
        """End, at the end of the answer or before it."""
        if self._is_over:
            return
        self.abandon()
        answer, tier = self.answer, self.request.header("x-herd-tier")
        self.is_refused = self._held is not None and (not answer.is_whole or answer.status in OWN_WORDS)
        self._asker.note(self)
        if not self._is_connected:
            self._asker.refuse(routing.unsent(), self.request)
            self._stays = True
        elif self.is_refused:
            # Nothing of it has reached the client.
            self._asker.refuse(self._desk.failed(tier, str(answer.status or "")), self.request)
            self._stays = True
        elif self._held is not None:
            self._pass_held()
        elif not answer.is_whole:
            self._stays = self._stays and answer.may_end_here
            if answer.may_end_here:
                event = api_errors.as_event(self.request.target, self._desk.why_cut(tier), "tier_unavailable")
                self._asker.write(response_stream.as_chunk(event) + b"0\r\n\r\n")
        self._asker.relayed(self, self._stays and not answer.has_excess)
