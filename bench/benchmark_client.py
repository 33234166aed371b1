"""Measure what the benchmark's own client costs with 64 streams, and write the figures as JSON.

    .venv/bin/python bench/benchmark_client.py [--seconds 20] [--rounds 3]

The endpoint is a metronome in a process of its own: it sends a token at fixed times. The cost is the processor time of
this process over the time that the streams are meant to take. C(seconds) is what they took: on a busy machine events
arrive late and together, which makes them cheaper. Two rates are measured: the 15 tokens a second that the documents
aim at for one user, and the 50 of a small model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from ansible_collections.herd.inference.plugins.module_utils.ports.benchmark.load_client import Endpoint, LoadClient

RESULTS = ROOT / "bench" / "results" / "benchmark-client.json"
STREAMS, RATES, MOST_PERCENT = 64, (15, 50), 20
#: An event as llama.cpp writes it.
EVENT = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" word"}}],"created":1796043200,'
    b'"id":"chatcmpl-x8vXFn5lKBgdAWqKGvjL3RXJ7Ut4oFUW","model":"strand","system_fingerprint":"b7836-0c1e57098",'
    b'"object":"chat.completion.chunk"}\n\n'
)
END = b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":%d}}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after the other, each event at its time."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(length))
            tokens, rate = body["max_tokens"], body["rate"]
            writer.write(HEAD)
            begin = time.monotonic()
            for number in range(1, tokens + 1):
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                writer.write(chunk(EVENT))
            writer.write(chunk(END % tokens) + b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(ports: Queue[int]) -> None:
    async def up() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(up())


def cost(client: LoadClient, rate: int, seconds: int) -> dict[str, float]:
    """Return the processor's share and what an event costs, with 64 streams of one rate."""
    body = {"model": "strand", "messages": [], "max_tokens": rate * seconds, "rate": rate}
    begin, spent = time.monotonic(), time.process_time()
    timings = client.run([[body]] * STREAMS)
    spent, took = time.process_time() - spent, time.monotonic() - begin
    failed = [timing.error for timing in timings if timing.error]
    if failed:
        raise SystemExit(f"bench: a stream failed: {failed[0]}")
    events = sum(timing.output_tokens for timing in timings)
    return {
        "core_percent": spent * 100 / seconds,
        "microseconds_per_event": spent * 1e6 / events,
        "planned_seconds": seconds,
        "seconds": took,
    }


def measure(port: int, seconds: int, rounds: int) -> list[dict[str, Any]]:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{port}"), 60.0)
    cost(client, RATES[0], 1)
    found: dict[int, list[dict[str, float]]] = {rate: [] for rate in RATES}
    for number in range(rounds):
        for rate in RATES:
            found[rate].append(cost(client, rate, seconds))
            say(f"round {number + 1}, {rate} tokens/s: {found[rate][-1]['core_percent']:.1f} % of a core")
    return [
        {
            "streams": STREAMS,
            "tokens_per_second_of_a_stream": rate,
            **{name: round(statistics.median(one[name] for one in made), 1) for name in made[0]},
        }
        for rate, made in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="length of a stream")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ports: Queue[int] = Queue()
    server = Process(target=serve, args=(ports,), daemon=True)
    server.start()
    try:
        rows = measure(ports.get(timeout=60), arguments.seconds, arguments.rounds)
    finally:
        server.terminate()
        server.join()
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    RESULTS.write_text(
        json.dumps({"machine": machine, "goal_core_percent": MOST_PERCENT, "rows": rows}, indent=2) + "\n"
    )
    say(f"{json.dumps(rows, indent=2)}\nbench: written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
