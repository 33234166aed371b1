# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of one key that wait for each other, in a gateway with one slot and in the limiter itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import limits as gateway_limits
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.limits import KeyLimiter
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import RateLimits
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.user_keys import UserKey
from tests.unit.agent.gateway.running_gateway import ANSWER, KEY, OTHER_KEY, Running, code, serve, whole

ANN = UserKey("ann", "ann", "0" * 64)
PATIENT = {"requests_per_minute": 0, "burst": 1, "concurrency": 2, "queue_timeout": 25}


async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.02)
    writer.write(whole(ANSWER))
    await writer.drain()


def test_fifty_requests_of_one_key_wait_and_delay_another_key_by_few(tmp_path: Path) -> None:
    ended: list[str] = []

    async def ask(made: Running, key: str) -> None:
        assert await code(made.post(key=key)) == (200, "None")
        ended.append(key)

    async def check(made: Running) -> None:
        many = [asyncio.create_task(ask(made, KEY)) for _each in range(50)]
        while len(made.engine.requests) < 3:
            await asyncio.sleep(0.01)
        begun = len(made.engine.requests)
        await ask(made, OTHER_KEY)
        assert len(made.engine.requests) - begun < 10
        await asyncio.gather(*many)

    serve(tmp_path, check, slow, slots=1, limits={"default": PATIENT})
    assert ended.count(KEY) == 50
    assert ended.index(OTHER_KEY) < 20


def test_a_request_waits_no_longer_than_its_limit(tmp_path: Path) -> None:
    goes_on = asyncio.Event()

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        writer.write(whole(ANSWER))
        await writer.drain()

    async def check(made: Running) -> None:
        first = asyncio.create_task(code(made.post()))
        while not made.engine.requests:
            await asyncio.sleep(0.01)
        async with made.post() as refused:
            error = (await refused.json())["error"]
            assert (refused.status, error["code"]) == (429, "concurrency_exceeded")
            assert "limit 1; none ended within 0 seconds" in error["message"]
            assert error["herd"] == {"limit": "concurrency", "allowed": 1, "remaining": 0, "resets_s": 1}
        goes_on.set()
        assert await first == (200, "None")
        assert await code(made.post()) == (200, "None")

    serve(tmp_path, check, script, limits={"default": {**PATIENT, "concurrency": 1, "queue_timeout": 0.3}})


def test_a_client_that_leaves_while_it_waits_gives_its_place_to_the_next(tmp_path: Path) -> None:
    goes_on = asyncio.Event()

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        writer.write(whole(ANSWER))
        await writer.drain()

    async def check(made: Running) -> None:
        first, leaver, last = (asyncio.create_task(code(made.post())) for _each in range(3))
        while made.gateway.running < 3:
            await asyncio.sleep(0.01)
        leaver.cancel()
        while made.gateway.running > 2:
            await asyncio.sleep(0.01)
        goes_on.set()
        assert await first == await last == (200, "None")
        assert len(made.engine.requests) == 2
        assert [line["status"] for line in made.log()].count(499) == 1

    serve(tmp_path, check, script, limits={"default": {**PATIENT, "concurrency": 1}})


def test_without_a_time_to_wait_a_request_is_refused_at_once() -> None:
    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(0, 1, 1)
        async with limiter.admit(ANN, limits):
            with pytest.raises(ApiError, match=r"\(limit 1\)"):
                async with limiter.admit(ANN, limits):
                    pass

    asyncio.run(run())


def test_requests_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_limits, "MOST_WAITING", 1)

    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(0, 1, 1, queue_timeout=30)

        async def enter() -> None:
            async with limiter.admit(ANN, limits):
                pass

        async with limiter.admit(ANN, limits):
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0)
            with pytest.raises(ApiError, match="Too many concurrent"):
                await enter()
        await waiting
        await enter()

    asyncio.run(run())
