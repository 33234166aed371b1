# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve this node's heartbeat to the other nodes, and its metrics to Prometheus, over HTTP."""

from __future__ import annotations

import http.server
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ..common.log import log

#: Most connections at a time: of all clients, and of one, which must not keep the others from the heartbeat.
MOST_CONNECTIONS, MOST_OF_ONE = 32, 8
# Linux's value, which Python does not name: bind although the fabric's address may come late at boot.
IP_FREEBIND = 15


@dataclass(frozen=True)
class Page:
    """What is served at a path.

    :param clients: addresses that may read it.
    """

    content_type: str
    source: Callable[[], bytes]
    clients: Collection[str]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer GET for the pages and reject everything else."""

    protocol_version = "HTTP/1.1"
    # A silent client must not occupy a thread.
    timeout = 2
    server: Server

    def do_GET(self) -> None:
        """Send a page to a client that may read it."""
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        if self.client_address[0] not in page.clients:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        try:
            body = page.source()
        except Exception as error:
            # The other pages go on.
            log(f"{self.path} cannot be written: {type(error).__name__}: {error}")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Log no requests: there is one every half second."""


class Server(http.server.ThreadingHTTPServer):
    """Accept connections of the pages' clients only, in addition to the unit's address filter."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.clients = frozenset(client for page in pages.values() for client in page.clients)
        self._connections: Counter[str] = Counter()
        self._lock = threading.Lock()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind also to an address that the host does not have yet."""
        self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        # The base class would resolve the address's name, which may hang at boot.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the client may read a page and a thread is free."""
        client = client_address[0]
        with self._lock:
            has_room = sum(self._connections.values()) < MOST_CONNECTIONS and self._connections[client] < MOST_OF_ONE
            if client not in self.clients or not has_room:
                return False
            self._connections[client] += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections[client_address[0]] -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""
