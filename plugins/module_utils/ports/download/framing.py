# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that bound what a server may send around the content of a response (http.client, urllib3).

http.client bounds the length of a line and the number of headers. It bounds neither interim responses and trailers, nor
the time of a line that arrives byte by byte. Before Python 3.12, it does not bound the headers of a proxy either.
"""

from __future__ import annotations

import http.client
import time
from contextlib import suppress
from typing import Any

with suppress(ImportError):
    import requests.adapters

#: Most bytes of status lines, headers, chunk sizes and trailers without a byte of content between them.
LONGEST_FRAMING = 1 << 18
#: Most interim responses before a response; servers send one or two.
MOST_INTERIM = 64
#: Timeouts of the socket that these bytes may take.
SLOWEST_FRAMING = 2


class NoTunnelError(OSError):
    """A proxy has answered CONNECT with 200, and bytes of its own follow: a client speaks first in TLS."""


class BoundedReader:
    """A buffered reader of a socket that limits the bytes and the time of lines.

    Content has no limit here. Each read of content begins the limits anew.

    :param timeout: seconds without a byte that the socket allows; None for no limit of time.
    :ivar unread: bytes that had arrived behind the last line.
    """

    def __init__(self, reader: Any, timeout: float | None) -> None:
        self._reader = reader
        self._longest = None if timeout is None else SLOWEST_FRAMING * timeout
        self._size = 0
        self._began: float | None = None
        self.unread = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def readline(self, limit: int) -> bytes:
        """Read a line.

        :raises http.client.HTTPException: if the lines since the last content are too long.
        :raises TimeoutError: if they take too long.
        """
        self._began = time.monotonic() if self._began is None else self._began
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n"):
            # Each peek waits for one packet at most.
            arrived = self._reader.peek(1)
            waiting = arrived[: limit - len(line)]
            if not waiting:
                break
            piece = self._reader.read(waiting.find(b"\n") + 1 or len(waiting))
            self.unread = len(arrived) - len(piece)
            line += piece
            if self._longest is not None and time.monotonic() - self._began > self._longest:
                raise TimeoutError(f"no content in {self._longest:.0f} s")
        self._size += len(line)
        if self._size > LONGEST_FRAMING:
            raise http.client.HTTPException(f"more than {LONGEST_FRAMING} bytes without content")
        return bytes(line)

    def read(self, size: int | None = -1) -> bytes:
        self._restart()
        data: bytes = self._reader.read(size)
        return data

    def read1(self, size: int = -1) -> bytes:
        self._restart()
        data: bytes = self._reader.read1(size)
        return data

    def readinto(self, buffer: Any) -> int:
        self._restart()
        size: int = self._reader.readinto(buffer)
        return size

    def _restart(self) -> None:
        self._size = 0
        self._began = None


class BoundedResponse(http.client.HTTPResponse):
    """A response whose lines are bounded, and whose interim responses are skipped."""

    def __init__(self, sock: Any, *args: Any, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        # A socket of pyOpenSSL does not tell its timeout.
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        self.reader = BoundedReader(self.fp, timeout)
        self.fp: Any = self.reader

    def _read_status(self) -> tuple[str, int, str]:
        # http.client itself skips only the status 100.
        parent: Any = super()
        for _interim in range(MOST_INTERIM):
            version, status, reason = parent._read_status()
            if not http.client.SWITCHING_PROTOCOLS < status < http.client.OK:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException(f"more than {MOST_INTERIM} interim responses")


class _TunnelCheck:
    """A connection that refuses bytes behind a proxy's answer to CONNECT. They would be lost, and TLS would fail."""

    response_class: Any = BoundedResponse

    def _tunnel(self) -> None:
        answers: list[BoundedResponse] = []

        def recorded(*args: Any, **named: Any) -> BoundedResponse:
            answers.append(BoundedResponse(*args, **named))
            return answers[-1]

        self.response_class = recorded
        try:
            parent: Any = super()
            parent._tunnel()
        finally:
            self.response_class = BoundedResponse
        if answers and answers[-1].reader.unread:
            raise NoTunnelError("bytes behind the answer to CONNECT")


def adapter(connections: int) -> Any:
    """Make a transport of requests with such connections.

    :param connections: number of connections to keep alive.
    """
    return _Adapter(pool_maxsize=connections)


with suppress(NameError):

    class _Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **named: Any) -> None:
            super().init_poolmanager(*args, **named)
            _bound(self.poolmanager)

        def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
            is_new = proxy not in self.proxy_manager
            manager = super().proxy_manager_for(proxy, **named)
            if is_new:
                _bound(manager)
            return manager


def _bound(manager: Any) -> None:
    """Give the pools of a manager (urllib3) connections with bounded responses."""
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded(pool) for scheme, pool in pools.items()}


def _bounded(pool: Any) -> Any:
    connection = type("BoundedConnection", (_TunnelCheck, pool.ConnectionCls), {})
    return type("BoundedPool", (pool,), {"ConnectionCls": connection})
