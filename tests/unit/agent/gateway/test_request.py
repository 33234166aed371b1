# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import request as gateway_request
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.limits import MemoryBudget
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.request import InferenceRequest
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from tests.unit.agent.gateway.running_gateway import CHAT, answer, running, whole

BUDGET = MemoryBudget(1 << 30, 5)


def parse(body: bytes, content_type: str = "application/json") -> InferenceRequest:
    with BUDGET.reservation("ann") as reservation:
        return InferenceRequest(bytearray(body), content_type, reservation)


async def sent(request: InferenceRequest) -> bytes:
    return b"".join([piece async for piece in request.pieces()])


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model": "small", "stream": true}', "small", True),
        (b'{"model": "mod\\u00e8le", "stream": "true"}', "modèle", False),
        (b'\xef\xbb\xbf{"model": "small"}', "small", False),
        (b'{"model": null}', None, False),
        (b"{}", None, False),
        (b'{"model": ["small"]}', False, False),
        (b'{"model": {"a": 1}}', False, False),
        (b'{"model": 3}', 3, False),
        (b'{"model": "a", "model": "b"}', "b", False),
        (b'{"messages": [{"model": "other"}]}', None, False),
    ],
)
def test_fields(body: bytes, model: Any, stream: bool) -> None:
    found = parse(body)
    assert (found.model, found.stream) == (model, stream)
    assert asyncio.run(sent(found)) == body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b'{"model": "small"', "invalid_json"),
        (b'{"model": "small"} {}', "invalid_json"),
        (b'{"model": "\xff"}', "invalid_json"),
        (b'{"temperature": NaN}', "invalid_json"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body_too_complex"),
        (b'{"a": [' + b"1," * 2_000_001 + b"1]}", "body_too_complex"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_invalid_bodies_are_the_users_mistake(body: bytes, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    "text",
    [json.dumps({"rows": [{"id": index, "name": "x"} for index in range(90_000)]}), 'if (a) { b("c"); }\n' * 280_000],
    ids=["2.5 MiB of JSON", "5.5 MiB of code"],
)
def test_large_texts_are_not_too_complex(text: str) -> None:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": text}]}).encode()
    assert len(body) > 2_500_000
    assert parse(body).model == "small"


def test_model_is_replaced_and_the_rest_kept() -> None:
    body = b'{ "messages":[ 1.50, "\\u00e9"], "model" : "task:fix", "seed": 123456789012345678901234567890 }'
    found = parse(body)
    found.set_model("größe")
    assert asyncio.run(sent(found)) == body[:-1] + ',"model":"größe"}'.encode()


@pytest.mark.parametrize(
    "body", [b"{}", b' { "model": "x"\n} ', b'\xef\xbb\xbf{"a": "}"}', b'{"model": [], "model": "b"}']
)
def test_model_is_set_in_any_body(body: bytes) -> None:
    found = parse(body)
    found.set_model("other")
    found.set_model("größe")
    assert json.loads(asyncio.run(sent(found)).decode("utf-8-sig"))["model"] == "größe"


def test_many_keys_do_not_block_the_loop() -> None:
    """Objects for all of them took seconds."""
    body = b'{"model": "small", ' + b",".join(b'"%07d":1' % number for number in range(1_900_000)) + b"}"
    began = time.process_time()
    found = parse(body)
    found.set_model("other")
    assert time.process_time() - began < 0.5


def test_form_with_audio() -> None:
    body = b'--m\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n--m--\r\n'
    found = parse(body, "multipart/form-data; boundary=m")
    assert (found.model, found.stream) == ("small", False)
    found.set_model("other")
    assert b"other" in asyncio.run(sent(found))


@pytest.mark.parametrize(
    ("fields", "most"),
    [({"max_tokens": 100}, 200), ({"max_completion_tokens": 5}, 100), ({"max_tokens": -1}, 700), ({}, 700)],
)
def test_tokens_are_estimated(fields: dict[str, int], most: int) -> None:
    assert 0 < parse(json.dumps({**CHAT, **fields}).encode()).estimated_tokens < most


@pytest.mark.parametrize(
    ("fields", "answers", "completions"),
    [
        ({"max_tokens": 1, "n_predict": 5000}, 5000, 1),
        ({"max_completion_tokens": 700.9, "max_output_tokens": 2}, 700, 1),
        ({"max_tokens": True}, 512, 1),
        ({"max_tokens": 1, "n_predict": -1}, 512, 1),
        ({"max_tokens": 100, "n": 3, "best_of": 2}, 300, 3),
        ({"max_tokens": 100, "n": 2, "prompt": ["a", "b,c", "d"]}, 600, 6),
        ({"max_tokens": 100, "prompt": [[1, 2], [3]]}, 200, 2),
        ({"max_tokens": 100, "prompt": [1, 2, 3]}, 100, 1),
        ({"max_tokens": 100, "prompt": "[]"}, 100, 1),
        ({"max_tokens": 100, "prompt": []}, 100, 1),
    ],
)
def test_all_completions_are_estimated(fields: dict[str, Any], answers: int, completions: int) -> None:
    body = json.dumps(fields).encode()
    found = parse(body)
    assert (found.estimated_tokens - len(body) // 4, found.completions) == (answers, completions)


def test_too_many_prompts_are_refused_without_objects() -> None:
    began = time.process_time()
    with pytest.raises(ApiError, match="1,000 prompts"):
        parse(b'{"prompt": [' + b'"",' * 1_999_990 + b'""]}')
    assert time.process_time() - began < 0.3


def test_memory_is_held_until_the_body_is_sent() -> None:
    budget = MemoryBudget(1 << 20, 5)

    async def run() -> None:
        with budget.reservation("ann") as reservation:
            body = bytearray(b'{"p": "' + b"x" * 200_000 + b'"}')
            reservation.resize(len(body))
            request = InferenceRequest(body, "application/json", reservation)
            del body
            pieces = request.pieces()
            first = await pieces.__anext__()
            assert (type(first), len(first), budget.held) == (bytes, gateway_request.PIECE, 200_009)
            assert [piece async for piece in pieces]
            assert budget.held == 0

    asyncio.run(run())


def test_compressed_bodies_are_unpacked(tmp_path: Path) -> None:
    data = json.dumps({**CHAT, "model": None, "x": "y" * 300_000}).encode()

    async def run() -> None:
        async with running(tmp_path, answer(whole(b"{}"))) as made:
            async with made.post(gzip.compress(data), headers={"Content-Encoding": "gzip"}) as response:
                assert response.status == 200
            head, body = made.engine.requests[0]
            assert body == data
            assert "content-encoding" not in head.lower()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "coding", "status", "code"),
    [
        (gzip.compress(b" " * (64 << 20)), "gzip", 413, "request_too_large"),
        (gzip.compress(b"{}")[:-3], "gzip", 400, "invalid_encoding"),
        (b"{}", "gzip", 400, "invalid_encoding"),
        (gzip.compress(b"{") + gzip.compress(b"}"), "gzip", 400, "invalid_encoding"),
        (gzip.compress(b"{}") + b"x", "gzip", 400, "invalid_encoding"),
        (b"{}", "br", 415, "unsupported_encoding"),
        (b" " * ((4 << 20) + 1), "identity", 413, "request_too_large"),
    ],
    ids=["bomb", "cut", "plain", "members", "more", "br", "large"],
)
def test_bodies_are_bounded_after_unpacking(tmp_path: Path, body: bytes, coding: str, status: int, code: str) -> None:
    async def run() -> None:
        async with running(tmp_path, answer(whole(b"{}"))) as made:
            async with made.post(body, headers={"Content-Encoding": coding}) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (status, code)
                if status == 413:
                    assert "4 MiB" in await response.text()
            assert made.engine.requests == []
            assert (await made.metrics())["herd_gateway_held_bytes"] == 0

    asyncio.run(run())


def test_bodies_beyond_the_budget_are_refused(tmp_path: Path) -> None:
    """The engine is busy and reads nothing."""

    async def frozen(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        async with running(tmp_path, frozen, slots=1, body_memory=8 << 20) as made:
            body = json.dumps({**CHAT, "x": "y" * (3 << 20)}).encode()

            async def one() -> int:
                async with made.post(body) as response:
                    return int(response.status)

            tasks = [asyncio.create_task(one()) for _each in range(10)]
            done, waiting = await asyncio.wait(tasks, timeout=3)
            assert {task.result() for task in done} == {503}
            assert len(done) >= 7
            assert (await made.metrics())["herd_gateway_held_bytes"] <= 8 << 20
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.sleep(0.2)
            found = await made.metrics()
            assert found["herd_gateway_held_bytes"] == 0
            assert found['herd_gateway_in_flight{tier="fast"}'] == 0

    asyncio.run(run())
