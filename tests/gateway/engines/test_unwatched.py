# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway with gateway_watch_streams off: nginx proxies streams to engines, and the gateway sees none of them."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, gateway, wait_for
from tests.gateway.test_abuse import KEY, is_busy, request

STREAM = chat(8, model=REASONING_MODEL, stream=True)


@pytest.fixture(scope="module")
def plain() -> Iterator[Client]:
    """Run such a gateway without engines."""
    root = Path(tempfile.mkdtemp(prefix="herd-plain-", dir="/tmp"))
    try:
        with gateway(root, watch_streams=False) as made:
            yield Client(made)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def engine(plain: Client) -> Engine:
    return plain.gateway.engine(REASONING_MODEL)


@pytest.fixture(autouse=True)
def told(plain: Client, engine: Engine) -> None:
    """Wait until nginx knows the engine."""
    tell(plain.gateway, engine)


def tell(made: Gateway, engine: Engine) -> None:
    made.ready("reasoning", engine.port, [REASONING_MODEL])
    wait_for(lambda: made.knows("reasoning", engine.port), "nginx told")
    wait_for(lambda: Client(made).ask(tier="reasoning", path="/health").status == 200, "the gateway told")
    # Until the last process of nginx that did not know has handed over.
    time.sleep(0.5)


def proxied(client: Client) -> float:
    """Return how many requests the gateway has proxied."""
    lines = client.ask(path="/metrics", key=None).body.decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("herd_gateway_proxied_total")))


def line_of(made: Gateway, identity: str) -> dict[str, Any]:
    wait_for(lambda: any(line["id"] == identity for line in made.access()), "the line of the log")
    return next(line for line in made.access() if line["id"] == identity)


def test_nginx_passes_a_stream_on_without_the_gateway(plain: Client) -> None:
    before = proxied(plain)
    connection, answer = plain.open(chat(300, model=REASONING_MODEL, stream=True))
    assert answer.status == 200
    moments, events = [], 0
    while line := answer.readline():
        if line.startswith(b"data: "):
            moments.append(time.monotonic())
            events += 1
            last = line
    connection.close()
    assert last == b"data: [DONE]\n"
    assert events > 300
    # Not all at the end: between the first and the last there is the time that the engine took.
    assert moments[-1] - moments[0] > 0.1
    assert proxied(plain) == before
    logged = line_of(plain.gateway, answer.getheader("X-Request-Id") or "")
    assert (logged["status"], logged["complete"], logged["tier"]) == (200, True, "reasoning")
    assert logged["engine"].startswith("127.0.0.1:")


def test_openais_client_streams(plain: Client) -> None:
    sdk = openai.OpenAI(base_url=plain.gateway.url(), api_key="herd-key-of-ann", max_retries=0, timeout=60)
    hello: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    with sdk.chat.completions.create(model=REASONING_MODEL, messages=hello, max_tokens=20, stream=True) as stream:
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert len([piece for piece in pieces if piece]) >= 15


def test_a_cut_stream_does_not_look_complete(plain: Client) -> None:
    doomed = plain.gateway.engine(REASONING_MODEL)
    tell(plain.gateway, doomed)
    connection, answer = plain.open(chat(4000, model=REASONING_MODEL, stream=True))
    answer.read(500)
    doomed.stop()
    # nginx adds nothing to a chunk of the engine's: the connection ends without an end.
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        answer.read()
    connection.close()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
def test_a_dead_engine_gives_503(plain: Client, stream: bool) -> None:
    doomed = plain.gateway.engine(REASONING_MODEL)
    tell(plain.gateway, doomed)
    doomed.stop()
    answer = plain.ask({**STREAM, "stream": stream})
    assert (answer.status, answer.error["code"]) == (503, "tier_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.error["herd"]["state"] == "failing"


def test_an_engine_stops_when_its_client_leaves(plain: Client, engine: Engine) -> None:
    wait_for(lambda: not is_busy(engine), "an idle engine")
    wire = socket.create_connection(("127.0.0.1", plain.gateway.ports["reasoning"]), timeout=20)
    body = json.dumps(chat(6000, model=REASONING_MODEL, stream=True)).encode()
    wire.sendall(request("/v1/chat/completions", KEY, body=body))
    assert wire.recv(100)
    wait_for(lambda: is_busy(engine), "the engine at work")
    wire.close()
    wait_for(lambda: not is_busy(engine), "the engine at rest", 5)


def test_no_stream_fails_when_a_tier_moves(plain: Client, engine: Engine) -> None:
    second = plain.gateway.engine(REASONING_MODEL)
    goes_on, wrong, right = True, [], 0

    def users() -> None:
        nonlocal right
        while goes_on:
            answer = plain.ask(STREAM)
            if answer.status == 200 and answer.body.rstrip().endswith(b"data: [DONE]"):
                right += 1
            else:
                wrong.append((answer.status, answer.body[-300:]))

    threads = [threading.Thread(target=users) for _each in range(3)]
    for thread in threads:
        thread.start()
    for target in (second, engine, second, engine):
        time.sleep(1.0)
        plain.gateway.ready("reasoning", target.port, [REASONING_MODEL])
        wait_for(partial(plain.gateway.knows, "reasoning", target.port), "nginx told")
    time.sleep(1.0)
    goes_on = False
    for thread in threads:
        thread.join(60)
    second.stop()
    assert not wrong, wrong[:3]
    assert right > 20


def test_the_gateway_proxies_a_stream_whose_model_it_replaces(plain: Client) -> None:
    made = plain.gateway
    router = made.router(FAST_MODEL)
    made.ready("fast", router.port, [FAST_MODEL])
    wait_for(lambda: made.knows("fast", router.port), "nginx told")
    before = proxied(plain)
    answer = plain.ask(chat(4, stream=True))
    assert (answer.status, answer.headers["x-herd-model"]) == (200, FAST_MODEL)
    assert answer.body.rstrip().endswith(b"data: [DONE]")
    assert proxied(plain) == before + 1
    made.unavailable("fast", "stopped", "stopped by the tests")
    router.stop()
