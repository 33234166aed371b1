"""Measure the latency that the gateway adds to an engine, and write the figures as JSON and as a page.

    .venv/bin/python bench/gateway.py [--seconds 10] [--requests 10000]

Each client asks directly and through the gateway in turn, so that both see the same machine. There are two engines.
The metronome is a double: it sends each piece of a stream at a fixed time and writes that time into it. So the delay of
each piece is known, and the engine needs little CPU. The other one is the real engine with a tiny model. Then engines
change under load, and the memory of the gateway's processes is measured over many requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from bench.gateway_page import page
from tests.engine.flag_runs import free_port, listens
from tests.gateway.harness import ENGINE_KEY, REASONING_MODEL, Gateway, gateway, nginx_program, wait_for
from tests.models import lab_model

RESULTS = ROOT / "bench" / "results" / "gateway.json"
PAGE = ROOT / "docs" / "reference" / "gateway-speed.md"
CLIENTS = (1, 8, 32)
KEY = "herd-key-of-ann"
#: The metronome's response: seconds before the first piece, seconds between two, number of pieces; and for an
#: unstreamed response.
FIRST_S, PIECE_S, PIECES, WHOLE_S = 0.05, 0.02, 25, 0.1
#: A user's longest pause before the next question, in seconds.
THINK_S = 0.2
#: Pieces that arrive closer together than this count as joined: the metronome sends them ten times as far apart.
JOINED_S = PIECE_S / 10


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# The metronome


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
                data = b'{"object":"chat.completion","choices":[]}'
                kind = b"Content-Type: application/json"
                writer.write(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(data), data))
                continue
            kind = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
            writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n\r\n")
            due = time.monotonic() + (FIRST_S if int(body.get("max_tokens", PIECES)) > 2 else 0)
            for _each in range(int(body.get("max_tokens", PIECES))):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                piece = b"data: %d\n\n" % time.monotonic_ns()
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


def start_metronome(made: Gateway) -> int:
    """Start a metronome in its own process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "--metronome", str(port)])
    made.stack.callback(process.wait)
    made.stack.callback(process.kill)
    wait_for(lambda: listens(port), "the metronome")
    return port


# The client


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
        last = 0.0
        while True:
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            now = time.monotonic()
            await self.reader.readexactly(2)
            if not size:
                return
            seen.first = seen.first or now - began
            seen.whole = data.endswith(b"data: [DONE]\n\n")
            # The end marker arrives with the last piece and does not count as one.
            for event in data.split(b"\n\n"):
                if event[6:].isdigit():
                    seen.delays.append(now - int(event[6:]) / 1e9)
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


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def differences(direct: Sequence[Seen], through: Sequence[Seen], stream: bool) -> dict[str, Any]:
    """Return the added latency in milliseconds."""

    def both(pick: Callable[[Seen], float]) -> dict[str, float]:
        one, other = median(list(map(pick, direct))), median(list(map(pick, through)))
        return {"direct_ms": ms(one), "gateway_ms": ms(other), "added_ms": ms(other - one)}

    result: dict[str, Any] = {
        "requests": [len(direct), len(through)],
        "failed": [sum(s.status != 200 or not s.whole for s in seen) for seen in (direct, through)],
        "total": both(lambda seen: seen.total),
    }
    if stream:
        result["ttft"] = both(lambda seen: seen.first)
        delays = [sorted(d for seen in place for d in seen.delays) for place in (direct, through)]
        if all(delays):
            result["piece"] = {
                "direct_ms": ms(median(delays[0])),
                "gateway_ms": ms(median(delays[1])),
                "added_ms": ms(median(delays[1]) - median(delays[0])),
                "added_p99_ms": ms(delays[1][int(len(delays[1]) * 0.99)] - delays[0][int(len(delays[0]) * 0.99)]),
                "joined": [sum(seen.joined for seen in place) for place in (direct, through)],
                "pieces": [len(place) for place in delays],
            }
    return result


def ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


# The parts of the measurement


def settle(made: Gateway, port: int, job: str) -> None:
    made.ready("reasoning", port, [REASONING_MODEL], job=job)
    wait_for(lambda: made.knows("reasoning", port), "nginx told")
    time.sleep(1)


BARE = """daemon off; worker_processes 2; pid {root}/bare.pid; error_log {root}/bare.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {root}/bare-body; proxy_temp_path {root}/bare-proxy; fastcgi_temp_path {root}/bare-fastcgi;
    uwsgi_temp_path {root}/bare-uwsgi; scgi_temp_path {root}/bare-scgi; access_log off;
    upstream engine {{ server 127.0.0.1:{engine}; keepalive 64; }}
    server {{ listen 127.0.0.1:{port}; location / {{
        proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }} }}
}}
"""


def bare_nginx(made: Gateway, engine: int) -> int:
    """Start a plain nginx in front of one engine, as a site without the gateway would."""
    port = free_port()
    path = made.root / f"bare-{port}.conf"
    path.write_text(BARE.format(root=made.root, engine=engine, port=port), encoding="utf-8")
    process = subprocess.Popen([nginx_program(), "-c", str(path)])
    made.stack.callback(process.wait)
    made.stack.callback(process.terminate)
    wait_for(lambda: listens(port), "nginx alone")
    return port


def added(made: Gateway, port: int, key: str, seconds: float, tokens: int) -> dict[str, Any]:
    """Measure the added latency with one engine, for each number of clients."""
    places = [(port, key), (made.ports["reasoning"], KEY), (bare_nginx(made, port), key)]
    result: dict[str, Any] = {}
    for clients in CLIENTS:
        for stream in (True, False):
            asyncio.run(compare(places, clients, 1.0, stream, tokens))
            # One client alone makes few requests.
            long = seconds * (5 if clients == 1 else 1)
            direct, through, bare = asyncio.run(compare(places, clients, long, stream, tokens))
            name = f"{clients} {'streams' if stream else 'in one piece'}"
            result[name] = {**differences(direct, through, stream), "bare_nginx": differences(direct, bare, stream)}
            say(f"{name}: {json.dumps(result[name])}")
    return result


def changes(made: Gateway, seconds: float) -> dict[str, Any]:
    """Move the tier from one engine to the other under load."""
    ports = [start_metronome(made), start_metronome(made)]
    settle(made, ports[0], "1")
    moved: list[float] = []

    async def mover() -> None:
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            await asyncio.sleep(1.5)
            turn += 1
            target = ports[turn % 2]
            began = time.monotonic()
            made.ready("reasoning", target, [REASONING_MODEL], job=str(1 + turn))
            while not made.knows("reasoning", target):
                await asyncio.sleep(0.01)
            moved.append(time.monotonic() - began)

    async def both() -> list[list[list[Seen]]]:
        asks: list[Awaitable[Any]] = [
            compare([(made.ports["reasoning"], KEY)], 8, seconds, stream, PIECES) for stream in (True, False)
        ]
        return list(await asyncio.gather(*asks, mover()))[:2]

    seen = [answer for places in asyncio.run(both()) for place in places for answer in place]
    return {
        "requests": len(seen),
        "failed": sum(answer.status != 200 or not answer.whole for answer in seen),
        "changes": len(moved),
        "longest_change_s": round(max(moved), 2),
    }


def memory(made: Gateway) -> dict[str, float]:
    """Return the resident MiB of the gateway's processes, by name."""
    found: dict[str, float] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = (path / "status").read_text(encoding="utf-8")
            parent = status.split("\nPPid:\t", 1)[1].split("\n", 1)[0]
        except OSError:
            continue
        master = (made.root / "nginx.pid").read_text(encoding="utf-8").strip()
        is_gateway = f"{made.root}/herd" in line and " gateway " in line
        if is_gateway or parent == master:
            size = status.split("\nVmRSS:", 1)[1].split()[0]
            name = "gateway" if is_gateway else "nginx"
            found[name] = max(found.get(name, 0.0), int(size) / 1024)
    return {name: round(size, 1) for name, size in sorted(found.items())}


def flat(made: Gateway, requests: int) -> dict[str, Any]:
    """Measure the memory over many requests, half of them streams."""
    port = start_metronome(made)
    settle(made, port, "90")

    async def some(count: int) -> int:
        left = iter(range(count))
        failed = 0

        async def client(number: int) -> None:
            nonlocal failed
            wire = Wire(made.ports["reasoning"], KEY)
            for each in left:
                seen = await wire.ask(2, each % 2 == 0)
                failed += seen.status != 200 or not seen.whole

        await asyncio.gather(*(client(number) for number in range(16)))
        return failed

    steps = [{"requests": 0, **memory(made)}]
    failed = asyncio.run(some(1000))
    steps.append({"requests": 1000, **memory(made)})
    for done in range(requests // 4, requests + 1, requests // 4):
        failed += asyncio.run(some(requests // 4))
        steps.append({"requests": 1000 + done, **memory(made)})
        say(json.dumps(steps[-1]))
    grown = {name: round(steps[-1][name] - steps[1][name], 1) for name in ("gateway", "nginx")}
    return {"failed": failed, "mib": steps, "grown_after_first_thousand_mib": grown}


def real_engine(made: Gateway) -> int:
    """Start the real engine with a tiny model."""
    folder = lab_model.cached(lab_model.TINY)
    model = made.root / "tiny.gguf"
    model.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.glob("*.part*"))))
    return made.engine("", "-m", str(model), "--alias", REASONING_MODEL, "-np", "32", "-c", "8192").port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of clients")
    parser.add_argument("--requests", type=int, default=10000, help="for the look at the memory")
    parser.add_argument("--metronome", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--no-record", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if arguments.metronome:
        asyncio.run(metronome(arguments.metronome))
        return
    root = Path(tempfile.mkdtemp(prefix="herd-bench-", dir="/tmp"))
    try:
        with gateway(root) as made:
            figures: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}}
            told = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
            figures["machine"]["nginx"] = told.strip().removeprefix("nginx version: ")
            port = start_metronome(made)
            settle(made, port, "1")
            figures["metronome"] = added(made, port, ENGINE_KEY, arguments.seconds, PIECES)
            figures["changes"] = changes(made, arguments.seconds)
            say(json.dumps(figures["changes"]))
            figures["memory"] = flat(made, arguments.requests)
            say(json.dumps(figures["memory"]))
            port = real_engine(made)
            settle(made, port, "99")
            figures["engine"] = added(made, port, ENGINE_KEY, arguments.seconds, 16)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if not arguments.no_record:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
