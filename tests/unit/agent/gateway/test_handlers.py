# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one pass of a request through the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.exchange import Exchange
from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_paths
from tests.unit.agent.gateway.running_gateway import (
    ANSWER,
    CHAT,
    KEY,
    OTHER_KEY,
    STREAM_HEAD,
    Running,
    answer,
    code,
    event,
    serve,
    token,
    whole,
)

LIMITS = {"default": {"requests_per_minute": 60, "burst": 3, "concurrency": 2, "tokens_per_minute": 6000}}


def test_whole_response_reaches_the_client(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        async with made.post(headers={"X-Request-Id": "0123456789abcdef", "X-Real-IP": "10.0.0.9"}) as response:
            assert (response.status, await response.read()) == (200, ANSWER)
            assert response.headers["X-Request-Id"] == "0123456789abcdef"
            assert (response.headers["X-Herd-Tier"], response.headers["X-Herd-Model"]) == ("fast", "small")
        line = made.line()
        assert (line["key"], line["tier"], line["status"], line["complete"]) == ("ann", "fast", 200, True)
        assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)
        assert (line["id"], line["client"], line["sent"]) == ("0123456789abcdef", "10.0.0.9", len(ANSWER))
        assert KEY not in json.dumps(line) and "hello" not in json.dumps(line)

    serve(tmp_path, check)


def test_engine_gets_only_the_gateways_headers(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        headers = {"Cookie": "a=b", "X-Forwarded-For": "x", "Accept": "application/json", "anthropic-version": "1"}
        async with made.post(headers=headers) as response:
            assert response.status == 200
        head, body = made.engine.requests[0]
        names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
        assert names == {
            "host",
            "accept",
            "anthropic-version",
            "authorization",
            "content-type",
            "content-length",
            "connection",
        }
        assert "Authorization: Bearer engine-key\r\n" in head and "Connection: close" in head
        assert json.loads(body) == CHAT

    serve(tmp_path, check)


def test_stream_reaches_the_client(tmp_path: Path) -> None:
    data = STREAM_HEAD + token() * 3 + event(b"[DONE]") + b"0\r\n\r\n"

    async def check(made: Running) -> None:
        async with made.post() as response:
            assert response.headers["X-Accel-Buffering"] == "no"
            assert response.headers["Cache-Control"] == "no-cache"
            assert (await response.text()).count("data:") == 4
        assert (made.line()["completion_tokens"], made.line()["ttft"] >= 0) == (3, True)

    serve(tmp_path, check, answer(data))


@pytest.mark.parametrize("path", sorted(api_paths.ENGINE_PATHS))
def test_all_paths_reach_the_engine(tmp_path: Path, path: str) -> None:
    async def check(made: Running) -> None:
        async with made.post(path=f"/fast{path}?x=y") as response:
            assert response.status == 200
        assert made.engine.requests[0][0].startswith(f"POST {api_paths.ENGINE_PATHS[path]} HTTP/1.1\r\n")

    serve(tmp_path, check)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/v1/chat/completions", "Use /v1/chat/completions."),
        ("/v1/chat/completions/", "Use /v1/chat/completions."),
        ("//v1/chat/completions", "Use /v1/chat/completions."),
        ("/fast//v1/messages", "Use /fast/v1/messages."),
        ("/slots", "There is nothing at /slots."),
    ],
)
def test_wrong_path_names_the_right_one(tmp_path: Path, path: str, hint: str) -> None:
    async def check(made: Running) -> None:
        async with made.client.post(
            f"http://gateway{path}", headers={"X-Herd-Entry": "fast", "Authorization": f"Bearer {KEY}"}
        ) as response:
            assert response.status == 404
            assert hint in (await response.json())["error"]["message"]

    serve(tmp_path, check)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"api-key": KEY}, 200),
        ({"Authorization": "Bearer sk-placeholder", "x-api-key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}", "x-api-key": "placeholder"}, 200),
        ({"Authorization": "Bearer ", "api-key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}", "x-api-key": OTHER_KEY}, 200),
        ({}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer wrong", "x-api-key": "wrong too"}, 401),
        ({"x-api-key": "k" * 9000}, 401),
    ],
)
def test_one_valid_key_counts(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async def check(made: Running) -> None:
        found, name = await code(made.post(key="", headers=headers))
        assert (found, name) == (status, "None" if status == 200 else "invalid_api_key")

    serve(tmp_path, check)


def test_revoked_key_is_refused_at_once(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert (await code(made.post()))[0] == 200
        (tmp_path / "revoked.json").write_text(json.dumps({"revoked": ["ann"]}), encoding="utf-8")
        await asyncio.sleep(0.06)
        async with made.post(headers={"x-api-key": "other"}) as response:
            assert response.status == 401
            assert "revoked" in await response.text()

    serve(tmp_path, check)


def test_requests_are_refused_until_the_keys_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(made: Running) -> None:
        made.gateway.state.keys = None
        monkeypatch.setattr(made.gateway.state, "refresh", lambda at_once=False: None)
        assert await code(made.post()) == (503, "gateway_unavailable")

    serve(tmp_path, check)


def test_every_answer_under_a_limit_says_how_much_is_left(tmp_path: Path) -> None:
    names = {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}

    async def check(made: Running) -> None:
        for request in (made.post(), made.post({**CHAT, "model": "none"}), made.get("/v1/models"), made.post()):
            async with request as response:
                assert names <= {name.lower() for name in response.headers}, response.status
                await response.read()
        assert response.status == 429
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(response.headers["Retry-After"]) >= 1

    serve(tmp_path, check, limits=LIMITS)


def test_tokens_are_settled_by_usage(tmp_path: Path) -> None:
    limits = {"default": {**LIMITS["default"], "requests_per_minute": 0}}

    async def check(made: Running) -> None:
        began = time.monotonic()
        for _each in range(20):
            async with made.post({**CHAT, "max_tokens": 3000}) as response:
                assert response.status == 200
        async with made.post({**CHAT, "max_tokens": 3000}) as response:
            # The key gets fifty tokens a second back.
            most = 2900 + 50 * (time.monotonic() - began)
            assert 2700 < int(response.headers["x-ratelimit-remaining-tokens"]) < most

    serve(tmp_path, check, limits=limits)


def test_prompt_is_charged_if_the_client_leaves_before_the_usage(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + token())
        await reader.read()

    async def check(made: Running) -> None:
        async with made.post({**CHAT, "max_tokens": 100, "x": "y" * 8000}) as response:
            await response.content.readany()
        while made.gateway.running:
            await asyncio.sleep(0.01)
        async with made.post({**CHAT, "max_tokens": 100}) as response:
            assert 3500 < int(response.headers["x-ratelimit-remaining-tokens"]) < 4000

    serve(tmp_path, check, script, limits=LIMITS)


def test_tokens_are_at_most_as_many_as_the_bytes_allow(tmp_path: Path) -> None:
    usage = b'{"usage": {"prompt_tokens": 999999999, "completion_tokens": 999999999}}'
    limits = {"default": {**LIMITS["default"], "tokens_per_minute": 60_000}}

    async def check(made: Running) -> None:
        for _each in range(3):
            assert (await code(made.post()))[0] == 200

    serve(tmp_path, check, answer(whole(usage)), limits=limits)


def test_error_of_the_engine_costs_no_tokens(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        for _each in range(5):
            assert (await code(made.post({**CHAT, "max_tokens": 3000})))[0] == 400

    limits = {"default": {**LIMITS["default"], "requests_per_minute": 0}}
    serve(tmp_path, check, answer(whole(b'{"error": {"message": "No."}}', "400 Bad")), limits=limits)


def test_concurrent_requests_of_a_key_are_limited(tmp_path: Path) -> None:
    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.write(whole(ANSWER))

    async def check(made: Running) -> None:
        found = await asyncio.gather(*(code(made.post()) for _each in range(3)), code(made.post(key=OTHER_KEY)))
        assert sorted(found) == [(200, "None")] * 3 + [(429, "concurrency_exceeded")]
        assert (await code(made.post()))[0] == 200

    limits = {"default": {"requests_per_minute": 0, "burst": 1, "concurrency": 2}}
    serve(tmp_path, check, slow, limits=limits)


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        ("429 Slow down", {"message": "Engine's own limit.", "type": "x"}, 429),
        ("413 Large", {"message": "Engine's own limit.", "type": "x"}, 413),
        ("400 Bad", {"message": "Context exceeded.", "type": "exceed_context_size_error", "n_ctx": 8}, 400),
        ("500 Error", {"message": "image input is not supported - hint: mmproj", "type": "server_error"}, 400),
        ("501 None", {"message": "This server does not support embeddings.", "type": "not_supported_error"}, 400),
        ("500 Error", {"message": "Compute error.", "type": "server_error"}, 500),
    ],
)
def test_engines_own_errors_stay(tmp_path: Path, status: str, error: dict[str, Any], wanted: int) -> None:
    body = json.dumps({"error": error}).encode()

    async def check(made: Running) -> None:
        async with made.post() as response:
            assert (response.status, await response.read()) == (wanted, body)
            assert response.headers["X-Request-Id"]
        assert "refused" not in made.line()

    serve(tmp_path, check, answer(whole(body, status)))


def test_engines_4xx_without_json_keeps_its_status(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await code(made.post()) == (404, "engine_error")

    serve(tmp_path, check, answer(whole(b"Not Found", "404 Not Found", "Content-Type: text/html\r\n")))


def test_names_that_are_not_ascii(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        async with made.post({**CHAT, "model": "modèle"}) as response:
            assert (response.status, response.headers["X-Herd-Model"]) == (200, "mod%C3%A8le")
        assert json.loads(made.engine.requests[0][1])["model"] == "modèle"
        assert made.line()["model"] == "modèle"
        async with made.get("/v1/models/mod%C3%A8le") as response:
            assert (response.status, (await response.json())["id"]) == (200, "modèle")

    serve(tmp_path, check)


def test_tier_that_is_away_for_long_is_not_tried_again(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        made.report(state="preempted", reason="preempted by VASP job 88", expected=time.time() + 1500, endpoints=[])
        async with made.post() as response:
            assert (response.status, response.headers["x-should-retry"]) == (503, "false")
            assert "Try again in 25 minutes." in await response.text()
            assert int(response.headers["Retry-After"]) > 1000

    serve(tmp_path, check)


def test_engine_on_a_foreign_host_gets_no_request(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        made.report(host="127.0.0.2")
        async with made.post() as response:
            assert (response.status, "no host of the inventory" in await response.text()) == (503, True)
        assert made.engine.requests == []

    serve(tmp_path, check)


def test_fallback_answers_if_the_connection_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(made: Running) -> None:
        state = made.gateway.state
        state.refresh()
        statuses = dict(state.router.status)
        statuses["reasoning"] = replace(statuses["fast"], endpoint="127.0.0.1:9", models=("large",))
        state.router.status = statuses
        monkeypatch.setattr(state, "refresh", lambda at_once=False: None)
        async with made.post({**CHAT, "model": "large"}, headers={"X-Herd-Fallback": "allow"}) as response:
            assert (response.status, response.headers["X-Herd-Fallback-From"]) == (200, "reasoning")
            assert (response.headers["X-Herd-Tier"], response.headers["X-Herd-Model"]) == ("fast", "small")
        assert await code(made.post({**CHAT, "model": "large"})) == (503, "tier_unavailable")
        assert all(value == 0 for name, value in (await made.metrics()).items() if "in_flight" in name)

    serve(tmp_path, check)


def test_waiting_request_of_a_client_that_leaves_frees_its_place(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(whole(ANSWER))

    async def check(made: Running) -> None:
        first = asyncio.create_task(code(made.post()))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(code(made.post()))
        await asyncio.sleep(0.1)
        assert (await made.metrics())['herd_gateway_in_flight{tier="fast"}'] == 2
        second.cancel()
        await asyncio.sleep(0.1)
        assert (await made.metrics())['herd_gateway_in_flight{tier="fast"}'] == 1
        line = made.line()
        assert (line["status"], line["complete"]) == (499, False)
        release.set()
        assert (await first)[0] == 200
        assert (await code(made.post()))[0] == 200

    serve(tmp_path, check, slow, slots=1)


def test_log_has_no_task_that_a_client_makes_up(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await code(made.post(path="/task/my%20secret/v1/chat/completions")) == (400, "unknown_task")
        line = made.line()
        assert (line["path"], line["refused"], line["status"]) == ("/task/v1/chat/completions", "unknown_task", 400)
        assert "secret" not in json.dumps(line)

    serve(tmp_path, check)


def test_error_inside_a_response_sends_no_second_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.begin(200, {"Content-Length": "100"})
        await exchange.write(b"part")
        raise ZeroDivisionError

    async def check(made: Running) -> None:
        monkeypatch.setattr(made.gateway, "_answer_or_refuse", broken)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "gateway.sock"))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found = await reader.read()
        assert found.endswith(b"\r\n\r\npart"), found
        writer.close()

    serve(tmp_path, check)


def test_error_of_the_gateway_itself_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(made: Running) -> None:
        monkeypatch.setattr(made.gateway.state.router, "route", lambda *_arguments: 1 / 0)
        assert await code(made.post()) == (500, "internal_error")
        assert (await made.metrics())["herd_gateway_held_bytes"] == 0

    serve(tmp_path, check)


def test_waiting_request_is_routed_anew_when_its_tier_drains(tmp_path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def check(made: Running) -> None:
        first = asyncio.create_task(code(made.post()))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(code(made.post()))
        await asyncio.sleep(0.1)
        made.report(slots=1, state="draining", reason="draining for VASP job 88")
        made.gateway.refresh()
        assert await asyncio.wait_for(second, 2) == (503, "tier_unavailable")
        assert not first.done()
        first.cancel()

    serve(tmp_path, check, slow, slots=1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"FOO /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: \x01\r\n\r\n", 400),
    ],
)
def test_invalid_http_gets_an_error_in_the_apis_shape(tmp_path: Path, data: bytes, status: int) -> None:
    async def check(made: Running) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "gateway.sock"))
        writer.write(data)
        head, _empty, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.0 %d " % status) and b"X-Request-Id: " in head
        assert set(json.loads(body)) == {"error"}
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert made.log()[-1]["status"] == status

    serve(tmp_path, check)


def test_unprintable_headers_of_a_client_reach_no_engine(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        async with made.post(headers={"Accept": "caf\u00e9", "Content-Type": "application/json"}) as response:
            assert response.status == 200
        assert "caf" not in made.engine.requests[0][0]

    serve(tmp_path, check)
