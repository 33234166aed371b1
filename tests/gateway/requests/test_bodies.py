# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies: large, packed, and over the limit; and the engine's own words about them."""

from __future__ import annotations

import gzip
import json
import random
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway
from tests.gateway.wire import double, instead, json_answer

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.fixture
def heard(made: Gateway, engines: dict[str, Engine]) -> Iterator[list[bytes]]:
    """Collect the requests that reach the reasoning tier, which answers each."""
    found: list[bytes] = []

    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer({"choices": []}))

    with double(answer, found.append) as port:
        made.ready("reasoning", port, [REASONING_MODEL])
        yield found


def prompts() -> dict[str, bytes]:
    dice = random.Random(7)
    data = json.dumps([{"id": n, "tags": ["a", "b"], "x": dice.random()} for n in range(45_000)])
    code = "".join(f'let x{n} = vec![("a", {n}), ("b", [1, 2])]; // "{{é}}"\n' for n in range(110_000))
    many = {"messages": [{"role": "user", "content": "hi"} for _each in range(60_000)]}
    asks: dict[str, dict[str, Any]] = {
        "json of 2.5 MiB": {"messages": [{"role": "user", "content": data}]},
        "code of 5.5 MiB": {"messages": [{"role": "user", "content": code}]},
        "60,000 messages": many,
        "picture of 20 MiB": {"picture": "x" * (20 << 20)},
    }
    return {name: json.dumps({**chat(1, model=REASONING_MODEL), **ask}).encode() for name, ask in asks.items()}


PROMPTS = prompts()


@pytest.mark.parametrize("name", PROMPTS)
def test_a_large_prompt_reaches_the_engine_as_it_is(client: Client, heard: list[bytes], name: str) -> None:
    body = PROMPTS[name]
    answer = client.ask(body, method="POST")
    assert answer.status == 200, answer.body
    assert json.loads(heard[0].partition(b"\r\n\r\n")[2]) == json.loads(body)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
@pytest.mark.parametrize("model", [FAST_MODEL, REASONING_MODEL, "task:fix"])
def test_a_gzipped_body_is_accepted(client: Client, engines: dict[str, Engine], model: str, stream: bool) -> None:
    body = gzip.compress(json.dumps(chat(3, model=model, stream=stream)).encode())
    answer = client.ask(body, method="POST", headers={"Content-Encoding": "gzip"})
    assert answer.status == 200, answer.body


def test_the_limit_holds_after_unpacking(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    before = made.memory("VmHWM")
    bomb = gzip.compress(bytes(300 << 20), 1)
    answer = client.ask(bomb, method="POST", headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "32 MiB" in answer.error["message"]
    assert made.memory("VmHWM") - before < 150


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"\x1f\x8b\x08\x00garbage"),
        ("gzip", gzip.compress(json.dumps(chat()).encode())[:-9]),
        ("gzip", b"{}"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
        ("br", b"\x0b\x02\x80{}\x03"),
        ("deflate", zlib.compress(b"{}")),
        ("x-nothing", b"{}"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused(
    client: Client, engines: dict[str, Engine], coding: str, body: bytes
) -> None:
    answer = client.ask(body, method="POST", headers={"Content-Encoding": coding})
    assert answer.status in (400, 415), answer.body
    assert answer.error["type"] == "invalid_request_error"


def test_the_limit_is_said(client: Client, engines: dict[str, Engine]) -> None:
    answer = client.ask(b"x" * (33 << 20), method="POST")
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "32 MiB" in answer.error["message"]


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"413 Payload Too Large", b"422 Unprocessable"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "in one piece"])
def test_the_engines_own_refusal_stays_the_engines(
    client: Client, made: Gateway, engines: dict[str, Engine], status: bytes, stream: bool
) -> None:
    error = {"error": {"message": "No slot is free.", "type": "engine_error", "param": None, "code": int(status[:3])}}

    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer(error, status))

    with instead(made, answer):
        found = client.ask(chat(model=REASONING_MODEL, stream=stream))
        assert (found.status, found.data["error"]["message"]) == (int(status[:3]), "No slot is free.")
        assert found.data["error"]["code"] not in ("rate_limit_exceeded", "request_too_large")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [PICTURE]}]}),
        ("/v1/embeddings", {"input": "hello"}),
        ("/v1/rerank", {"query": "hello", "documents": ["a", "b"]}),
        ("/v1/chat/completions", {"messages": "hello"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": "many"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "grammar": "root ::= ("}),
    ],
)
def test_a_users_mistake_is_no_failure_of_the_service(
    client: Client, engines: dict[str, Engine], path: str, body: dict[str, object]
) -> None:
    for model in (FAST_MODEL, REASONING_MODEL):
        answer = client.ask({**body, "model": model}, path=path)
        assert 400 <= answer.status < 500, (answer.status, answer.body)
        assert answer.data["error"]["message"]
