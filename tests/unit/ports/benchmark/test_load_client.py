# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of the load client, against an endpoint that notes when it wrote each event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.ports.benchmark.load_client import Endpoint, LoadClient

KEY = "key-of-the-endpoint"


class Double:
    """A double of an engine's API: its answers take known times, and it notes the real ones."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: list[dict[str, Any]] = []
        self.models: Any = {"data": [{"id": "tiny"}]}
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._is_up.wait(20)

    def _serve(self) -> None:
        async def up() -> None:
            app = web.Application()
            app.router.add_post("/v1/chat/completions", self._chat)
            app.router.add_get("/v1/models", self._list)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._is_up.set()

        self._loop.run_until_complete(up())
        self._loop.run_forever()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.models)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Invalid API key"}}, status=401)
        kind = body["messages"][0]["content"]
        if kind == "redirect":
            raise web.HTTPFound("/elsewhere")
        if kind == "cut":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
            assert request.transport is not None
            request.transport.close()
            return response
        if kind == "silent":
            await asyncio.sleep(3600)
        return await self._stream(request, body)

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        kind, tokens = body["messages"][0]["content"], body["max_tokens"]
        seen: dict[str, Any] = {"asked": time.monotonic(), "tokens": []}
        self.answers.append(seen)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await asyncio.sleep(0.2)
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"role": "assistant"}}]}\n\n')
        seen["first_response"] = time.monotonic()
        for number in range(tokens):
            await asyncio.sleep(0.02)
            name = "reasoning_content" if kind == "thinks" and number < tokens // 2 else "content"
            await response.write(b"data: %s\n\n" % json.dumps({"choices": [{"delta": {name: "word "}}]}).encode())
            seen["tokens"].append(time.monotonic())
        usage = {"prompt_tokens": 7, "completion_tokens": tokens, "prompt_tokens_details": {"cached_tokens": 3}}
        if kind != "no usage":
            await response.write(b"data: %s\n\n" % json.dumps({"choices": [], "usage": usage}).encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    made = Double()
    yield made
    made.close()


@pytest.fixture
def client(double: Double) -> LoadClient:
    double.answers.clear()
    return LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 20.0)


def body(kind: str, tokens: int = 20) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": kind}], "max_tokens": tokens, "stream": True}


def test_times_are_those_of_the_endpoint(client: LoadClient, double: Double) -> None:
    (timing,) = client.run([[body("thinks", 50)]])
    (seen,) = double.answers
    assert timing.error == ""
    assert (timing.prompt_tokens, timing.cached_tokens, timing.output_tokens) == (7, 3, 50)
    start, written = seen["asked"], seen["tokens"]
    assert timing.ttfr_ms == pytest.approx((seen["first_response"] - start) * 1000, rel=0.02, abs=20)
    assert timing.ttft_ms == pytest.approx((written[0] - start) * 1000, rel=0.02, abs=20)
    assert timing.ttfot_ms == pytest.approx((written[25] - start) * 1000, rel=0.02, abs=20)
    assert timing.itl_ms == pytest.approx((written[-1] - written[0]) * 1000 / 49, rel=0.02)


def test_clients_run_together_and_each_sends_its_requests_in_turn(client: LoadClient, double: Double) -> None:
    done: list[int] = []
    timings = client.run([[body("answers", 5), body("answers", 5)] for _client in range(8)], lambda: done.append(1))
    assert [timing.error for timing in timings] == [""] * 16
    assert len(done) == 16
    firsts, seconds = timings[0::2], timings[1::2]
    assert max(one.start for one in firsts) < min(one.end for one in firsts)
    assert all(second.start >= first.end for first, second in zip(firsts, seconds, strict=True))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", "the connection failed (ClientPayloadError)"),
        ("no usage", "the stream holds no count of its tokens (usage)"),
        ("redirect", "302: no message"),
    ],
)
def test_failed_requests_have_a_reason(client: LoadClient, kind: str, error: str) -> None:
    (timing,) = client.run([[body(kind)]])
    assert timing.error == error


def test_silent_endpoint_is_given_up(double: Double) -> None:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", KEY), 0.5)
    (timing,) = client.run([[body("silent")]])
    assert timing.error == "the endpoint is silent"


def test_wrong_key_is_said_in_the_words_of_the_api(double: Double) -> None:
    client = LoadClient(Endpoint(f"http://127.0.0.1:{double.port}", "wrong"), 20.0)
    (timing,) = client.run([[body("answers")]])
    assert timing.error == "401: Invalid API key"


def test_closed_port_is_a_failed_request() -> None:
    (timing,) = LoadClient(Endpoint("http://127.0.0.1:1"), 20.0).run([[body("answers")]])
    assert timing.error == "no connection (Connection refused)"


def test_models_are_listed(client: LoadClient) -> None:
    assert client.models() == ["tiny"]


@pytest.mark.parametrize("models", [[], {"data": []}, {"data": [{"id": 7}]}, {"data": {"id": "tiny"}}, "tiny"])
def test_endpoint_without_a_list_of_models_is_refused(client: LoadClient, double: Double, models: Any) -> None:
    found = double.models
    double.models = models
    try:
        with pytest.raises(RemoteFailureError, match="lists no model"):
            client.models()
    finally:
        double.models = found
