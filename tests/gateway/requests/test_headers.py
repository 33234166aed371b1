# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The headers of answers: request ids, rate limits, when to try again, and what proxies in front read."""

from __future__ import annotations

import socket
import subprocess
import time
from http.client import HTTPConnection
from typing import Any

import openai
import pytest

from tests.engine.flag_runs import free_port, listens
from tests.gateway.conftest import Client, chat
from tests.gateway.harness import (
    FAST_MODEL,
    REASONING_MODEL,
    USERS,
    Engine,
    Gateway,
    nginx_program,
    wait_for,
    wait_until_seen,
)
from tests.gateway.wire import DONE, HEAD, KEY, TOKEN, chunk, instead, line_of, raw, request

FRONT = """daemon off; pid {root}/front.pid; error_log {root}/front.log; events {{}} http {{ access_log off;
client_body_temp_path {root}/front-body; proxy_temp_path {root}/front-proxy; fastcgi_temp_path {root}/front-fastcgi;
uwsgi_temp_path {root}/front-uwsgi; scgi_temp_path {root}/front-scgi;
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{gateway}; }} }} }}
"""
EVERY: list[tuple[int, dict[str, Any]]] = [
    (200, {"body": chat(2, model=REASONING_MODEL)}),
    (200, {"body": chat(2, model=REASONING_MODEL, stream=True)}),
    (200, {"path": "/v1/models"}),
    (200, {"path": "/health"}),
    (200, {"path": "/status", "key": None}),
    (200, {"path": "/metrics", "key": None}),
    (400, {"body": b"{"}),
    (401, {"body": chat(), "key": "herd-key-of-nobody"}),
    (401, {"path": "/v1/chat/completions", "method": "POST", "key": None}),
    (403, {"body": chat(model=REASONING_MODEL), "key": "herd-key-of-fay"}),
    (404, {"path": "/nothing"}),
    (404, {"body": chat(model="none")}),
    (405, {"path": "/v1/chat/completions", "method": "PUT"}),
    (413, {"body": b"x" * (33 << 20)}),
]


@pytest.mark.parametrize(("status", "ask"), EVERY, ids=[f"{status}-{n}" for n, (status, _ask) in enumerate(EVERY)])
def test_every_answer_has_a_request_id(
    client: Client, made: Gateway, engines: dict[str, Engine], status: int, ask: dict[str, Any]
) -> None:
    if isinstance(ask.get("body"), bytes):
        ask = {"method": "POST", **ask}
    answer = client.ask(**ask, headers={"X-Request-Id": "of-the-client"})
    assert answer.status == status, answer.body[:300]
    identity = answer.headers["x-request-id"]
    assert len(identity) >= 16
    assert identity != "of-the-client"
    if status in (200, 401, 403) and ask.get("body"):
        assert line_of(made, identity)["status"] == status


@pytest.mark.parametrize(
    "data",
    [
        b"nothing\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        request("/v1/embeddings", KEY, "Content-Length: 9999999999"),
    ],
)
def test_a_refusal_of_nginx_has_a_request_id(made: Gateway, engines: dict[str, Engine], data: bytes) -> None:
    assert b"x-request-id: " in raw(made, data, limit=2).lower()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"])
def test_a_stream_asks_proxies_not_to_wait(client: Client, engines: dict[str, Engine], path: str) -> None:
    body = chat(3, model=REASONING_MODEL, stream=True, prompt="hello", input="hello")
    answer = client.ask(body, path=path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-cache")


def test_a_stream_comes_at_once_behind_another_nginx(made: Gateway, engines: dict[str, Engine]) -> None:
    port = free_port()
    path = made.root / "front.conf"
    path.write_text(FRONT.format(root=made.root, port=port, gateway=made.ports["fast"]), encoding="utf-8")

    def answer(wire: socket.socket) -> None:
        wire.sendall(HEAD + chunk(TOKEN))
        time.sleep(1.5)
        wire.sendall(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    front = subprocess.Popen([nginx_program(), "-c", str(path)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), "the nginx in front")
        with instead(made, answer):
            wire = HTTPConnection("127.0.0.1", port, timeout=20)
            body = b'{"model":"%s","messages":[],"stream":true}' % REASONING_MODEL.encode()
            began = time.monotonic()
            wire.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer herd-key-of-ann"})
            reply = wire.getresponse()
            assert reply.readline() == TOKEN.splitlines()[0] + b"\n"
            assert time.monotonic() - began < 0.7
            assert reply.read().endswith(DONE)
            wire.close()
    finally:
        front.terminate()
        front.wait()


def test_every_answer_under_a_limit_says_how_much_is_left(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    users = {name: {"key": f"herd-key-of-{name}", "limits": "narrow"} for name in ("kim", "pat")}
    made.write_keys({**USERS, **users})
    wait_until_seen()
    left = []
    for _each in range(5):
        answer = client.ask(path="/v1/models", key="herd-key-of-kim")
        headers = answer.headers
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-reset-requests"].endswith("s")
        left.append((answer.status, int(headers["x-ratelimit-remaining-requests"])))
    assert left == [(200, 2), (200, 1), (200, 0), (429, 0), (429, 0)]
    assert int(answer.headers["retry-after"]) >= 1
    for stream in (True, False):
        answer = client.ask(chat(2, model=REASONING_MODEL, stream=stream), key="herd-key-of-pat")
        assert answer.status == 200
        assert "x-ratelimit-remaining-requests" in answer.headers
    assert client.ask(chat(model="none"), key="herd-key-of-pat").headers["x-ratelimit-remaining-requests"] == "0"
    made.write_keys()


def test_too_many_at_once_has_the_headers_of_a_limit(client: Client, engines: dict[str, Engine]) -> None:
    connection, answer = client.open(chat(300, model=REASONING_MODEL, stream=True), key="herd-key-of-meg")
    answer.read(10)
    second = client.ask(chat(model=REASONING_MODEL), key="herd-key-of-meg")
    connection.close()
    assert (second.status, second.error["code"]) == (429, "concurrency_exceeded")
    assert second.headers["x-ratelimit-limit-concurrency"] == "1"
    assert second.headers["x-ratelimit-remaining-concurrency"] == "0"
    assert int(second.headers["retry-after"]) > 0


def test_a_client_does_not_wait_for_a_tier_that_is_away_for_long(
    client: Client, made: Gateway, engines: dict[str, Engine]
) -> None:
    made.unavailable("reasoning", "preempted", "preempted by VASP job 88", 60, expected=time.time() + 1500)
    answer = client.ask(chat(model=REASONING_MODEL))
    assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
    assert "25 minutes" in answer.error["message"]
    sdk = openai.OpenAI(base_url=made.url(), api_key="herd-key-of-ann", max_retries=5, timeout=60)
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError, match="25 minutes"):
        sdk.chat.completions.create(model=REASONING_MODEL, messages=[{"role": "user", "content": "hi"}])
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_client_does_not_try_an_unknown_key_again(client: Client, path: str) -> None:
    answer = client.ask(chat(model=REASONING_MODEL), path=path, key="herd-key-of-nobody")
    assert (answer.status, answer.headers["x-should-retry"]) == (401, "false")


def test_a_client_waits_for_a_tier_that_is_back_soon(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    made.unavailable("fast", "loading", "loading 93 %", 2)
    answer = client.ask(chat(model=FAST_MODEL))
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers.get("x-should-retry") != "false"
