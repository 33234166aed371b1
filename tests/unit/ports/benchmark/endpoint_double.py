# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of an engine's API with known delays, for the tests of the benchmark's client and module."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

KEY = "key-of-the-endpoint"
FIRST_RESPONSE_S, TOKEN_S = 0.2, 0.02


class VirtualClock:
    """A clock that stands still until an endpoint advances it.

    Each line of a stream reads the clock once. The endpoint waits until an event is read before it advances the clock
    again.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self._reads = 0

    def __call__(self) -> float:
        self._reads += 1
        return self._now

    @property
    def reads(self) -> int:
        return self._reads

    def advance(self, seconds: float) -> None:
        self._now += seconds


class Double:
    """A double of an engine's API: its answers take known times, and it notes the real ones.

    Like llama-server, it closes a connection after a stream without saying so beforehand.
    """

    def __init__(self) -> None:
        self._used: set[object] = set()
        self.port = 0
        self.answers: list[dict[str, Any]] = []
        self.models: Any = {"data": [{"id": "tiny"}]}
        self.clock: VirtualClock | None = None

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.models)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.protocol in self._used:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        self._used.add(request.protocol)
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
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.05)
            return web.Response()
        return await self._stream(request, body)

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        kind, tokens = body["messages"][0]["content"], body["max_tokens"]
        seen: dict[str, Any] = {"asked": time.monotonic(), "tokens": []}
        self.answers.append(seen)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await self._wait(FIRST_RESPONSE_S)
        await response.prepare(request)
        await self._write(response, {"choices": [{"delta": {"role": "assistant"}}]})
        seen["first_response"] = time.monotonic()
        for number in range(tokens):
            await self._wait(TOKEN_S)
            name = "reasoning_content" if kind == "thinks" and number < tokens // 2 else "content"
            await self._write(response, {"choices": [{"delta": {name: "word "}}]})
            seen["tokens"].append(time.monotonic())
        usage = {"prompt_tokens": 7, "completion_tokens": tokens, "prompt_tokens_details": {"cached_tokens": 3}}
        if kind != "no usage":
            await self._write(response, {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _wait(self, seconds: float) -> None:
        if self.clock is None:
            await asyncio.sleep(seconds)
        else:
            self.clock.advance(seconds)

    async def _write(self, response: web.StreamResponse, event: dict[str, Any]) -> None:
        before = self.clock.reads if self.clock else 0
        await response.write(b"data: %s\n\n" % json.dumps(event).encode())
        # The event's line and the empty line after it.
        while self.clock is not None and self.clock.reads < before + 2:
            await asyncio.sleep(0)


@contextmanager
def in_a_thread(double: Double) -> Iterator[Double]:
    """Serve in a thread of its own."""
    is_up, end = threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = await double.start()
        is_up.set()
        await end.wait()
        await runner.cleanup()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert is_up.wait(60)
    try:
        yield double
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(60)
