# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request of a client and its response: what the log and the counters say about it, and the way to the client."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from ...core.gateway import api_errors
from ...core.gateway.api_errors import ApiError
from ...core.gateway.event_stream import EventCounter, Tokens

with suppress(ImportError):
    # Only the gateway's own environment has it.
    from aiohttp import ClientError, web

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")
#: The task in a path is left out of the log: it may be any text. The field C(task) has its known type.
_TASK_PATH = re.compile(r"/task/[^/]*")
_UNPRINTABLE = re.compile(r"[^!-~]")
#: Bytes that wait for a slow client before the engine is read no further.
BUFFER = 32 * 1024
_LONGEST_PATH, _LONGEST_HEADER = 200, 1000


class ClientLeftError(Exception):
    """The client has closed its connection."""


class Exchange:
    """A request and its response.

    :ivar path: the client's path, without its query.
    :ivar is_anthropic: whether the client expects the shapes of Anthropic's API.
    :ivar entry_tier: the tier of the port; empty for none.
    :ivar key: id of the key; empty before it is known.
    :ivar user: user of the key.
    :ivar project: project of the key; empty for none.
    :ivar estimate: tokens that prompt and response will probably take.
    :ivar is_sent: whether an engine has got the request.
    :ivar tier: the tier that answers; empty as long as none was asked.
    :ivar refused: code of the gateway's own error; empty for none.
    :ivar ttft: seconds until the first token of a stream; None before it.
    :ivar is_complete: whether the client received the whole response.
    :ivar headers: headers of every response to this request.
    :ivar response: the response whose head was sent; None before it.
    :ivar counter: the events of a stream; None for another response.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self.began, self.began_wall = time.monotonic(), time.time()
        self.path = request.raw_path.partition("?")[0]
        self.is_anthropic = api_errors.is_anthropic(self.path, request.headers)
        self.entry_tier = request.headers.get("X-Herd-Entry", "")
        self.client = request.headers.get("X-Real-IP", "")
        given = request.headers.get("X-Request-Id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        self.user = self.project = ""
        self.key = self.tier = self.task = self.model = self.fallback_from = self.engine = self.refused = ""
        self.is_stream = self.is_complete = self.is_sent = False
        self.status = self.sent = self.received = self.estimate = 0
        self.ttft: float | None = None
        self.headers: dict[str, str] = {"X-Request-Id": self.id}
        self.response: web.StreamResponse | None = None
        self.counter: EventCounter | None = None
        self.body_tokens = Tokens()

    def plain_header(self, name: str) -> str:
        """Return the value of a header that can be passed on to an engine; empty for none."""
        value = self.request.headers.get(name, "")
        return value if value.isascii() and value.isprintable() and len(value) <= _LONGEST_HEADER else ""

    @property
    def seconds(self) -> float:
        """Return the seconds since it began."""
        return time.monotonic() - self.began

    @property
    def tokens(self) -> Tokens:
        """Return its token counts. The speed is measured if the engine does not report it."""
        if self.counter is None:
            return self.body_tokens
        found = self.counter.tokens
        if found.written_s is not None or self.ttft is None or not found.completion:
            return found
        # The first token took the time of the prompt, so the others are measured.
        taken = self.seconds - self.ttft
        return replace(found, written_s=taken * found.completion / max(1, found.completion - 1))

    @property
    def logged_path(self) -> str:
        """Return its path for the log."""
        return _UNPRINTABLE.sub("?", _TASK_PATH.sub("/task", self.path, count=1))[:_LONGEST_PATH]

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the parts of the request's body as they come.

        :raises ClientLeftError: if the client has left.
        """
        pieces = self.request.content
        while True:
            with _client_errors():
                piece = await pieces.readany()
            if not piece:
                return
            yield piece

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a response's head. The body follows in parts.

        :raises ClientLeftError: if the client has left.
        """
        await self._send_head(web.StreamResponse(status=status, headers={**headers, **self.headers}))

    async def _send_head(self, response: web.StreamResponse) -> None:
        self.response, self.status = response, response.status
        if isinstance(self.request.transport, asyncio.WriteTransport):
            self.request.transport.set_write_buffer_limits(high=BUFFER)
        with _client_errors():
            await response.prepare(self.request)

    async def write(self, data: bytes) -> None:
        """Send a part of a response's body, and wait while the client reads more slowly.

        :raises ClientLeftError: if the client has left.
        """
        transport = self.request.transport
        if self.response is None or transport is None or transport.is_closing():
            raise ClientLeftError
        with _client_errors():
            await self.response.write(data)
        self.sent += len(data)

    async def end(self, is_complete: bool = True) -> None:
        """Send a response's end.

        :param is_complete: whether the engine's response has ended, too.
        :raises ClientLeftError: if the client has left.
        """
        if self.response is None:
            raise ClientLeftError
        with _client_errors():
            await self.response.write_eof()
        self.is_complete = is_complete

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response.

        :raises ClientLeftError: if the client has left.
        """
        await self._send_head(web.Response(status=status, body=body, headers={**headers, **self.headers}))
        await self.end()
        self.sent = len(body)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, or cut a response whose head was sent.

        :raises ClientLeftError: if the client has left.
        """
        self.refused = error.code
        if self.response is not None:
            self.cut()
            return
        headers = {"Content-Type": "application/json", **error.headers}
        await self.respond(error.status, error.body(self.is_anthropic), headers)

    def cut(self) -> None:
        """End the connection: only that tells the client that a response is not complete."""
        if self.request.transport is not None:
            self.request.transport.abort()


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except (ClientError, OSError, web.RequestPayloadError) as error:
        raise ClientLeftError from error
