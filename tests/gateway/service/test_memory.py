# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of the gateway while an engine takes no more bodies, and its recovery from a shortage of files."""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Gateway, gateway, wait_for
from tests.gateway.wire import DONE, HEAD, KEY, TOKEN, chunk, double, in_flight, json_answer, line_of, raw, request

#: MiB of bodies that the gateway may hold (C(body_memory) of its configuration), and what it may need besides.
BUDGET_MIB, BESIDES_MIB = 256, 110
BODY = json.dumps(chat(9, model=REASONING_MODEL, padding="x" * (8 << 20))).encode()


@pytest.fixture(scope="module")
def own() -> Iterator[Gateway]:
    """Run a gateway of its own, so that nobody else's memory counts; its fast tier answers at once."""
    root = Path(tempfile.mkdtemp(prefix="herd-memory-", dir="/tmp"))

    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer({"choices": []}))

    try:
        with gateway(root) as made, double(answer) as port:
            made.ready("fast", port, [FAST_MODEL], slots=200)
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def stopped_engine() -> Iterator[int]:
    """Run an engine whose process is stopped: its kernel takes connections and some bytes, and that is all."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield int(server.getsockname()[1])


@contextmanager
def senders(made: Gateway, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack, ThreadPoolExecutor(16) as pool:

        def send(_number: int) -> socket.socket:
            wire = socket.create_connection(("127.0.0.1", made.ports["fast"]), timeout=60)
            wire.sendall(request("/v1/chat/completions", KEY, body=BODY))
            return wire

        yield [stack.enter_context(wire) for wire in pool.map(send, range(count))]


@pytest.mark.parametrize("count", [40, 100])
def test_the_limit_on_bodies_holds_while_an_engine_takes_none(own: Gateway, count: int) -> None:
    """From the first byte to the last: also those that wait for a slot, and those that were partly sent."""
    before = own.memory()
    with stopped_engine() as port:
        own.ready("reasoning", port, [REASONING_MODEL], slots=8)
        with senders(own, count) as wires:
            most, end = 0, time.monotonic() + 4
            while time.monotonic() < end:
                most = max(most, own.memory())
                # Others are served meanwhile.
                began = time.monotonic()
                answer = Client(own).ask(chat(2, model=FAST_MODEL))
                assert answer.status == 200, answer.body
                assert time.monotonic() - began < 2
                time.sleep(0.1)
            assert most - before < BUDGET_MIB + BESIDES_MIB
            statuses = Counter(status_of(wire) for wire in wires)
        assert set(statuses) <= {"", "503 gateway_busy", "429 concurrency_exceeded", "503 tier_unavailable"}, statuses
        if count == 40:
            # Without a slot they wait, as long as their bodies find a place in the key's half of the memory.
            assert statuses[""] >= 12, statuses
        wait_for(lambda: not any(in_flight(own).values()), "the end of those who have left")
    assert own.processes["gateway"].poll() is None


def status_of(wire: socket.socket) -> str:
    """Return status and code of a refusal; empty if none has come."""
    wire.setblocking(False)
    try:
        answer = wire.recv(65536)
    except BlockingIOError:
        return ""
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return f"{answer.split()[1].decode()} {error['code']}"


def test_large_bodies_are_taken_again_afterwards(own: Gateway) -> None:
    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer({"choices": []}))

    with double(answer) as port:
        own.ready("reasoning", port, [REASONING_MODEL], slots=8)
        for _each in range(40):
            assert raw(own, request("/v1/chat/completions", KEY, body=BODY))[9:12] == b"200"


def test_the_tokens_of_a_client_that_leaves_count(own: Gateway) -> None:
    """39 of 40 have come; the client closes the connection, and all 39 are in log and counters."""

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD + chunk(TOKEN) * 39)
        time.sleep(20)

    with double(answer) as port:
        own.ready("reasoning", port, [REASONING_MODEL])
        before = tokens(own)
        with socket.create_connection(("127.0.0.1", own.ports["fast"]), timeout=10) as wire:
            body = json.dumps(chat(40, model=REASONING_MODEL, stream=True)).encode()
            wire.sendall(request("/v1/chat/completions", KEY, body=body))
            found = b""
            while found.count(b"data: ") < 39:
                found += wire.recv(65536)
        # The page of the counters is kept for a short time.
        wait_for(lambda: tokens(own) == before + 39, "the tokens of the request", 5)
        wait_for(lambda: not any(in_flight(own).values()), "the end of the request", 5)
        identity = re.search(r"(?i)x-request-id: (\w+)", found.decode())
        line = line_of(own, identity and identity[1])
        assert (line["completion_tokens"], line["complete"]) == (39, False)


def tokens(made: Gateway) -> float:
    """Return the completion tokens of the reasoning tier."""
    text = Client(made).ask(path="/metrics", key=None).body.decode()
    lines = [line for line in text.splitlines() if line.startswith("herd_gateway_tokens_total{")]
    return sum(float(line.split()[-1]) for line in lines if '"reasoning"' in line and '"completion"' in line)


def test_a_shortage_of_file_descriptors_leaves_nothing_behind(own: Gateway) -> None:
    """Each request needs two; a hundred at once with sixty files fail or wait, and then all is as before."""

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD)
        for _each in range(5):
            wire.sendall(chunk(TOKEN))
            time.sleep(0.2)
        wire.sendall(chunk(DONE) + b"0\r\n\r\n")

    former = own.processes.pop("gateway")
    former.terminate()
    former.wait(20)
    own.start_gateway(files=60)
    with double(answer) as port:
        own.ready("reasoning", port, [REASONING_MODEL], slots=500)
        body = json.dumps(chat(9, model=REASONING_MODEL, stream=True)).encode()
        with ThreadPoolExecutor(100) as pool:
            data = request("/v1/chat/completions", KEY, body=body)
            statuses = Counter(pool.map(lambda _n: raw(own, data, limit=30)[9:12], range(100)))
        assert set(statuses) <= {b"200", b"503"}, statuses
        assert statuses[b"200"] >= 10, statuses
        wait_for(lambda: not any(in_flight(own).values()), "the end of all requests", 5)
        for _each in range(5):
            assert Client(own).ask(chat(2, model=REASONING_MODEL, stream=True)).status == 200
    own.restart_gateway()
