"""Measure the latency that the gateway adds to an engine, and write the figures as JSON and as a page.

    .venv/bin/python bench/gateway.py [--seconds 8] [--requests 10000]

Each client asks an engine directly, through the gateway and through a plain nginx in turn, so that all see the same
machine; with 32 streams also through LiteLLM's proxy. There are two engines: the metronome, which is a double that
writes the time into each piece, and the real engine with a tiny model. Then 128 streams run at once, engines change
under load, and the memory of the gateway's processes is measured: over many requests, and with large bodies that an
engine does not take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from bench.gateway_clients import PIECES, Seen, Wire, compare, metronome
from bench.gateway_page import page
from tests.engine.flag_runs import free_port, listens
from tests.gateway.environments import python_of
from tests.gateway.harness import ENGINE_KEY, REASONING_MODEL, Gateway, gateway, nginx_program, wait_for
from tests.gateway.service.test_memory import senders, status_of, stopped_engine
from tests.gateway.wire import in_flight
from tests.models import lab_model

RESULTS = ROOT / "bench" / "results" / "gateway.json"
PAGE = ROOT / "docs" / "reference" / "gateway-speed.md"
CLIENTS = (1, 8, 32)
#: Streams at once in the comparison with LiteLLM's proxy, and in the test without loss; pieces of one of the latter.
MANY, MOST, LONG = 32, 128, 400
KEY = "herd-key-of-ann"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def start(made: Gateway, port: int, argv: Sequence[str], name: str, limit: float = 20.0, **more: str) -> int:
    """Start a program that listens at a port."""
    with (made.root / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **more}, cwd=made.root)
    made.stack.callback(process.wait)
    made.stack.callback(process.kill)
    wait_for(lambda: listens(port), name, limit)
    return port


def start_metronome(made: Gateway) -> int:
    """Start a metronome in its own process."""
    port = free_port()
    return start(made, port, [sys.executable, __file__, "--metronome", str(port)], "metronome")


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


def litellm_proxy(made: Gateway, engine: int) -> int:
    """Start LiteLLM's proxy in front of one engine."""
    port = free_port()
    path = made.root / "litellm.yaml"
    served = {"model": f"openai/{REASONING_MODEL}", "api_base": f"http://127.0.0.1:{engine}/v1", "api_key": ENGINE_KEY}
    config = {
        "model_list": [{"model_name": REASONING_MODEL, "litellm_params": served}],
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": "sk-bench"},
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    program = str(Path(python_of("litellm")).parent / "litellm")
    argv = [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    more = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "*"}
    return start(made, port, argv, "litellm", 120, **more)


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
                "added_p99_ms": ms(at(delays[1], 0.99) - at(delays[0], 0.99)),
                "joined": [sum(seen.joined for seen in place) for place in (direct, through)],
                "pieces": [len(place) for place in delays],
            }
    return result


def at(ordered: Sequence[float], part: float) -> float:
    return ordered[int(len(ordered) * part)]


def ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def added(made: Gateway, port: int, key: str, seconds: float, tokens: int) -> dict[str, Any]:
    """Measure the added latency with one engine, for each number of clients."""
    places = [(port, key), (made.ports["reasoning"], KEY), (bare_nginx(made, port), key)]
    result: dict[str, Any] = {}
    for clients in CLIENTS:
        for stream in (True, False):
            asyncio.run(compare(places, clients, 1.0, stream, tokens))
            # One client alone makes few requests.
            long = seconds * (3 if clients == 1 else 1)
            direct, through, bare = asyncio.run(compare(places, clients, long, stream, tokens))
            name = f"{clients} {'streams' if stream else 'in one piece'}"
            result[name] = {**differences(direct, through, stream), "bare_nginx": differences(direct, bare, stream)}
            say(f"{name}: {json.dumps(result[name])}")
    return result


def against_litellm(made: Gateway, port: int, seconds: float) -> dict[str, Any]:
    """Compare the gateway with LiteLLM's proxy at 32 streams."""
    places = [(port, ENGINE_KEY), (made.ports["reasoning"], KEY), (litellm_proxy(made, port), "sk-bench")]
    asyncio.run(compare(places, 4, 3.0, True, PIECES))
    found = asyncio.run(compare(places, MANY, seconds * 2, True, PIECES))
    direct, through, other = found
    return {"gateway": differences(direct, through, True), "litellm": differences(direct, other, True)}


def without_loss(made: Gateway, port: int) -> dict[str, Any]:
    """Let 128 streams of fifty pieces a second run at once, through the gateway and directly."""

    async def all_at_once(place: tuple[int, str]) -> list[Seen]:
        return list(await asyncio.gather(*(Wire(*place).ask(LONG, True) for _each in range(MOST))))

    result: dict[str, Any] = {"streams": MOST, "pieces_each": LONG}
    for name, place in (("direct", (port, ENGINE_KEY)), ("gateway", (made.ports["reasoning"], KEY))):
        seen = asyncio.run(all_at_once(place))
        delays = sorted(delay for each in seen for delay in each.delays)
        result[name] = {
            "lost_pieces": MOST * LONG - len(delays),
            "cut_streams": sum(not each.whole for each in seen),
            "delay_p50_ms": ms(at(delays, 0.5)),
            "delay_p99_ms": ms(at(delays, 0.99)),
            "longest_s": round(max(each.total for each in seen), 2),
        }
    return result


def changes(made: Gateway, seconds: float) -> dict[str, Any]:
    """Move the tier from one engine to the other under load."""
    ports = [start_metronome(made), start_metronome(made)]
    settle(made, ports[0], "1")
    moved = 0

    async def mover() -> None:
        nonlocal moved
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(1.5)
            moved += 1
            await asyncio.to_thread(settle, made, ports[moved % 2], str(1 + moved))

    async def both() -> list[list[list[Seen]]]:
        asks: list[Awaitable[Any]] = [
            compare([(made.ports["reasoning"], KEY)], 8, seconds, stream, PIECES) for stream in (True, False)
        ]
        return list(await asyncio.gather(*asks, mover()))[:2]

    seen = [answer for places in asyncio.run(both()) for place in places for answer in place]
    return {
        "requests": len(seen),
        "failed": sum(answer.status != 200 or not answer.whole for answer in seen),
        "changes": moved,
    }


def memory(made: Gateway) -> dict[str, float]:
    """Return the resident MiB of the gateway's process, and of the largest of nginx."""
    master = made.processes["nginx"].pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="utf-8").split()
    texts = [Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in children]
    nginx = max(int(text.split("\nVmRSS:", 1)[1].split()[0]) / 1024 for text in texts)
    return {"gateway": float(made.memory()), "nginx": round(nginx, 1)}


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


def large_bodies(made: Gateway) -> dict[str, Any]:
    """Send a hundred bodies of 8 MiB to an engine that takes none of them."""
    before = made.memory()
    with stopped_engine() as port:
        made.ready("reasoning", port, [REASONING_MODEL], job="95", slots=100)
        with senders(made, 100) as wires:
            most, end = 0, time.monotonic() + 5
            while time.monotonic() < end:
                most = max(most, made.memory())
                time.sleep(0.05)
            statuses = Counter(status_of(wire) or "waiting" for wire in wires)
        wait_for(lambda: not any(in_flight(made).values()), "the end of all requests")
    return {"bodies": 100, "before_mib": before, "most_mib": most, "answers": dict(statuses)}


def settle(made: Gateway, port: int, job: str) -> None:
    made.ready("reasoning", port, [REASONING_MODEL], job=job, slots=1000)


def real_engine(made: Gateway) -> int:
    """Start the real engine with a tiny model."""
    folder = lab_model.cached(lab_model.TINY)
    model = made.root / "tiny.gguf"
    model.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.glob("*.part*"))))
    return made.engine("", "-m", str(model), "--alias", REASONING_MODEL, "-np", "32", "-c", "8192").port


def measure(made: Gateway, seconds: float, requests: int) -> dict[str, Any]:
    """Take all measurements."""
    figures: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}}
    told = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
    figures["machine"]["nginx"] = told.strip().removeprefix("nginx version: ")
    port = start_metronome(made)
    settle(made, port, "1")
    figures["metronome"] = added(made, port, ENGINE_KEY, seconds, PIECES)
    figures["without_loss"] = without_loss(made, port)
    say(json.dumps(figures["without_loss"]))
    figures["litellm"] = against_litellm(made, port, seconds)
    say(json.dumps(figures["litellm"]))
    figures["changes"] = changes(made, seconds)
    say(json.dumps(figures["changes"]))
    figures["memory"] = flat(made, requests)
    figures["large_bodies"] = large_bodies(made)
    say(json.dumps(figures["large_bodies"]))
    port = real_engine(made)
    settle(made, port, "99")
    figures["engine"] = added(made, port, ENGINE_KEY, seconds, 16)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each number of clients")
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
            figures = measure(made, arguments.seconds, arguments.requests)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if not arguments.no_record:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
