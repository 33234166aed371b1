# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send the requests of a benchmark, and note when each part of their answers arrives (aiohttp).

All clients share one event loop: 64 streams of threads would spend more time on switching than on reading. An endpoint
is not trusted: its lines, its answers and its silence are bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.benchmark.requests.request_timing import RequestTiming
from ...core.benchmark.requests.stream_reader import StreamReader, error_text
from ...core.errors import RemoteFailureError
from ..engine import pinned_tls

try:
    import aiohttp

    AIOHTTP_ERROR: str | None = None
except ImportError as error:
    AIOHTTP_ERROR = str(error)

_CHAT, _MODELS = "/v1/chat/completions", "/v1/models"
_LONGEST_LINE = 1 << 20
_LARGEST_ANSWER = 1 << 20
#: Bytes of the longest stream: 1 MiB of tokens with 1 KiB of JSON each.
_LONGEST_STREAM = 1 << 30
_CONNECT_S = 10.0
_OK = 200
_REMEDY = "correct the benchmark's endpoint, or start the service"


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible API.

    :ivar url: address without a path, such as C(https://herd.example:8443).
    :ivar key: API key; empty for none.
    :ivar certificate: the only trusted certificate, in PEM; empty for the system's.
    """

    url: str
    key: str = ""
    certificate: str = ""

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def tls(self) -> ssl.SSLContext | bool:
        return pinned_tls.context(self.certificate) if self.certificate else True


class LoadClient:
    """Sends requests to one endpoint.

    :param timeout_s: longest silence of the endpoint, in seconds.
    :param clock: returns seconds that never go back.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._clock = clock

    def models(self) -> list[str]:
        """Return the names of the models that the endpoint offers.

        :raises RemoteFailureError: without an answer, or if it is no list of models.
        """
        return asyncio.run(self._in_session(self._models))

    def run(
        self, clients: Sequence[Sequence[Mapping[str, Any]]], answered: Callable[[], None] = lambda: None
    ) -> list[RequestTiming]:
        """Send requests, and return their times in the order of the clients.

        :param clients: for each client, the bodies that it sends one after the other. All clients start together.
        :param answered: called after each response, such as for progress.
        """

        return asyncio.run(self.run_in_loop(clients, answered))

    async def run_in_loop(
        self, clients: Sequence[Sequence[Mapping[str, Any]]], answered: Callable[[], None] = lambda: None
    ) -> list[RequestTiming]:
        """Do what C(run) does within a running event loop."""

        async def all_clients(session: aiohttp.ClientSession) -> list[RequestTiming]:
            async def one(bodies: Sequence[Mapping[str, Any]]) -> list[RequestTiming]:
                made = []
                for body in bodies:
                    made.append(await self._stream(session, body))
                    answered()
                return made

            return [timing for made in await asyncio.gather(*map(one, clients)) for timing in made]

        found: list[RequestTiming] = await self._in_session(all_clients)
        return found

    async def _in_session(self, work: Callable[[aiohttp.ClientSession], Any]) -> Any:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._timeout_s)
        # llama-server closes a connection after a stream without saying so. A request that reuses it would fail.
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=self._endpoint.tls())
        async with aiohttp.ClientSession(
            self._endpoint.url,
            headers=self._endpoint.headers(),
            timeout=timeout,
            connector=connector,
            read_bufsize=_LONGEST_LINE,
            trust_env=False,
        ) as session:
            return await work(session)

    async def _models(self, session: aiohttp.ClientSession) -> list[str]:
        try:
            async with session.get(_MODELS, allow_redirects=False) as response:
                body = await response.content.read(_LARGEST_ANSWER)
                if response.status != _OK:
                    raise RemoteFailureError.plain(
                        f"{self._endpoint.url}{_MODELS} answers {error_text(response.status, body)}", _REMEDY
                    )
                listed = _json(body)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise RemoteFailureError.plain(f"{self._endpoint.url}{_MODELS}: {_reason(error)}", _REMEDY) from error
        rows = listed.get("data") if isinstance(listed, dict) else None
        names = [row["id"] for row in rows or () if isinstance(row, dict) and isinstance(row.get("id"), str)]
        if not names:
            raise RemoteFailureError.plain(f"{self._endpoint.url}{_MODELS} lists no model", _REMEDY)
        return names

    async def _stream(self, session: aiohttp.ClientSession, body: Mapping[str, Any]) -> RequestTiming:
        reader = StreamReader(self._clock())
        error = ""
        try:
            async with session.post(_CHAT, json=dict(body), allow_redirects=False) as response:
                if response.status != _OK:
                    error = error_text(response.status, await response.content.read(_LARGEST_ANSWER))
                else:
                    received = 0
                    async for line in response.content:
                        reader.feed(line, self._clock())
                        received += len(line)
                        if received > _LONGEST_STREAM:
                            error = "the stream is longer than 1 GiB"
                            break
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as failure:
            error = _reason(failure)
        return reader.timing(self._clock(), error)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _reason(error: BaseException) -> str:
    """Return the reason of a failed connection without addresses, so that equal failures count as one."""
    if isinstance(error, asyncio.TimeoutError):
        return "the endpoint is silent"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"no connection ({os.strerror(number) if number else type(error.os_error).__name__})"
    return f"the connection failed ({type(error).__name__})"
