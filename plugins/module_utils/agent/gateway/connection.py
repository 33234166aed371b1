# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve nginx's connections: read requests, answer or proxy them one after the other."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...core.gateway import api_errors, http_message
from ...core.gateway.http_message import Request, Response
from ...core.gateway.routing import RequestPipeline, RouteDecision, Verdict
from .access_log import CompletedResponse
from .proxy import ProxiedRequest

if TYPE_CHECKING:
    from .app import GatewayApp

#: Bytes beyond the largest body: a longer model name makes the JSON longer, and nginx's own limit applies first.
SLACK = 64 * 1024
#: Most bytes of request bodies that wait for their verdict. Requests beyond are refused for the moment.
MOST_HELD = 256 << 20


class CooperativeTasks:
    """Pipelines that take a while, for large bodies: one step of each in turn, and other events in between."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[RequestPipeline, Callable[[Verdict], None]]] = deque()
        self._is_scheduled = False

    def run(self, pipeline: RequestPipeline, done: Callable[[Verdict], None]) -> None:
        """Run a pipeline to its verdict. Most take a single step, which happens at once."""
        if not self._step(pipeline, done):
            self._waiting.append((pipeline, done))
            self._schedule()

    @staticmethod
    def _step(pipeline: RequestPipeline, done: Callable[[Verdict], None]) -> bool:
        """Run one step, and return whether it was the last."""
        try:
            next(pipeline)
        except StopIteration as end:
            # A pipeline that was closed, since its client has left, has no verdict.
            if end.value is not None:
                done(end.value)
            return True
        return False

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        pipeline, done = self._waiting.popleft()
        try:
            if not self._step(pipeline, done):
                self._waiting.append((pipeline, done))
        finally:
            self._schedule()


class Connection(asyncio.Protocol):
    """A connection from nginx, with one request after the other.

    :ivar proxied: the request that the gateway proxies over it at present.
    """

    def __init__(self, app: GatewayApp) -> None:
        self._app = app
        self._transport: Any = None
        self._buffer = bytearray()
        self._request: Request | None = None
        self._length = 0
        self.proxied: ProxiedRequest | None = None
        self._is_recorded = False
        self._pipeline: RequestPipeline | None = None
        self._held = 0

    def _hold(self, size: int) -> None:
        """Account for the bytes of the present request's body."""
        self._app.held_bytes += size - self._held
        self._held = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = transport
        self._app.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Abort the present request: its client has left."""
        self._app.connections.discard(self)
        self._hold(0)
        if self._pipeline:
            self._pipeline.close()
        if self.proxied:
            self.proxied.abandon()
            self.record(self.proxied)
            self.proxied = None

    def pause_writing(self) -> None:
        """Stop reading from the engine: the client reads more slowly than the engine writes."""
        if self.proxied:
            self.proxied.wait(True)

    def resume_writing(self) -> None:
        """Read from the engine again."""
        if self.proxied:
            self.proxied.wait(False)

    def data_received(self, data: bytes) -> None:
        """Take bytes from nginx, and handle each request that is complete."""
        self._buffer += data
        while self.proxied is None and self._pipeline is None and self._next():
            pass

    def _next(self) -> bool:
        """Read the next request from the buffer and handle it, if it is complete."""
        if self._request is None and not self._read_head():
            return False
        if self._request is None or len(self._buffer) < self._length:
            return False
        request, self._request = self._request, None
        request.body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._handle(request)
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > http_message.LONGEST_HEAD:
                self._transport.close()
            return False
        try:
            self._request, self._length = http_message.parse_head(bytes(self._buffer[:end]))
        except http_message.HeadError as error:
            return self._reject(api_errors.error(400, f"Bad request: {error}.", "bad_request"))
        del self._buffer[: end + 4]
        if self._length > self._app.settings.max_body + SLACK:
            return self._reject(api_errors.error(413, "The body is too large.", "too_large"))
        self._hold(self._length)
        if self._app.held_bytes > MOST_HELD:
            retry_after = self._app.settings.config.retry_after
            message = "Too many large requests at the same time."
            return self._reject(api_errors.error(503, message, "gateway_busy", retry_after=retry_after))
        return True

    def _reject(self, response: Response) -> bool:
        """Refuse a request that was not read to its end. nginx must not send another one on this connection."""
        response.headers["Connection"] = "close"
        self._transport.write(http_message.render(response))
        self._transport.close()
        return False

    def _handle(self, request: Request) -> None:
        target = request.header("x-herd-proxy")
        if target:
            self._app.metrics.proxied += 1
            self._app.metrics.begin(request.header("x-herd-tier"))
            self._is_recorded = False
            self.proxied = ProxiedRequest(self._app, self, request, target)
            self._hold(0)
            self.proxied.begin()
            return
        found = self._app.handle(request)
        if isinstance(found, (Response, RouteDecision)):
            self._decided(found, request)
            return
        self._pipeline = found
        self._app.tasks.run(found, lambda verdict: self._decided(verdict, request))

    def _decided(self, verdict: Verdict, request: Request) -> None:
        """Send a verdict to nginx."""
        self._pipeline = None
        self._hold(0)
        if isinstance(verdict, RouteDecision):
            verdict = Response(200, headers=verdict.headers())
        self.respond(verdict, request)

    def write(self, data: bytes) -> None:
        """Pass on a part of an engine's response."""
        self._transport.write(data)

    def respond(self, response: Response, request: Request) -> None:
        """Send a response of the gateway's own."""
        # Errors of requests to an engine are counted for their tier.
        if response.status >= 400 and not request.header("x-herd-proxy") and not request.header("x-herd-failed-tier"):
            with suppress(ValueError, KeyError, TypeError):
                self._app.metrics.refuse(json.loads(response.body)["error"]["code"])
        response = api_errors.for_path(request.target, response)
        if self._app.is_draining:
            response.headers["Connection"] = "close"
        self._transport.write(http_message.render(response, with_body=request.method != "HEAD"))
        if self._app.is_draining:
            self._transport.close()

    def done(self, keep: bool) -> None:
        """Take the next request after a proxied one, or close the connection as its head has announced."""
        self.proxied = None
        if not keep:
            self._transport.close()

    def record(self, proxied: ProxiedRequest) -> None:
        """Keep the facts of a response for its log line, which nginx sends when the request has ended."""
        if self._is_recorded:
            return
        self._is_recorded = True
        tier = proxied.request.header("x-herd-tier")
        self._app.metrics.end(tier)
        is_whole = proxied.response.is_whole or proxied.is_refused
        completed = CompletedResponse(tier, proxied.endpoint, proxied.tokens, is_whole, proxied.ttft)
        self._app.access_log.completed(proxied.request.header("x-request-id"), completed)
