# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the door itself takes a request to an engine, and the answer back, byte by byte as it comes.

A piece of an answer is passed on in the very call that brings it, with no task between, and connections to engines
carry one request after the other: users see every tenth of a millisecond of each token.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any, Protocol

from herd.core import door_rules, stream_watch
from herd.core.door_http import Answer, Request

CONNECT_S = 5.0
#: Seconds for which a connection waits for its next request. The engine closes one that was idle for five seconds; ours
#: must end before, since a request that meets the end on its way is lost.
IDLE_S = 3.0
#: An engine has a thread for each connection, and some have few.
MOST_IDLE = 8
#: Seconds after which a host that has lost its power is given up: nothing else would ever end the answer.
SILENT_S = 20
#: What an engine says of itself and not of the request: it does not take the gateway's key, or it loads.
OWN_WORDS = (401, 503)
_PASSED_HEADERS = ("authorization", "content-type", "accept", "anthropic-version")


class Asker(Protocol):
    """Whoever waits for an answer: a connection of nginx."""

    def write(self, data: bytes) -> None:
        """Take a piece of the answer."""

    def refuse(self, answer: Answer, request: Request) -> None:
        """Take an answer of ours instead."""

    def relayed(self, relay: Relay, stays: bool) -> None:
        """Learn that the answer has ended, and whether the connection may carry the next one."""


class Desk(Protocol):
    """What all connections share."""

    lines: Lines
    is_leaving: bool

    def why_cut(self, tier: str) -> str:
        """Say why an answer of a tier ends before its end."""

    def failed(self, tier: str, status: str) -> Answer:
        """Say that an engine gave no answer."""


class Line(asyncio.Protocol):
    """A connection to an engine."""

    def __init__(self, lines: Lines, endpoint: str) -> None:
        self.endpoint = endpoint
        self.relay: Relay | None = None
        self.transport: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self._lines = lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        made = transport.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S // 4)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_S // 4)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)

    def data_received(self, data: bytes) -> None:
        """Pass on what has come; nobody has asked for more than an answer."""
        if self.relay is None:
            self.transport.abort()
        else:
            self.relay.take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        relay, self.relay = self.relay, None
        self._lines.forget(self)
        if relay:
            relay.over(None)


class Lines:
    """Connections to engines. One that has carried a whole answer carries the next request."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Line]] = {}

    def take(self, endpoint: str) -> Line | None:
        """Give a connection that waits, the last one first."""
        waiting = self._idle.get(endpoint)
        line = waiting.pop() if waiting else None
        if line and line.timer:
            line.timer.cancel()
        return line

    async def open(self, endpoint: str) -> Line:
        """Make a connection."""
        host, _colon, port = endpoint.partition(":")
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: Line(self, endpoint), host, int(port))
        _transport, line = await asyncio.wait_for(connecting, CONNECT_S)
        return line

    def keep(self, line: Line) -> None:
        """Let a connection wait."""
        waiting = self._idle.setdefault(line.endpoint, [])
        if len(waiting) >= MOST_IDLE or line.transport.is_closing():
            line.transport.close()
            return
        line.transport.resume_reading()
        line.timer = asyncio.get_running_loop().call_later(IDLE_S, line.transport.close)
        waiting.append(line)

    def forget(self, line: Line) -> None:
        """Give up a connection that has ended."""
        if line.timer:
            line.timer.cancel()
        waiting = self._idle.get(line.endpoint, [])
        with suppress(ValueError):
            waiting.remove(line)
        if not waiting:
            self._idle.pop(line.endpoint, None)


class Relay:
    """A request on its way to an engine, and its answer on the way back."""

    def __init__(self, desk: Desk, asker: Asker, request: Request, target: str) -> None:
        self.endpoint, _blank, model = target.partition(" ")
        self.request = request
        self.answer = stream_watch.Answer()
        self._desk, self._asker = desk, asker
        self._line: Line | None = None
        self._opening: asyncio.Task[None] | None = None
        #: What has come and was not passed on: the head of a stream waits for the first piece of its body.
        self._held: bytearray | None = bytearray()
        self._stays = False
        data = door_rules.read_body(request) if model else None
        self._body = request.body if data is None else json.dumps({**data, "model": model}).encode()

    def begin(self) -> None:
        """Send the request."""
        line = self._desk.lines.take(self.endpoint)
        if line:
            self._send(line)
        else:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        try:
            line = await self._desk.lines.open(self.endpoint)
        except (OSError, ValueError, asyncio.TimeoutError):
            self.over(None)
            return
        self._send(line)

    def _send(self, line: Line) -> None:
        self._line, line.relay = line, self
        given = [f"{name}: {value}" for name in _PASSED_HEADERS if (value := self.request.header(name))]
        lines = [f"POST {self.request.target} HTTP/1.1", f"Host: {self.endpoint}", *given]
        head = "\r\n".join([*lines, f"Content-Length: {len(self._body)}", "\r\n"])
        line.transport.write(head.encode("latin-1", "replace") + self._body)
        self._body = b""

    def wait(self, must: bool) -> None:
        """Take nothing of the engine while nginx, and so the client, takes less than it gives."""
        if self._line:
            (self._line.transport.pause_reading if must else self._line.transport.resume_reading)()

    def abandon(self) -> None:
        """Stop, since the client has left: an engine whose connection ends hears of it."""
        if self._opening:
            self._opening.cancel()
        self._release(False)

    def take(self, data: bytes) -> None:
        """Take a piece of the answer."""
        answer = self.answer
        try:
            answer.feed(data)
        except stream_watch.BadAnswerError:
            self.over(None)
            return
        if self._held is None:
            self._asker.write(data)
        else:
            self._held += data
            if answer.status in OWN_WORDS:
                self.over(None)
                return
            if answer.status and (answer.has_body or not answer.is_stream):
                self._pass_held()
        if answer.has_end and answer.is_whole:
            self.over(self._line)

    def _pass_held(self) -> None:
        held, self._held = self._held, None
        self._stays = self.answer.has_end and not self._desk.is_leaving
        self._asker.write(stream_watch.for_our_connection(bytes(held or b""), ends=not self._stays))

    def over(self, line: Line | None) -> None:
        """End.

        :param line: the engine's connection, where it may carry another request.
        """
        answer, tier = self.answer, self.request.header("x-herd-tier")
        stays = self._stays
        if self._held is not None:
            # Nothing of it has reached the client.
            if answer.is_whole and answer.status not in OWN_WORDS:
                self._pass_held()
                stays = self._stays
            else:
                self._asker.refuse(self._desk.failed(tier, str(answer.status or "")), self.request)
                stays = True
        elif not answer.is_whole:
            stays = stays and answer.may_end_here
            if answer.may_end_here:
                event = stream_watch.error_event(self._desk.why_cut(tier), "tier_unavailable")
                self._asker.write(stream_watch.as_chunk(event) + b"0\r\n\r\n")
        self._release(line is not None and not answer.is_last)
        self._asker.relayed(self, stays and not answer.has_excess)

    def _release(self, may_keep: bool) -> None:
        line, self._line = self._line, None
        if line:
            line.relay = None
            if may_keep:
                self._desk.lines.keep(line)
            else:
                line.transport.abort()
