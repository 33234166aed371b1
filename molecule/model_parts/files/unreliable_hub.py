# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of a model hub on a bad day: each part fails once, each in another way.

Serves the files given, laid end to end, as so many byte parts of one file, with ranges. The first answer with
a body of part 1 is cut in the middle; the first request for a body of part 2 is told to come again in a
second; the first answer of part 3 is shorter than it says. Every request is a line of JSON in the log.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import Any

PART = re.compile(r"/[A-Za-z0-9._-]+\.gguf\.part(\d+)of(\d+)")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
CUT, BUSY, SHORT = "cut in the middle", "come again in a second", "shorter than it says"


class Whole:
    """Several files as one, read at any place."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.sizes = [path.stat().st_size for path in paths]
        self.size = sum(self.sizes)

    def read(self, start: int, length: int) -> bytes:
        """Bytes from a place, as many as one file has there."""
        for path, size in zip(self.paths, self.sizes):
            if start < size:
                with path.open("rb") as file:
                    file.seek(start)
                    return file.read(min(length, size - start))
            start -= size
        return b""


class Hub:
    """What is served, which failures are still to come, and the log."""

    def __init__(self, whole: Whole, parts: int, log: Path) -> None:
        self.whole, self.parts, self.log = whole, parts, log
        self.to_come = {1: CUT, 2: BUSY, 3: SHORT}
        self.lock = threading.Lock()
        log.write_text("", encoding="utf-8")

    def part(self, number: int) -> tuple[int, int]:
        """Where a part begins in the whole, and its size."""
        share = -(-self.whole.size // self.parts)
        start = share * (number - 1)
        return start, min(share, self.whole.size - start)

    def fails(self, number: int) -> str:
        """The way in which this request fails, once for each part."""
        with self.lock:
            return self.to_come.pop(number, "")

    def note(self, **facts: Any) -> None:
        """One line in the log."""
        with self.lock, self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    """GET and HEAD of parts."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, hub: Hub, **more: Any) -> None:
        self.hub = hub
        super().__init__(*arguments, **more)

    def do_GET(self) -> None:
        """Send a part, or fail."""
        self._answer("GET")

    def do_HEAD(self) -> None:
        """Say what GET would send."""
        self._answer("HEAD")

    def _answer(self, method: str) -> None:
        found = PART.fullmatch(self.path)
        if not found or int(found[2]) != self.hub.parts or not 1 <= int(found[1]) <= self.hub.parts:
            self.send_error(404)
            return
        number = int(found[1])
        start, size = self.hub.part(number)
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1, size) if asked and asked[2] else size
        # A client that only asks for a byte or two wants to know the part, not to have it.
        failure = self.hub.fails(number) if method == "GET" and end - first > 1 << 20 else ""
        if failure == BUSY:
            self.send_response(503)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.hub.note(client=self.client_address[0], part=number, failure=failure, sent=0)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"part-{number}"')
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        stop = {CUT: first + (end - first) // 2, SHORT: end - 1}.get(failure, end)
        sent = self._send(start + first, start + stop) if method == "GET" else 0
        self.hub.note(client=self.client_address[0], part=number, failure=failure, sent=sent)
        if failure:
            self.close_connection = True

    def _send(self, start: int, stop: int) -> int:
        position = start
        try:
            while position < stop:
                data = self.hub.whole.read(position, min(1 << 20, stop - position))
                self.wfile.write(data)
                position += len(data)
        except OSError:
            self.close_connection = True
        return position - start


def main() -> int:
    """Serve until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    hub = Hub(Whole(arguments.files), arguments.parts, arguments.log)
    with http.server.ThreadingHTTPServer(("10.0.0.9", arguments.port), functools.partial(Handler, hub=hub)) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(os.environ["NOTIFY_SOCKET"])
            channel.sendall(b"READY=1")
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
