# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to engines. No other file knows aiohttp's client.

An engine is not trusted. Each request has its own connection, so no byte of one response reaches another request, and
a request is never sent twice. Every wait for an engine can be ended from outside, by C(UpstreamExchange.give_up).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from ...core.gateway import response_headers
from .request import InferenceRequest

with suppress(ImportError):
    # Only the gateway's own environment has it.
    import aiohttp
    from aiohttp import hdrs

#: Seconds after which a silent host is given up: a host that loses its power ends no connection.
SILENT_S = 20
#: Seconds that an engine may send bytes that contain no part of a body, such as endless headers.
FRAMING_S = 30.0
#: Bytes of the longest line and of all headers of a response.
_LONGEST_LINE = 16 * 1024
#: Bytes that one response may hold in each buffer on its way. What a slow client does not read stays with the engine.
BUFFER = 32 * 1024
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S // 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_S // 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000),
)
#: Where struct tcp_info of Linux has the number of received bytes.
_RECEIVED_AT, _RECEIVED = 128, struct.Struct("=Q")
#: Headers of a client that reach an engine.
PASSED_HEADERS = ("Accept", "anthropic-version", "anthropic-beta")

Value = TypeVar("Value")
_exchange: ContextVar[UpstreamExchange] = ContextVar("exchange")


class ConnectFailedError(Exception):
    """No connection to the engine could be made, so it has not received the request."""


class UpstreamFailedError(Exception):
    """The engine failed after the connection was made. The text is the reason; it may be empty."""


class UpstreamExchange:
    """A request to an engine and its response.

    :ivar status: its HTTP status.
    :ivar headers: those headers of the response that reach the client.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.status = 0
        self.headers: dict[str, str] = {}
        self.socket: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._response: aiohttp.ClientResponse | None = None
        self._scope: asyncio.Timeout | None = None
        self._moved = self._loop.time()
        self._framing_moved, self._framing_base = 0.0, 0
        self._framing_since: float | None = None

    @property
    def is_stream(self) -> bool:
        """Return whether the response is a stream of events."""
        return self.headers["Content-Type"].startswith("text/event-stream")

    @property
    def moved(self) -> float:
        """Return when a part of the body last came; the present time while nothing is awaited."""
        return self._loop.time() if self._scope is None else self._moved

    def give_up(self) -> None:
        """End the present wait for the engine."""
        # A wait that is just ending cannot be rescheduled.
        with suppress(RuntimeError):
            if self._scope is not None:
                self._scope.reschedule(self._loop.time())

    def is_stuck_in_framing(self, now: float) -> bool:
        """Return whether bytes have come for a while, but no part of a body. Called about once a second."""
        received = _bytes_received(self.socket)
        if self._scope is None or self._framing_moved != self._moved:
            self._framing_moved, self._framing_base, self._framing_since = self._moved, received, None
        elif received > self._framing_base and self._framing_since is None:
            self._framing_since = now
        return self._framing_since is not None and now - self._framing_since > FRAMING_S

    async def wait(self, action: Awaitable[Value]) -> Value:
        """Wait for the engine.

        :raises ConnectFailedError: if no connection could be made.
        :raises UpstreamFailedError: if the engine failed.
        """
        try:
            async with asyncio.timeout(None) as self._scope:
                return await action
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ConnectFailedError(str(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailedError from error
        finally:
            self._scope = None
            self._moved = self._loop.time()

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Take the head of the response.

        :raises UpstreamFailedError: if it shows that the engine failed.
        """
        reason = response_headers.failure(response.status, response.headers)
        if reason:
            raise UpstreamFailedError(reason)
        self._response, self.status = response, response.status
        self.headers = response_headers.allowed_headers(response.headers)
        protocol = response.connection.protocol if response.connection is not None else None
        # Not "if protocol": a protocol without waiting messages is false.
        closed = protocol.closed if protocol is not None else None
        # aiohttp reports invalid chunks to the connection alone: a reader of the body would wait for ever.
        if closed is None:
            self._end_body()
        else:
            closed.add_done_callback(lambda _closed: self._end_body())

    def _end_body(self) -> None:
        content = self._response.content if self._response else None
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection ended inside the body"))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body as they come.

        :raises UpstreamFailedError: if the body ends early.
        """
        if self._response is None:
            raise RuntimeError("The body is read before the head.")
        content = self._response.content
        while piece := await self.wait(content.read(BUFFER)):
            yield piece


def _bytes_received(connection: socket.socket | None) -> int:
    """Return how many bytes a connection has received; 0 if it is closed."""
    if connection is None:
        return 0
    with suppress(OSError, struct.error):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(_RECEIVED.unpack_from(info, _RECEIVED_AT)[0])
    return 0


def _make_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _name, _address = address
    made = socket.socket(family, kind, protocol)
    try:
        for level, option, value in _SOCKET_OPTIONS:
            made.setsockopt(level, option, value)
    except OSError:
        made.close()
        raise
    _exchange.get().socket = made
    return made


class EngineClient:
    """The client of all engines.

    :ivar exchanges: all exchanges that run at present.
    """

    def __init__(self, connect_timeout: float, read_timeout: float, engine_key: Callable[[str], str]) -> None:
        self._read_timeout, self._engine_key = read_timeout, engine_key
        self.exchanges: set[UpstreamExchange] = set()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=_make_socket),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=BUFFER,
            trust_env=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
        )

    @asynccontextmanager
    async def open(
        self, endpoint: str, path: str, request: InferenceRequest, headers: Mapping[str, str]
    ) -> AsyncIterator[UpstreamExchange]:
        """Send a request to an engine, and wait for the head of its response.

        :param headers: further headers for the engine.
        :raises ConnectFailedError: if no connection could be made; the request's body is then still complete.
        :raises UpstreamFailedError: if the engine failed.
        """
        exchange = UpstreamExchange(endpoint)
        given = {
            **headers,
            "Authorization": f"Bearer {self._engine_key(endpoint)}",
            "Content-Type": request.content_type,
            "Content-Length": str(request.size),
        }
        _exchange.set(exchange)
        self.exchanges.add(exchange)
        response = None
        try:
            sending = self._session.post(
                f"http://{endpoint}{path}", data=request.pieces(), headers=given, allow_redirects=False
            )
            response = await exchange.wait(sending)
            exchange.begin(response)
            yield exchange
        finally:
            self.exchanges.discard(exchange)
            if response is not None:
                response.close()

    async def get(self, endpoint: str, path: str, timeout: float, most: int) -> bytes:
        """Ask an engine for a small document of its own.

        :raises UpstreamFailedError: if it does not answer in time, or not with 200.
        """
        exchange = UpstreamExchange(endpoint)
        _exchange.set(exchange)
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.get(
                    f"http://{endpoint}{path}",
                    headers={"Authorization": f"Bearer {self._engine_key(endpoint)}"},
                    allow_redirects=False,
                ) as response,
            ):
                if response.status != 200:
                    return b""
                body = b""
                while len(body) < most and (piece := await response.content.read(most - len(body))):
                    body += piece
                return body
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailedError from error

    def sweep(self) -> None:
        """End exchanges whose engine has sent no part of a body for too long. Called about once a second."""
        now = asyncio.get_running_loop().time()
        for exchange in list(self.exchanges):
            if exchange.is_stuck_in_framing(now) or now - exchange.moved > self._read_timeout:
                exchange.give_up()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
