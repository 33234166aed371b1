# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test double of an engine that breaks HTTP, or the API, in the way that a request names.

One server has all behaviours. The field C(behaviour) of a request's body names one, and the engine then writes exactly
the bytes of that behaviour. Health checks get a proper answer.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

#: A text that no header and no status line of an answer may ever have.
SMUGGLED = "smuggled"
_WORDS = ("Hi", " there", "!")
EVENTS = [
    *(
        b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}).encode()
        for word in _WORDS
    ),
    b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":3,"total_tokens":11}}\n\n',
    b"data: [DONE]\n\n",
]
WHOLE_JSON = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi there!"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11},
    }
).encode()
#: What the user of a request may get. Whole: the payload, and nothing else. Error: another status than 200. Cut: a
#: response that its client takes for incomplete.
WHOLE, ERROR, CUT = "whole", "error", "cut"
BROKEN = frozenset({ERROR, CUT})
ANY = frozenset({WHOLE, ERROR, CUT})
#: Most bytes that an endless behaviour sends, if nobody stops it.
MOST = 256 << 20


@dataclass
class Exchange:
    """One request, and the wire for its answer.

    :ivar is_stream: whether the request asked for a stream.
    """

    wire: socket.socket
    is_stream: bool

    @property
    def payload(self) -> bytes:
        """Return a proper body of the kind that was asked for."""
        return b"".join(EVENTS) if self.is_stream else WHOLE_JSON

    @property
    def content_type(self) -> bytes:
        return b"Content-Type: text/event-stream" if self.is_stream else b"Content-Type: application/json"

    def send(self, *pieces: bytes) -> None:
        self.wire.sendall(b"".join(pieces))

    def head(self, *fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> None:
        """Send a head of the right content type with more fields."""
        self.send(b"\r\n".join([line, self.content_type, *fields, b"", b""]))

    def chunked_head(self, *fields: bytes) -> None:
        self.head(b"Transfer-Encoding: chunked", *fields)

    def answer(self, *fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes | None = None) -> None:
        """Send a whole, proper answer with these fields."""
        body = self.payload if body is None else body
        self.head(b"Content-Length: %d" % len(body), *fields, line=line)
        self.send(body)

    def chunked(self, *pieces: bytes, head: bool = True) -> None:
        """Send a proper answer in these chunks."""
        if head:
            self.chunked_head()
        self.send(*map(chunk, pieces), b"0\r\n\r\n")

    def endless(self, piece: bytes, pause: float = 0.0) -> None:
        """Send a piece again and again until the gateway ends it."""
        for _each in range(MOST // len(piece)):
            self.send(piece)
            time.sleep(pause)

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wire.close()


@dataclass(frozen=True)
class Behaviour:
    """What the engine does, and what may come of it.

    :ivar outcomes: what the user may get.
    :ivar leaves: whether only the user's leaving ends it, since an engine may take its time.
    :ivar is_slow: whether the gateway ends it only after a time without progress.
    """

    write: Callable[[Exchange], None]
    outcomes: frozenset[str]
    leaves: bool = False
    is_slow: bool = False


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(
    *outcomes: str, leaves: bool = False, is_slow: bool = False
) -> Callable[[Callable[[Exchange], None]], Callable[[Exchange], None]]:
    """Register a function as the behaviour of its name. Without outcomes, the answer must never look whole."""

    def register(write: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
        BEHAVIOURS[write.__name__] = Behaviour(write, frozenset(outcomes) or BROKEN, leaves, is_slow)
        return write

    return register


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@dataclass
class HostileEngine:
    """The running double.

    :ivar asked: how often each mark of a request (the field C(mark) of its body) has come.
    """

    port: int
    asked: Counter[str] = field(default_factory=Counter)

    def serve(self, wire: socket.socket) -> None:
        """Answer the requests of one connection."""
        with suppress(OSError, ValueError), wire:
            while head := _read_head(wire):
                lines = head.lower().split(b"\r\n")
                if head.startswith(b"GET "):
                    wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"status":"ok"}')
                    continue
                length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                body = _read_body(wire, length)
                self.asked[str(body.get("mark"))] += 1
                found = BEHAVIOURS.get(str(body.get("behaviour")))
                exchange = Exchange(wire, bool(body.get("stream")))
                if found is None:
                    exchange.answer(body=_echo(body, exchange.is_stream))
                    continue
                found.write(exchange)
                return


def _read_head(wire: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = wire.recv(1)
        if not piece:
            return b""
        head += piece
    return head


def _read_body(wire: socket.socket, length: int) -> dict[str, Any]:
    data = b""
    while len(data) < length:
        piece = wire.recv(1 << 16)
        if not piece:
            raise ConnectionError
        data += piece
    return dict(json.loads(data))


def _echo(body: dict[str, Any], is_stream: bool) -> bytes:
    """Make the answer to a request without a behaviour: its own mark, so that a mixed-up answer shows."""
    mark = json.dumps({"choices": [], "mark": body.get("mark")}).encode()
    return b"data: %s\n\ndata: %s\n\ndata: [DONE]\n\n" % (mark, mark) if is_stream else mark


@contextmanager
def hostile_engine() -> Iterator[HostileEngine]:
    """Run the double."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server, ExitStack() as wires:
        engine = HostileEngine(int(server.getsockname()[1]))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    wire = wires.enter_context(server.accept()[0])
                    threading.Thread(target=engine.serve, args=(wire,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield engine
        server.shutdown(socket.SHUT_RDWR)
