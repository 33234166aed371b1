"""The engine and the clients of the gateway's benchmark: a metronome, and connections that time what they get.

The metronome is a double of an engine: it sends each piece of a stream at a fixed time and writes that time into it. So
the delay of each piece is known, and the engine needs little CPU.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.harness import REASONING_MODEL

#: The metronome's response: seconds before the first piece, seconds between two, number of pieces; and for an
#: unstreamed response.
FIRST_S, PIECE_S, PIECES, WHOLE_S = 0.05, 0.02, 25, 0.1
#: A user's longest pause before the next question, in seconds.
THINK_S = 0.2
#: Pieces that arrive closer together than this count as joined: the metronome sends them ten times as far apart.
JOINED_S = PIECE_S / 10
#: A piece in OpenAI's shape, since other proxies read it; its text is the time at which it was sent.
PIECE = (
    b'data: {"id":"m","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
)
SENT = re.compile(rb'"content": ?"(\d+)"')
WHOLE = (
    b'{"id":"m","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":8,"completion_tokens":2}}'
)


async def tick(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests of one connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /health "):
                # Answers the gateway's health checks as engines do.
                data = b'{"status":"ok"}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(length))
            if not body.get("stream"):
                await asyncio.sleep(WHOLE_S if int(body.get("max_tokens", PIECES)) > 2 else 0)
                data = WHOLE
                kind = b"Content-Type: application/json"
                writer.write(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(data), data))
                continue
            kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
            writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n\r\n")
            due = time.monotonic() + (FIRST_S if int(body.get("max_tokens", PIECES)) > 2 else 0)
            for _each in range(int(body.get("max_tokens", PIECES))):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                piece = PIECE % time.monotonic_ns()
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                due += PIECE_S
            last = b"data: [DONE]\n\n"
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))
            if b"connection: close" in head.lower():
                await writer.drain()
                writer.close()
                return
    except (asyncio.IncompleteReadError, ConnectionError, StopIteration):
        writer.close()


async def metronome(port: int) -> None:
    server = await asyncio.start_server(tick, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@dataclass
class Seen:
    """The times that a client measured for one response, in seconds."""

    status: int
    whole: bool
    total: float
    first: float = 0.0
    delays: list[float] = field(default_factory=list)
    joined: int = 0


class Wire:
    """A connection that stays open."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, tokens: int, stream: bool) -> Seen:
        """Send a request. A lost connection is a failure, since a client must not send a POST twice."""
        began = time.monotonic()
        try:
            return await self._ask(tokens, stream, began)
        except (asyncio.IncompleteReadError, ConnectionError):
            if self.writer:
                self.writer.close()
            return Seen(0, False, time.monotonic() - began)

    async def _ask(self, tokens: int, stream: bool, began: float) -> Seen:
        body = json.dumps(
            {
                "model": REASONING_MODEL,
                "messages": [{"role": "user", "content": "hello"}],
                "max_tokens": tokens,
                "stream": stream,
            }
        ).encode()
        if self.writer is None or self.writer.is_closing() or (self.reader and self.reader.at_eof()):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        status, lower = int(answer[9:12]), answer.lower()
        seen = Seen(status, False, 0.0)
        if b"transfer-encoding: chunked" in lower:
            await self._pieces(seen, began)
        else:
            length = next(int(ln[15:]) for ln in lower.split(b"\r\n") if ln.startswith(b"content-length:"))
            await self.reader.readexactly(length)
            seen.whole = True
        seen.total = time.monotonic() - began
        if b"connection: close" in lower:
            self.writer.close()
        return seen

    async def _pieces(self, seen: Seen, began: float) -> None:
        assert self.reader
        last, rest = 0.0, b""
        while True:
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            now = time.monotonic()
            await self.reader.readexactly(2)
            if not size:
                return
            seen.first = seen.first or now - began
            events, _ends, rest = (rest + data).rpartition(b"\n\n")
            seen.whole = seen.whole or b"data: [DONE]" in events
            for sent in SENT.findall(events):
                seen.delays.append(now - int(sent) / 1e9)
                seen.joined += bool(last and now - last < JOINED_S)
                last = now


async def compare(ports: Sequence[tuple[int, str]], clients: int, seconds: float, stream: bool, tokens: int) -> Any:
    """Let clients ask both addresses in turn."""
    found: list[list[Seen]] = [[] for _each in ports]
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        wires = [Wire(*place) for place in ports]
        turn = number
        # Users do not send their requests in step.
        await asyncio.sleep(THINK_S * number / clients)
        while time.monotonic() < end:
            await asyncio.sleep(random.uniform(0, THINK_S))
            place = turn % len(ports)
            found[place].append(await wires[place].ask(tokens, stream))
            turn += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    return found
