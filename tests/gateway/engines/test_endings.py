# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses that are cut, abandoned by their clients, or read slowly."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from http.client import IncompleteRead
from pathlib import Path

import openai
import pytest

from tests.gateway.conftest import Client, chat, settle
from tests.gateway.harness import ENGINE_KEY, FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import HEAD, KEY, chunk, double, in_flight, instead, line_of, request

BODY = json.dumps({"choices": [{"message": {"content": "x" * 4000}}], "usage": {"completion_tokens": 9}}).encode()
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CUTS = {
    "known length": JSON + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:2000],
    "chunks": JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (2000, BODY[:2000]),
    "in a chunk": JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(BODY), BODY[:2000]),
}


@pytest.mark.parametrize("kind", CUTS)
@pytest.mark.parametrize("named", [True, False], ids=["named", "written anew"])
def test_a_cut_response_never_looks_complete(
    client: Client, made: Gateway, engines: dict[str, Engine], kind: str, named: bool
) -> None:
    """It becomes a 503. If its head was sent already, the connection ends early."""

    def answer(wire: socket.socket) -> None:
        wire.sendall(CUTS[kind])
        time.sleep(0.2)
        wire.shutdown(socket.SHUT_RDWR)

    # What names no model to a router is written anew, since that one must be told which.
    tier, model = ("reasoning", REASONING_MODEL) if named else ("fast", FAST_MODEL)
    with double(answer) as port:
        made.ready(tier, port, [model], job="51")
        connection, reply = client.open(chat(), tier=tier)
        assert (reply.getheader("X-Herd-Tier") or "").startswith(tier)
        if reply.status == 503:
            assert json.loads(reply.read())["error"]["code"] == "tier_unavailable"
        else:
            assert reply.status == 200
            with pytest.raises((IncompleteRead, ConnectionResetError)):
                reply.read()
        connection.close()
        sdk = openai.OpenAI(base_url=made.url(tier), api_key="herd-key-of-ann", max_retries=0, timeout=20)
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            sdk.chat.completions.create(model=f"task:{'borrowing' if named else 'fix'}", messages=[])
        line = line_of(made, reply.getheader("X-Request-Id"))
        assert line["status"] == reply.status
        if reply.status == 200:
            assert line["complete"] is False
    settle(made, engines)


def router_is_busy(engine: Engine) -> bool:
    """Whether the model that a router has loaded generates."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{engine.port}/slots?model={FAST_MODEL}", headers={"Authorization": f"Bearer {ENGINE_KEY}"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


@pytest.mark.parametrize("named", [True, False], ids=["named", "written anew"])
def test_a_router_stops_when_its_client_leaves(client: Client, engines: dict[str, Engine], named: bool) -> None:
    """Between the client and the model there are nginx, the gateway, the router and the router's own child."""
    engine = engines["fast"]
    assert client.ask(chat(1, model=FAST_MODEL)).status == 200
    wait_for(lambda: not router_is_busy(engine), "an idle engine", 60)
    body = chat(3900, stream=True, **({"model": FAST_MODEL} if named else {}))
    wire = socket.create_connection(("127.0.0.1", client.gateway.ports["fast"]), timeout=20)
    wire.sendall(request("/v1/chat/completions", KEY, body=json.dumps(body).encode()))
    assert wire.recv(100)
    wait_for(lambda: router_is_busy(engine), "the engine at work")
    wire.close()
    wait_for(lambda: not router_is_busy(engine), "the engine at rest", 5)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "written anew"])
def test_the_connection_to_a_router_closes_when_its_client_leaves(
    client: Client, made: Gateway, engines: dict[str, Engine], stream: bool, named: bool
) -> None:
    """What the gateway can do: a router goes on with an answer in one piece all the same, also when asked directly."""
    asked, ended = threading.Event(), threading.Event()

    def answer(wire: socket.socket) -> None:
        # Nothing: it is at its prompt. An end of the connection is all that can come now.
        asked.set()
        wire.settimeout(20)
        if not wire.recv(1):
            ended.set()

    with double(answer) as port:
        made.ready("fast", port, [FAST_MODEL], job="52")
        body = chat(9, stream=stream, **({"model": FAST_MODEL} if named else {}))
        wire = socket.create_connection(("127.0.0.1", made.ports["fast"]), timeout=20)
        wire.sendall(request("/v1/chat/completions", KEY, body=json.dumps(body).encode()))
        assert asked.wait(10)
        time.sleep(0.2)
        wire.close()
        assert ended.wait(5)
    settle(made, engines)


def memory_of(made: Gateway) -> int:
    """Return how many bytes the gateway and all of nginx have in memory."""
    parent = made.processes["nginx"].pid
    pids = [made.pid, *Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()]
    texts = [Path(f"/proc/{pid}/status").read_text(encoding="utf-8") for pid in pids]
    return sum(int(text.split("VmRSS:")[1].split()[0]) << 10 for text in texts)


def test_slow_readers_use_little_memory_and_do_not_delay_others(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """Two hundred, each with four megabytes to come; all of it in memory would be eight hundred.

    Allocators keep memory, so the readers come twice: the second time, all of it is below the same bound.
    """
    pieces = 64
    event = b"data: " + b"x" * 65524 + b"\n\n"

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD)
        for _each in range(pieces):
            wire.sendall(chunk(event))
        wire.sendall(b"0\r\n\r\n")

    before = memory_of(made)
    for _round in range(2):
        with instead(made, answer), ExitStack() as stack:
            wires = [stack.enter_context(slow_reader(made)) for _each in range(200)]
            heads = [wire.recv(4096) for wire in wires]
            assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
            time.sleep(1.0)
            assert memory_of(made) - before < 100 << 20
            # Another user still gets responses from the other tier's engine.
            began = time.monotonic()
            assert client.ask(chat(2, model=FAST_MODEL, stream=True)).status == 200
            assert time.monotonic() - began < 5
            # One of them wakes up, and everything that was kept for it comes.
            found = heads[7]
            while data := wires[7].recv(1 << 20):
                found += data
            assert found.partition(b"\r\n\r\n")[2].count(b"x") == pieces * 65524
            assert found.endswith(b"0\r\n\r\n")
        wait_for(lambda: not any(in_flight(made).values()), "the end of those who have left")
        # The gateway frees their buffers within a second.
        time.sleep(1.2)
    settle(made, engines)


def slow_reader(made: Gateway) -> socket.socket:
    """Ask for a stream, and read nothing of it."""
    wire = socket.socket()
    # A small window, so that what does not fit stays on the other side.
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    wire.settimeout(30)
    wire.connect(("127.0.0.1", made.ports["reasoning"]))
    body = json.dumps(chat(9, model=REASONING_MODEL, stream=True)).encode()
    wire.sendall(request("/v1/chat/completions", KEY, body=body))
    return wire


@pytest.mark.parametrize("stream", [False, True], ids=["in one piece", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/completions", "/v1/responses"])
def test_each_api_has_retry_after_while_a_tier_is_unavailable(
    client: Client, made: Gateway, engines: dict[str, Engine], path: str, stream: bool
) -> None:
    body = chat(4, model=REASONING_MODEL, stream=stream, prompt="hello", input="hello")
    asked = {"path": path, "key": None, "headers": {"x-api-key": "herd-key-of-ann"}}
    assert client.ask(body, **asked).status == 200
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88", 41)
    wait_for(lambda: client.ask(tier="reasoning", path="/health").status == 503, "the gateway knows")
    answer = client.ask(body, **asked)
    assert (answer.status, answer.headers["retry-after"]) == (503, "41")
    assert answer.headers["content-type"].startswith("application/json")
    assert "preempted by VASP job 88" in answer.data["error"]["message"]
    settle(made, engines)
