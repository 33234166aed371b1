# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real web server on loopback that serves bytes and fails as a test requires."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 64 << 10


@dataclass
class Served:
    """One path of the server.

    :ivar failures: responses before the first good one: (status, headers).
    :ivar cuts: bytes after which the connection is closed, one entry for each response.
    :ivar location: target of a redirect.
    :ivar pause: seconds after each piece.
    :ivar piece: bytes of one write.
    :ivar dies_after: total bytes after which every connection breaks.
    :ivar act: receives the handler of each request first; returns True if it has answered.
    """

    data: bytes = b""
    etag: str | None = '"one"'
    ranges: bool = True
    length: bool = True
    head: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    location: str | None = None
    token: str | None = None
    pause: float = 0.0
    piece: int = PIECE
    dies_after: int | None = None
    act: Callable[[Any], bool] | None = None
    sent: int = 0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ModelServer

    def setup(self) -> None:
        super().setup()
        self.owner.connections += 1

    def log_message(self, *args: Any) -> None:
        del args

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.owner.requests.append(
            Request(self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization"))
        )
        served = self.owner.files.get(self.path)
        if served is not None and served.act is not None and served.act(self):
            return
        if served is None:
            self.plain(404)
        elif served.token and self.headers.get("Authorization") != f"Bearer {served.token}":
            self.plain(401)
        elif not body and not served.head:
            self.plain(405)
        elif served.failures:
            self.plain(*served.failures.pop(0))
        elif served.location:
            self.plain(302, {**served.headers, "Location": served.location})
        else:
            self.content(served, body)

    def plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def content(self, served: Served, body: bool) -> None:
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        data = served.data
        if match and served.ranges:
            start = int(match[1])
            data = data[start : int(match[2]) + 1 if match[2] else None]
            self.send_response(206)
            last = start + len(data) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(served.data)}")
        else:
            self.send_response(200)
        for name, value in served.headers.items():
            self.send_header(name, value)
        if served.etag:
            self.send_header("ETag", served.etag)
        if served.length:
            self.send_header("Content-Length", str(len(data)))
        else:
            self.close_connection = True
        self.end_headers()
        if body:
            self.body(served, data)

    def body(self, served: Served, data: bytes) -> None:
        cut = served.cuts.pop(0) if served.cuts else None
        if cut is not None:
            data = data[:cut]
            self.close_connection = True
        for at in range(0, len(data), served.piece):
            piece = data[at : at + served.piece]
            with self.owner.counting:
                if served.dies_after is not None:
                    piece = piece[: max(0, served.dies_after - served.sent)]
                    is_cut = len(piece) < len(data[at : at + served.piece])
                    self.close_connection = self.close_connection or is_cut
                self.owner.sent += len(piece)
                served.sent += len(piece)
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return
            if self.close_connection and served.dies_after is not None and served.sent >= served.dies_after:
                return
            self.owner.on_sent(self.owner.sent)
            if served.pause:
                time.sleep(served.pause)


class TlsServer(ThreadingHTTPServer):
    """Read what the client still sends after a failed handshake.

    A close with unread bytes is a reset, which can overtake the alert that names the cause.
    """

    tls: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        connection.settimeout(60)
        secured = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        try:
            secured.do_handshake()
        except OSError:
            with contextlib.suppress(OSError), socket.socket(fileno=secured.detach()) as plain:
                plain.settimeout(60)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(1 << 16):
                    pass
            raise
        secured.settimeout(None)
        return secured, peer


class ModelServer:
    """The files, and the requests so far."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.sent = 0
        self.counting = threading.Lock()
        self.on_sent: Callable[[int], None] = lambda total: None
        handler = type("OwnedHandler", (Handler,), {"owner": self})
        if tls is None:
            self._server = ThreadingHTTPServer((address, 0), handler)
        else:
            self._server = type("OwnedTlsServer", (TlsServer,), {"tls": tls})((address, 0), handler)
        self._server.daemon_threads = True
        self.address = address
        self.port = self._server.server_address[1]

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{host or self.address}:{self.port}{path}"

    def asked(self, method: str, path: str | None = None) -> list[Request]:
        return [asked for asked in self.requests if asked.method == method and path in (None, asked.path)]

    @contextmanager
    def running(self) -> Iterator[ModelServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
