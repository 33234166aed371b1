# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxy a request to an engine, and its response back to nginx as it comes.

Each part of a response is passed on in the same call that received it, without a task in between: any delay adds to
each token. Each request has its own connection to the engine. The engine closes a stream's connection with the stream,
whatever the head said, so a second request on it would be lost.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ...core.gateway import api_errors, request_body, response_stream
from ...core.gateway.http_message import Request, Response

if TYPE_CHECKING:
    from .app import GatewayApp

CONNECT_S = 5.0
#: Most bytes of a response that is no stream which are held back until it is complete.
MOST_HELD = 1024 * 1024
#: Seconds after which a silent host is given up: a host that loses its power ends no connection.
SILENT_S = 20
#: Statuses about the engine, not the request: it rejects the gateway's key, or it is loading.
ENGINE_ERRORS = (401, 503)
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


class ResponseSink(Protocol):
    """The receiver of a response: a connection from nginx."""

    def write(self, data: bytes) -> None:
        """Take a part of the engine's response."""

    def respond(self, response: Response, request: Request) -> None:
        """Take a response of the gateway's own instead."""

    def record(self, proxied: ProxiedRequest) -> None:
        """Record the facts of a response before its last part is sent."""

    def done(self, keep: bool) -> None:
        """Learn that the response has ended, and whether the connection stays open."""


class ProxiedRequest:
    """A request to an engine and its response.

    It uses a plain socket: asyncio's connections need five turns of the event loop to start.
    """

    def __init__(self, app: GatewayApp, sink: ResponseSink, request: Request, target: str) -> None:
        self.endpoint, _blank, model = target.partition(" ")
        self.request = request
        self.response = response_stream.ResponseStream()
        #: Seconds until the first piece of a stream; None before it.
        self.ttft: float | None = None
        #: Whether the gateway sent an error instead.
        self.is_refused = False
        self._app, self._sink = app, sink
        self._loop = asyncio.get_running_loop()
        self._began = self._moved = self._loop.time()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._timer: asyncio.TimerHandle | None = None
        #: Received bytes that were not passed on yet. The head of a stream waits for the first byte of its body, even
        #: if that is only a keep-alive comment, which some clients need in order not to give up.
        self._held: bytearray | None = bytearray()
        self._stays = self._is_connected = self._is_held_up = self._is_over = False
        body, request.body = request.body, b""
        if model:
            body = request_body.with_model(body, model, request.header("x-herd-at"))
        # Nothing else refers to the body, which may be large, while the response takes hours.
        self._unsent = memoryview(self._head(len(body)) + body)

    def _head(self, length: int) -> bytes:
        given = [f"{name}: {value}" for name in _PASSED_HEADERS if (value := self.request.header(name))]
        lines = [f"POST {self.request.target} HTTP/1.1", f"Host: {self.endpoint}", *given, "Connection: close"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "\r\n"]).encode("latin-1", "replace")

    def begin(self) -> None:
        """Connect to the engine."""
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
            # The engine reads no more of the request, and may have sent the reason.
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
        """Stop or resume reading from the engine, while the client reads more slowly than the engine writes."""
        self._is_held_up = must
        self._moved = self._loop.time()
        if self._is_over or not self._is_connected:
            return
        if must:
            self._loop.remove_reader(self._socket)
        else:
            self._loop.add_reader(self._socket, self._read)

    def abandon(self) -> None:
        """Close the engine's connection, since the client has left: the engine then stops."""
        self._is_over = True
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()

    @property
    def moved(self) -> float:
        """Return when anything last came from the engine; the present time while reading is stopped."""
        return self._loop.time() if self._is_held_up else self._moved

    @property
    def tokens(self) -> response_stream.Tokens:
        """Return its token counts. The speed is measured if the engine does not report it."""
        found = self.response.tokens
        if found.written_s is not None or self.ttft is None or not found.completion:
            return found
        # The first token took the time of the prompt, so the others are measured.
        taken = self._moved - self._began - self.ttft
        return replace(found, written_s=taken * found.completion / max(1, found.completion - 1))

    def give_up(self) -> None:
        """End the response, since its engine has stalled."""
        self._over()

    def _take(self, data: bytes) -> None:
        response = self.response
        self._moved = self._loop.time()
        try:
            response.feed(data)
        except response_stream.BadResponseError:
            self._over()
            return
        if response.has_piece and self.ttft is None:
            self.ttft = self._moved - self._began
        ends = response.has_end and response.is_whole
        if ends and (self._held is None or response.status not in ENGINE_ERRORS):
            self._sink.record(self)
        if self._held is None:
            self._sink.write(data)
        else:
            self._held += data
            if response.status in ENGINE_ERRORS:
                self._over()
                return
            if response.has_body if response.is_stream else response.status and self._is_enough:
                self._pass_held()
        if ends:
            self._over()

    @property
    def _is_enough(self) -> bool:
        """Return whether enough of a response that is no stream has come to pass it on."""
        return self.response.is_whole or len(self._held or b"") > MOST_HELD

    def _pass_held(self) -> None:
        held, self._held = self._held, None
        self._stays = self.response.has_end and not self._app.is_draining
        self._sink.write(response_stream.for_our_connection(bytes(held or b""), ends=not self._stays))

    def _over(self) -> None:
        """End the request, at the end of its response or before."""
        if self._is_over:
            return
        self.abandon()
        response, tier = self.response, self.request.header("x-herd-tier")
        self.is_refused = self._held is not None and (not response.is_whole or response.status in ENGINE_ERRORS)
        self._sink.record(self)
        if not self._is_connected:
            # nginx then asks the router again.
            self._sink.respond(Response(502, headers={"X-Herd-Connect-Failed": "1"}), self.request)
            self._stays = True
        elif self.is_refused:
            # Nothing of it has reached the client.
            self._sink.respond(self._app.upstream_failed(tier, str(response.status or "")), self.request)
            self._stays = True
        elif self._held is not None:
            self._pass_held()
        elif not response.is_whole:
            self._stays = self._stays and response.may_end_here
            if response.may_end_here:
                event = api_errors.as_event(self.request.target, self._app.cut_reason(tier), "tier_unavailable")
                self._sink.write(response_stream.as_chunk(event) + b"0\r\n\r\n")
        self._sink.done(self._stays and not response.has_excess)
