# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain bytes to the gateway and back, for requests that no library would send, and doubles of engines."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tests.gateway.harness import ENGINE_KEY, REASONING_MODEL, Engine, Gateway, other_host_addresses, wait_for

KEY = "Authorization: Bearer herd-key-of-ann"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def json_answer(data: Any, status: bytes = b"200 OK") -> bytes:
    """Write an engine's whole answer."""
    body = json.dumps(data).encode()
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


def raw(made: Gateway, data: bytes, tier: str = "fast", limit: float = 10) -> bytes:
    """Send these very bytes, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", made.ports[tier]), timeout=limit) as wire:
        found = b""
        with suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
            wire.sendall(data)
        with suppress(TimeoutError, ConnectionResetError):
            while piece := wire.recv(65536):
                found += piece
        return found


def request(path: str, *headers: str, body: bytes = b"", method: str = "POST") -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", *headers]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def slots(engine: Engine) -> list[dict[str, Any]]:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{engine.port}/slots", headers={"Authorization": f"Bearer {ENGINE_KEY}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return list(json.load(answer))


def is_busy(engine: Engine) -> bool:
    return any(slot["is_processing"] for slot in slots(engine))


def line_of(made: Gateway, identity: str | None) -> dict[str, Any]:
    """Return the access log's line of a request."""
    assert identity
    wait_for(lambda: any(line["id"] == identity for line in made.access()), "the line of the log")
    return next(line for line in made.access() if line["id"] == identity)


def in_flight(made: Gateway) -> dict[str, float]:
    """Return the number of requests that each tier answers at present."""
    with urllib.request.urlopen(made.url(path="/metrics"), timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("herd_gateway_in_flight{"))
    return {labels.split('tier="')[1].split('"')[0]: float(value) for labels, _blank, value in pairs}


def read_request(wire: socket.socket) -> bytes:
    """Read a whole request; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = wire.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _blank, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head.lower())
    pieces, left = [body], int(found[1]) - len(body) if found else 0
    while left > 0 and (piece := wire.recv(1 << 20)):
        pieces.append(piece)
        left -= len(piece)
    return head + b"\r\n\r\n" + b"".join(pieces)


@contextmanager
def double(
    answer: Callable[[socket.socket], None], heard: Callable[[bytes], None] = lambda _request: None
) -> Iterator[int]:
    """Run a double of an engine, for what no real one does: it hears each request, and answers it in this way."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server, ExitStack() as wires:

        def serve(wire: socket.socket) -> None:
            with suppress(OSError):
                while request := read_request(wire):
                    heard(request)
                    answer(wire)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    wire = wires.enter_context(server.accept()[0])
                    threading.Thread(target=serve, args=(wire,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)


@contextmanager
def instead(made: Gateway, answer: Callable[[socket.socket], None], tier: str = "reasoning") -> Iterator[int]:
    """Replace the engine of a tier by a double. The fixture of the engines puts the former one back."""
    with double(answer) as port:
        made.ready(tier, port, [REASONING_MODEL] if tier == "reasoning" else [], job="41", slots=1000)
        yield port


@contextmanager
def other_host() -> Iterator[tuple[str, Callable[..., list[str]]]]:
    """A network namespace as another host, with a cable between: its address, and how a command is run there.

    Names and addresses are this process's own, since another one may run the same test.
    """
    name, cable = f"herd-gw-{os.getpid()}", f"gw{os.getpid()}"
    here, there = other_host_addresses()

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"

    ip("netns", "add", name)
    try:
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", cable)
        ip("link", "set", cable, "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{there}/30", "dev", "eth0")):
            ip("-n", name, *words)
        ip("-n", name, "link", "set", "eth0", "up")
        yield there, lambda *words: ["ip", "netns", "exec", name, *words]
    finally:
        ip("netns", "del", name)
