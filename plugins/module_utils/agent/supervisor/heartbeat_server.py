# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve this node's heartbeat over HTTP to the other nodes."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any

from ...core.supervision import heartbeat

# Linux's value, which Python does not name: bind although the fabric's address may come late at boot.
IP_FREEBIND = 15


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer GET for the heartbeat and reject everything else."""

    protocol_version = "HTTP/1.1"
    # A silent client must not occupy a thread.
    timeout = 2
    server: Server

    def do_GET(self) -> None:
        """Send the last heartbeat."""
        if self.path != heartbeat.PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = self.server.source()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Log no requests: there is one every half second."""


class Server(http.server.ThreadingHTTPServer):
    """Accept connections of the cluster's nodes only, in addition to the unit's address filter."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], source: Callable[[], bytes], clients: Collection[str]) -> None:
        self.source, self.clients = source, frozenset(clients)
        self._room = threading.BoundedSemaphore(32)
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
        """Return whether the client is a node of the cluster and a thread is free."""
        return client_address[0] in self.clients and self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""
