# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile and broken clients, and clients that leave."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway, wait_for
from tests.gateway.wire import KEY, is_busy, other_host, raw, request


@pytest.mark.parametrize(
    "path",
    [
        "/slots",
        "/slots/0?action=erase",
        "/props",
        "/models/load",
        "/models/unload",
        "/lora-adapters",
        "/cors-proxy?url=http://10.0.0.1/",
        "/tools",
        "/metrics/../slots",
        "/v1/chat/completions/../../slots",
        "/v1/%2e%2e/slots",
        "/v1//chat/completions",
        "//slots",
        "/./slots",
        "/v1/chat/completions%00",
        "/v1/chat/completions%0d%0aX-Herd-Tier:%20reasoning",
        "/v1/chat/completions;x",
        "/reasoning/slots",
        "/reasoning/reasoning/v1/chat/completions",
        "/task/fix/slots",
        "/task/fix/task/fix/v1/chat/completions",
        "/task/../v1/chat/completions",
        "/fast/../reasoning/v1/chat/completions",
        "/@tier_reasoning",
        "/.herd-no-gateway",
        "/.herd-too-large",
    ],
)
def test_no_path_bypasses_the_gateway(made: Gateway, engines: dict[str, Engine], path: str) -> None:
    for method in ("GET", "POST"):
        answer = raw(made, request(path, KEY, body=b"{}" if method == "POST" else b"", method=method))
        assert answer.split(b" ", 2)[1] in (b"400", b"404", b"405"), answer[:300]
        assert b"is_processing" not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "GET"])
def test_unused_methods_are_refused(made: Gateway, engines: dict[str, Engine], method: str) -> None:
    answer = raw(made, request("/v1/chat/completions", KEY, method=method))
    assert answer.split(b" ", 2)[1] in (b"400", b"405"), answer[:300]


@pytest.mark.parametrize(
    "header",
    [
        "X-Herd-Entry: reasoning",
        "X_Herd_Entry: reasoning",
        "X-Herd-Tier: reasoning",
        "X-Herd-Model: large-one",
        "X-Herd-Key: bob",
        "X-Real-IP: 10.0.0.1",
        "X-Accel-Redirect: /reasoning/v1/chat/completions",
        "X-Accel-Buffering: yes",
        "X-Conversation-Id: stay",
    ],
)
def test_clients_cannot_send_the_internal_headers(client: Client, engines: dict[str, Engine], header: str) -> None:
    name, _colon, value = header.partition(": ")
    answer = client.ask(chat(), headers={name: value})
    assert answer.status == 200, answer.body
    assert answer.headers["x-herd-tier"] == "fast"
    assert client.ask(chat(), headers={name: value}, key=None).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        ("Authorization: Basic aGVyZC1rZXktb2YtYW5u",),
        ("Authorization: herd-key-of-ann",),
        ("Authorization: Bearer",),
        ("Cookie: key=herd-key-of-ann",),
        ("X-Api-Key: Bearer herd-key-of-ann",),
    ],
)
def test_a_request_needs_a_valid_key_in_its_place(
    made: Gateway, engines: dict[str, Engine], headers: tuple[str, ...]
) -> None:
    body = json.dumps(chat()).encode()
    answer = raw(made, request("/v1/chat/completions", *headers, body=body))
    assert answer.split(b" ", 2)[1] in (b"400", b"401"), answer[:300]


def test_smuggled_requests_are_refused(made: Gateway, engines: dict[str, Engine]) -> None:
    """Two lengths, a length and chunks, a second request in the body: never two readings of the same bytes."""
    inner = request("/slots", KEY, method="GET")
    body = json.dumps(chat()).encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for data in (
        request("/v1/chat/completions", KEY, f"Content-Length: {len(body)}", body=body + inner),
        request("/v1/chat/completions", KEY, "Transfer-Encoding: chunked", "Content-Length: 4") + chunked + inner,
        request("/v1/chat/completions", KEY, "Transfer-Encoding: xchunked") + chunked,
        request("/v1/chat/completions", KEY, "Transfer-Encoding : chunked") + chunked + inner,
        request("/v1/chat/completions", KEY, "Transfer-Encoding: chunked") + chunked + inner,
    ):
        answer = raw(made, data, limit=5)
        assert b"is_processing" not in answer
        assert answer.count(b"HTTP/1.1 200") <= 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"model": "\xff"}',
        b'{"model": ["task:fix"]}',
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"\x1f\x8b\x08\x00garbage",
    ],
)
def test_invalid_bodies_are_refused(client: Client, engines: dict[str, Engine], body: bytes) -> None:
    answer = client.ask(body, method="POST")
    assert answer.status == 400, answer.body
    assert answer.error["type"] == "invalid_request_error"


def test_a_body_over_the_limit_is_refused(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    answer = raw(made, request("/v1/chat/completions", KEY, f"Content-Length: {1 << 40}"), limit=1)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer
    # One that does not say how large it is.
    data = request("/v1/chat/completions", KEY, "Transfer-Encoding: chunked")
    piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    assert raw(made, data + piece * 40).startswith(b"HTTP/1.1 413")
    head = raw(made, request("/v1/chat/completions", KEY, "X-Long: " + "x" * 70_000))
    assert head.split(b" ", 2)[1] in (b"400", b"431")
    assert client.ask(chat()).status == 200


def test_a_body_of_a_million_lists_does_not_delay_others(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    body = b'{"a":[' + b"[]," * 2_500_000 + b"0]}"
    before = made.memory()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.ask, body, method="POST") for _each in range(4)]
        waits = []
        while not all(map(Future.done, asked)):
            began = time.monotonic()
            assert client.ask(path="/health").status == 200
            waits.append(time.monotonic() - began)
    # The engine itself says that there are no messages in it.
    assert all(400 <= each.result().status <= 500 for each in asked)
    assert max(waits) < 0.5, waits
    # Four bodies, each twice for a moment; what is built of one alone would take 250.
    assert made.memory("VmHWM") - before < 120


@pytest.mark.parametrize("place", ["before", "after", "without"])
def test_a_large_body_gets_its_model_and_reaches_the_engine_unchanged(
    client: Client, made: Gateway, engines: dict[str, Engine], place: str
) -> None:
    """The engine counts what came: the padding is a part that it skips."""
    padding = {"padding": 'é"[{' * 400_000}
    given = {"before": {"model": "task:fix", **padding}, "after": {**padding, "model": "task:fix"}, "without": padding}
    for is_stream in (False, True):
        answer = client.ask(chat(3, stream=is_stream, **given[place]))
        assert answer.status == 200, answer.body
        assert f'"model":"{FAST_MODEL}"'.encode() in answer.body
    # Nothing of it stays while nothing of it is needed.
    wait_for(lambda: made.memory() < 200, "little memory", 5)


def test_slow_clients_do_not_delay_others(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    wires = []
    try:
        for number in range(60):
            wire = socket.create_connection(("127.0.0.1", made.ports["fast"]), timeout=20)
            wires.append(wire)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n{KEY}\r\n"
            wire.sendall(head.encode() if number % 2 else f"{head}Content-Length: 5000\r\n\r\n{{".encode())
        began = time.monotonic()
        assert client.ask(chat()).status == 200
        assert time.monotonic() - began < 2.5
        # Three seconds are allowed here; then they are gone, and no engine has heard of them.
        for wire in wires:
            wire.settimeout(10)
            with suppress(ConnectionResetError):
                answer = wire.recv(4096)
                assert answer == b"" or answer.split(b" ", 2)[1] == b"408"
    finally:
        for wire in wires:
            wire.close()


HOLD = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = []
for number in range(2500):
    try:
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2))
        held[-1].sendall(b"P")
    except OSError:
        pass
print(len(held), flush=True)
sys.stdin.read()
"""


def answers(host: str, port: int) -> bool:
    with socket.socket() as wire:
        wire.settimeout(2)
        return wire.connect_ex((host, port)) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make another host and count its connections")
def test_one_address_cannot_use_up_nginxs_connections(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    """They send a letter and no more: nginx keeps those, and has no request yet that it could limit."""
    with other_host() as (there, at_it):
        first, _dot, last = there.rpartition(".")
        here = f"{first}.{int(last) - 1}"
        made.configure(gateway_addresses=["127.0.0.1", here], gateway_header_timeout=30)
        made.reload_nginx()
        wait_for(lambda: answers(here, made.ports["fast"]), "nginx at the cable")
        try:
            subprocess.run(["nft", "-f", str(made.etc / "herd" / "gateway.nft")], check=True)
            words = at_it(sys.executable, "-c", HOLD, here, str(made.ports["fast"]))
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
                assert holder.stdout and holder.stdin
                held = int(holder.stdout.readline())
                for _each in range(5):
                    assert client.ask(chat()).status == 200
                assert held == 256
                holder.stdin.close()
            # A client that closes its connections can connect again.
            ask = at_it("curl", "-s", "-m", "5", f"http://{here}:{made.ports['fast']}/health")
            wait_for(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "a free place", 5)
            # And 0 is no limit.
            made.configure(gateway_connections_per_address=0)
            subprocess.run(["nft", "-f", str(made.etc / "herd" / "gateway.nft")], check=True)
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
            assert "herd_gateway" not in tables
        finally:
            subprocess.run(["nft", "delete", "table", "inet", "herd_gateway"], check=False, capture_output=True)
            made.configure()
            made.reload_nginx()


@pytest.mark.parametrize("is_stream", [True, False])
def test_an_engine_stops_when_its_client_leaves(client: Client, engines: dict[str, Engine], is_stream: bool) -> None:
    engine = engines["reasoning"]
    wait_for(lambda: not is_busy(engine), "an idle engine")
    wire = socket.create_connection(("127.0.0.1", client.gateway.ports["reasoning"]), timeout=20)
    # Thousands of tokens, a minute of work.
    body = json.dumps(chat(6000, model=REASONING_MODEL, stream=is_stream)).encode()
    wire.sendall(request("/v1/chat/completions", KEY, body=body))
    wait_for(lambda: is_busy(engine), "the engine at work")
    if is_stream:
        assert wire.recv(100)
    wire.close()
    # For an answer in one piece the engine looks for its client only when no other result has come for a second,
    # and every question about its slots is one.
    pause = 0.1 if is_stream else 1.5

    def rests() -> bool:
        time.sleep(pause)
        return not is_busy(engine)

    wait_for(rests, "the engine at rest", 12)


def test_an_engine_accepts_only_the_gateways_key(engines: dict[str, Engine]) -> None:
    for engine in engines.values():
        asked = urllib.request.Request(
            f"http://127.0.0.1:{engine.port}/v1/chat/completions",
            json.dumps(chat()).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer herd-key-of-ann"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=10)
        assert refused.value.code == 401
