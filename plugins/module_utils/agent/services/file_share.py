# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve named files to named clients on the fabric for a limited time.

A node that has a release or a model gives it to the others. The server lists nothing, writes nothing and serves only
the named files. Clients verify them against a checksum that came over ssh, so they need not trust the server.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import ipaddress
import os
import re
import threading
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from ...core.errors import InvalidInputError, NotFoundError
from ..common.systemd_notify import notify

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def wanted_bytes(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a C(Range) and the byte after its last (RFC 9110, 14.2).

    :returns: the whole file if the header is not one range of bytes, as the RFC allows; None if the range is outside
        the file.
    """
    found = RANGE.fullmatch(header.strip())
    if not found or found.group(0) == "bytes=-":
        return 0, size
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < end else None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer GET and HEAD for the named files, whole or in part."""

    # Keep connections alive: a client fetches a model in many ranges.
    protocol_version = "HTTP/1.1"
    # A client that lost power must not occupy a thread forever.
    timeout = 60

    def __init__(self, *arguments: Any, root: Path, names: Collection[str], **more: Any) -> None:
        self.root, self.names = root, names
        super().__init__(*arguments, **more)

    def do_GET(self) -> None:
        """Send a file or a part of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Send the headers of a GET."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        name = unquote(self.path.partition("?")[0]).lstrip("/")
        if name not in self.names:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            with (self.root / name).open("rb") as file:
                self._send(file, with_body)
        except FileNotFoundError:
            self.send_error(HTTPStatus.NOT_FOUND)
        except PermissionError:
            self.send_error(HTTPStatus.FORBIDDEN)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _send(self, file: IO[bytes], with_body: bool) -> None:
        facts = os.fstat(file.fileno())
        tag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
        asked = self.headers.get("Range", "")
        # If the condition fails, send the whole file (RFC 9110, 13.1.5).
        if self.headers.get("If-Range", tag) != tag:
            asked = ""
        span = wanted_bytes(asked, facts.st_size) if asked else (0, facts.st_size)
        if span is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{facts.st_size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, end = span
        if end - first < facts.st_size:
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{facts.st_size}")
        else:
            self.send_response(HTTPStatus.OK)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if with_body and end > first:
            self.wfile.flush()
            self.connection.sendfile(file, first, end - first)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log no successful request: a model is hundreds of ranges. Errors are logged by C(log_error)."""


class Server(http.server.ThreadingHTTPServer):
    """Accept connections of the named clients only, in addition to the unit's address filter."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any, clients: Collection[str]) -> None:
        self.clients = clients
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the client is one of the named ones."""
        return client_address[0] in self.clients


def share_command(arguments: argparse.Namespace) -> int:
    """Serve until the time is up or systemd stops the service."""
    root = Path(arguments.root)
    for name in arguments.name:
        if "/" in name or name.startswith("."):
            raise InvalidInputError("the plain name of a file", repr(name), "give its folder with --root")
        if not (root / name).is_file():
            raise NotFoundError(f"a file {name} in {root}", "no such file", "name existing files")
    try:
        clients = {str(ipaddress.IPv4Address(client)) for client in arguments.client}
    except ValueError as error:
        raise InvalidInputError("IPv4 addresses of clients", str(error), "give addresses, not names") from error
    handler = functools.partial(Handler, root=root, names=frozenset(arguments.name))
    with Server((arguments.address, arguments.port), handler, clients) as server:
        # End by itself: systemd would count its own limit as a failure.
        end = threading.Timer(arguments.seconds, server.shutdown)
        end.daemon = True
        end.start()
        notify("READY=1", is_repeated=False)
        server.serve_forever()
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl share-files)."""
    serve = commands.add_parser(
        "share-files",
        description="Serve files of one folder over HTTP, with ranges, until the time is up.",
    )
    serve.add_argument("--address", required=True, help="IPv4 address to listen on")
    serve.add_argument("--port", type=int, required=True)
    serve.add_argument("--root", required=True, help="the folder")
    serve.add_argument("--name", action="append", required=True, help="a file in it; repeatable")
    serve.add_argument("--client", action="append", required=True, help="IPv4 address of a client; repeatable")
    serve.add_argument("--seconds", type=int, required=True, help="how long to serve")
    serve.set_defaults(run=share_command)
