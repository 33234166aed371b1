# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that break HTTP: their bytes reach neither the client's framing nor another client."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import upstream
from tests.unit.agent.gateway.running_gateway import (
    CHAT,
    STREAM_HEAD,
    Running,
    answer,
    event,
    running,
    token,
    whole,
)

OK = b'{"choices": []}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def outcome(made: Running, **more: Any) -> tuple[int, bytes]:
    """Return the status and the body of a request; -1 if the response is cut."""
    try:
        async with asyncio.timeout(20), made.post(**more) as response:
            headers = {name.lower() for name in response.headers}
            assert not headers & {"set-cookie", "x-evil", "location", "x-accel-redirect", "trailer"}, headers
            assert response.headers["X-Request-Id"]
            return response.status, await response.read()
    except ConnectionError:
        return -1, b""
    except aiohttp.ClientError:
        return -1, b""


REFUSED = {
    "nothing": b"",
    "garbage": b"garbage\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "http 0.9": b"<html>hello</html>",
    "length too large": HEAD + b"Content-Length: 100\r\n\r\n" + OK,
    "negative length": HEAD + b"Content-Length: -5\r\n\r\n" + OK,
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 16\r\n\r\n" + OK,
    "length and chunks": HEAD
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"
    + OK
    + b"\r\n0\r\n\r\n",
    "negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "bad chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "huge chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nhello\r\n0\r\n\r\n",
    "chunks without an end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\nContent-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "redirect": b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello",
    "status 99": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "own key refused": whole(b'{"error": {}}', "401 Unauthorized"),
    "loading": whole(b'{"error": {}}', "503 Service Unavailable"),
    "a long line": b"HTTP/1.1 200 OK\r\nX-Evil: " + b"x" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X-Evil: x\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n",
    "failed without json": whole(b"<html>", "500 Oops", "Content-Type: text/html\r\n"),
    "stream without an event": STREAM_HEAD + b"0\r\n\r\n",
    "stream that is cut at once": STREAM_HEAD,
    "stream with a bad chunk": STREAM_HEAD + b"zz\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_broken_response_is_503(tmp_path: Path, data: bytes, stream: bool) -> None:
    async def run() -> None:
        async with running(tmp_path, answer(data)) as made:
            status, body = await outcome(made, body={**CHAT, "stream": stream})
            assert (status, json.loads(body)["error"]["code"]) == (503, "tier_unavailable")
            assert len(made.engine.requests) == 1
            assert (await made.metrics())['herd_gateway_in_flight{tier="fast"}'] == 0
            line = made.line()
            assert (line["status"], line["tier"], line["engine"]) == (503, "fast", f"127.0.0.1:{made.engine.port}")

    asyncio.run(run())


FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
PASSED = {
    "plain": whole(OK),
    "until the end of the connection": HEAD + b"\r\n" + OK,
    "a second response": whole(OK) + FORGED,
    "informational responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX-Evil: y\r\n\r\n" + whole(OK),
    "chunks with trailers": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Evil: y\r\n\r\n" % (len(OK), OK),
    "headers of others": HEAD
    + b"Set-Cookie: a=b\r\nX-Evil: y\r\nX-Accel-Redirect: /x\r\nX-Request-Id: forged\r\nX-Herd-Tier: other\r\n"
    + b"Connection: keep-alive, X-Request-Id\r\nContent-Length: %d\r\n\r\n" % len(OK)
    + OK,
}


@pytest.mark.parametrize("data", PASSED.values(), ids=PASSED.keys())
def test_framing_is_written_anew(tmp_path: Path, data: bytes) -> None:
    async def run() -> None:
        async with running(tmp_path, answer(data)) as made:
            for _each in range(3):
                async with made.post(headers={"X-Request-Id": "0123456789"}) as response:
                    assert (response.status, await response.read()) == (200, OK)
                    assert response.headers.getall("X-Request-Id") == ["0123456789"]
                    assert response.headers.getall("X-Herd-Tier") == ["fast"]
                    allowed = {"Content-Type", "Content-Length", "Date", "Server", "Connection"}
                    assert set(response.headers) - allowed == {"X-Request-ID", "X-Herd-Tier", "X-Herd-Model"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream\r\n\r\n", 204),
        (whole(b"data: {}\n\n", "205 Reset Content", "Content-Type: text/event-stream\r\n"), 205),
    ],
)
def test_response_that_may_have_no_body_has_none(tmp_path: Path, data: bytes, status: int) -> None:
    async def run() -> None:
        async with running(tmp_path, answer(data)) as made:
            assert await outcome(made) == (status, b"")

    asyncio.run(run())


CUT = {
    "closed": b"",
    "inside an event": b"100\r\ndata: {",
    "inside a chunk": token()[:-9],
    "negative chunk": b"-5\r\n",
    "bad size": b"no size\r\n",
    "response inside": FORGED,
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_cut_stream_ends_with_an_error_event(tmp_path: Path, data: bytes, path: str) -> None:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + token() * 2)
        await asyncio.sleep(0.1)
        writer.write(data)

    async def run() -> None:
        async with running(tmp_path, script) as made:
            status, body = await outcome(made, path=path)
            *events, last, rest = body.decode().split("\n\n")
            assert (status, len(events), rest) == (200, 2, "")
            assert json.loads(last.partition("data: ")[2])["error"]["message"].startswith(
                "The response of the tier fast"
            )
            assert last.startswith("event: error\n") is (path != "/v1/chat/completions")
            line = made.line()
            assert (line["complete"], line["completion_tokens"]) == (False, 2)

    asyncio.run(run())


def test_cut_response_that_is_no_stream_ends_early(tmp_path: Path) -> None:
    data = HEAD + b"Content-Length: 3000000\r\n\r\n" + b"x" * 2_000_000

    async def run() -> None:
        async with running(tmp_path, answer(data)) as made:
            assert await outcome(made) == (-1, b"")
            assert made.line()["complete"] is False

    asyncio.run(run())


def test_large_response_is_passed_on(tmp_path: Path) -> None:
    body = b'{"x": "' + b"y" * 3_000_000 + b'"}'

    async def run() -> None:
        async with running(tmp_path, answer(whole(body))) as made:
            assert await outcome(made) == (200, body)
            assert (made.line()["sent"], made.line()["complete"]) == (len(body), True)

    asyncio.run(run())


ENDLESS = {
    "zeros of a chunk size": (STREAM_HEAD, b"0"),
    "zeros after a token": (STREAM_HEAD + token(), b"0"),
    "informational responses": (b"", b"HTTP/1.1 102 Wait\r\n\r\n"),
    "a slow head": (b"HTTP/1.1 200 OK\r\n", b"X"),
}


@pytest.mark.parametrize(("begin", "again"), ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_framing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes) -> None:
    monkeypatch.setattr(upstream, "FRAMING_S", 0.5)

    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.02)

    async def run() -> None:
        async with running(tmp_path, endless) as made:
            asking = asyncio.create_task(outcome(made))
            for _each in range(60):
                await asyncio.sleep(0.1)
                made.gateway.engines.sweep()
                if asking.done():
                    break
            status, body = await asking
            assert (status, b"tier_unavailable" in body) == (200 if b"data" in begin else 503, True)

    asyncio.run(run())


def test_silent_engine_is_given_up_after_the_read_timeout(tmp_path: Path) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + token())
        await asyncio.sleep(60)

    async def run() -> None:
        async with running(tmp_path, silent, read_timeout=1) as made:
            asking = asyncio.create_task(outcome(made))
            for _each in range(40):
                await asyncio.sleep(0.1)
                made.gateway.engines.sweep()
            status, body = await asking
            assert (status, b"tier_unavailable" in body) == (200, True)

    asyncio.run(run())


def test_bystander_is_served_beside_a_hostile_engine(tmp_path: Path) -> None:
    """Each connection gets its own answer: what an engine adds to one response reaches no other request."""
    number = 0

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        mine = json.dumps({"number": number}).encode()
        writer.write(whole(mine) + FORGED * (number % 2))
        await writer.drain()

    async def run() -> None:
        async with running(tmp_path, script, slots=0) as made:
            found = await asyncio.gather(*(outcome(made) for _each in range(40)))
            assert sorted(json.loads(body)["number"] for _status, body in found) == list(range(1, 41))

    asyncio.run(run())


def test_client_that_leaves_ends_the_engines_connection_and_is_counted(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + event({"choices": [{"delta": {"role": "assistant"}}]}) + token() * 39)
        await reader.read()
        ended.set()

    async def run() -> None:
        async with running(tmp_path, endless) as made:
            async with made.post() as response:
                received = b""
                while received.count(b"content") < 39:
                    received += await response.content.readany()
            await asyncio.wait_for(ended.wait(), 5)
            await asyncio.sleep(0.1)
            line = made.line()
            assert (line["completion_tokens"], line["complete"]) == (39, False)
            found = await made.metrics()
            assert found['herd_gateway_tokens_total{kind="completion",tier="fast"}'] == 39
            assert found['herd_gateway_in_flight{tier="fast"}'] == 0

    asyncio.run(run())


def test_requests_in_flight_return_to_zero_without_file_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_arguments: object, **_more: object) -> object:
        raise OSError(24, "Too many open files")

    async def run() -> None:
        async with running(tmp_path, answer(whole(OK))) as made:
            with monkeypatch.context() as patched:
                patched.setattr(socket, "socket", no_socket)
                tasks = [asyncio.create_task(outcome(made)) for _each in range(20)]
                found = await asyncio.gather(*tasks)
            assert {status for status, _body in found} <= {503, -1}
            assert (await made.metrics())['herd_gateway_in_flight{tier="fast"}'] == 0
            assert await outcome(made) == (200, OK)

    asyncio.run(run())
