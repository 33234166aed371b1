# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request of a client and its response: what the log and the counters say about it, and the way to the client."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace

from aiohttp import ClientError, web

from ...core.gateway.event_stream import EventCounter, Tokens

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")
#: The task in a path is left out of the log: it may be any text. The field C(task) has its known type.
_TASK_PATH = re.compile(r"/task/[^/]*")
_UNPRINTABLE = re.compile(r"[^!-~]")
_LONGEST_PATH = 200


class ClientLeftError(Exception):
    """The client has closed its connection."""


class Exchange:
    """A request and its response.

    :ivar path: the client's path, without its query.
    :ivar entry_tier: the tier of the port; empty for none.
    :ivar key: id of the key; empty before it is known.
    :ivar tier: the tier that answers; empty as long as none was asked.
    :ivar refused: code of the gateway's own error; empty for none.
    :ivar ttft: seconds until the first token of a stream; None before it.
    :ivar is_complete: whether the client received the whole response.
    :ivar headers: headers of every response to this request.
    :ivar counter: the events of a stream; None for another response.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self.request = request
        self.began, self.began_wall = time.monotonic(), time.time()
        self.path = request.raw_path.partition("?")[0]
        self.entry_tier = request.headers.get("X-Herd-Entry", "")
        self.client = request.headers.get("X-Real-IP", "")
        given = request.headers.get("X-Request-Id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        self.key = self.tier = self.task = self.model = self.fallback_from = self.engine = self.refused = ""
        self.is_stream = self.is_complete = False
        self.status = self.sent = self.received = 0
        self.ttft: float | None = None
        self.headers: dict[str, str] = {"X-Request-Id": self.id}
        self.counter: EventCounter | None = None
        self.body_tokens = Tokens()

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

    async def begin(self, response: web.StreamResponse) -> None:
        """Send a response's head.

        :raises ClientLeftError: if the client has left.
        """
        response.headers.update(self.headers)
        self.status = response.status
        try:
            await response.prepare(self.request)
        except (ClientError, OSError) as error:
            raise ClientLeftError from error

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send a part of a response's body, and wait while the client reads more slowly.

        :raises ClientLeftError: if the client has left.
        """
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ClientLeftError
        try:
            await response.write(data)
        except (ClientError, OSError) as error:
            raise ClientLeftError from error
        self.sent += len(data)

    async def end(self, response: web.StreamResponse) -> None:
        """Send a response's end.

        :raises ClientLeftError: if the client has left.
        """
        try:
            await response.write_eof()
        except (ClientError, OSError) as error:
            raise ClientLeftError from error

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
        """Send a whole response."""
        response = web.Response(status=status, body=body, headers=headers)
        await self.begin(response)
        await self.end(response)
        self.sent, self.is_complete = len(body), True
        return response
