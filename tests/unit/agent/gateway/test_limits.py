# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of keys, of engines and of memory."""

from __future__ import annotations

import asyncio

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.limits import (
    EngineQueue,
    KeyLimiter,
    MemoryBudget,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.rate_limit import RateLimits
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.user_keys import UserKey

ANN, BOB = (UserKey(name, name, "0" * 64) for name in ("ann", "bob"))


def test_requests_beyond_the_rate_are_refused() -> None:
    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(60, 2, 0)
        for _each in range(2):
            async with limiter.admit(ANN, limits):
                pass
        with pytest.raises(ApiError) as caught:
            async with limiter.admit(ANN, limits):
                pass
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        assert caught.value.headers["x-ratelimit-limit-requests"] == "2"
        assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
        assert caught.value.headers["x-ratelimit-reset-requests"] == "2s"
        async with limiter.admit(BOB, limits) as admission:
            assert admission.headers()["x-ratelimit-remaining-requests"] == "1"

    asyncio.run(run())


def test_concurrent_requests_beyond_the_limit_are_refused_until_one_ends() -> None:
    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(0, 1, 1)
        with pytest.raises(RuntimeError):
            async with limiter.admit(ANN, limits):
                with pytest.raises(ApiError) as caught:
                    async with limiter.admit(ANN, limits):
                        pass
                assert (caught.value.code, caught.value.headers["Retry-After"]) == ("concurrency_exceeded", "1")
                async with limiter.admit(BOB, limits):
                    pass
                raise RuntimeError
        async with limiter.admit(ANN, limits) as admission:
            headers = {"x-ratelimit-limit-concurrency": "1", "x-ratelimit-remaining-concurrency": "0"}
            assert admission.headers() == headers

    asyncio.run(run())


def test_tokens_are_charged_by_estimate_and_settled_by_usage() -> None:
    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(0, 1, 0, tokens_per_minute=600)
        async with limiter.admit(ANN, limits) as first:
            first.charge_tokens(500)
            assert first.headers()["x-ratelimit-remaining-tokens"] == "100"
            first.settle_tokens(50)
        async with limiter.admit(ANN, limits) as second:
            second.charge_tokens(540)
            second.settle_tokens(600)
        async with limiter.admit(ANN, limits) as third:
            with pytest.raises(ApiError) as caught:
                third.charge_tokens(100)
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        assert "tokens" in caught.value.message

    asyncio.run(run())


def test_absurd_usage_does_not_lock_a_key_out() -> None:
    async def run() -> None:
        limiter, limits = KeyLimiter(), RateLimits(0, 1, 0, tokens_per_minute=600)
        async with limiter.admit(ANN, limits) as first:
            first.charge_tokens(10**9)
            first.settle_tokens(300)
            assert first.headers()["x-ratelimit-remaining-tokens"] == "300"
            first.settle_tokens(10**9)
        async with limiter.admit(ANN, limits) as second:
            with pytest.raises(ApiError) as caught:
                second.charge_tokens(1)
        assert int(caught.value.headers["Retry-After"]) <= 61

    asyncio.run(run())


def test_memory_is_given_back_whatever_fails() -> None:
    budget = MemoryBudget(200, 5)
    with pytest.raises(RuntimeError), budget.reservation("ann") as reservation:
        reservation.resize(80)
        with budget.reservation("ann") as other, pytest.raises(ApiError) as caught:
            other.resize(30)
        assert (caught.value.status, caught.value.code) == (503, "gateway_busy")
        reservation.resize(10)
        assert budget.held == 10
        raise RuntimeError
    assert budget.held == 0


def test_one_key_leaves_memory_for_others_and_for_small_bodies() -> None:
    mib = 1 << 20
    budget = MemoryBudget(32 * mib, 5)
    with (
        budget.reservation("ann") as first,
        budget.reservation("bob") as second,
        budget.reservation("bob") as third,
        budget.reservation("cas") as small,
    ):
        with pytest.raises(ApiError):
            first.resize(16 * mib + 1)
        first.resize(16 * mib)
        second.resize(12 * mib)
        with pytest.raises(ApiError):
            third.resize(2 * mib)
        small.resize(mib)
    assert budget.held == 0


async def serve(
    queue: EngineQueue, key: str, name: str, served: list[str], seconds: float = 0.01, slots: int = 1
) -> None:
    async with queue.slot(("engine", ""), slots, key, 1000):
        served.append(name)
        await asyncio.sleep(seconds)


def test_engine_gets_as_many_requests_as_it_has_slots() -> None:
    async def run() -> None:
        queue, running, most = EngineQueue(5, 5), 0, 0

        async def one() -> None:
            nonlocal running, most
            async with queue.slot(("engine", ""), 3, "ann", 1):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.01)
                running -= 1

        await asyncio.gather(*(one() for _each in range(20)))
        assert most == 3

    asyncio.run(run())


def test_request_with_several_completions_takes_several_slots() -> None:
    async def run() -> None:
        queue, served = EngineQueue(5, 5), list[str]()
        async with queue.slot(("engine", ""), 3, "ann", 1, completions=2):
            async with queue.slot(("engine", ""), 3, "bob", 1):
                waiting = asyncio.create_task(serve(queue, "ann", "ann", served, slots=3))
                await asyncio.sleep(0.01)
                assert not served
            await waiting
        async with queue.slot(("engine", ""), 3, "ann", 1, completions=1000):
            waiting = asyncio.create_task(serve(queue, "bob", "bob", served, slots=3))
            await asyncio.sleep(0.01)
            assert served == ["ann"]
        await waiting

    asyncio.run(run())


def test_more_slots_wake_waiting_requests() -> None:
    async def run() -> None:
        queue, served = EngineQueue(5, 5), list[str]()
        tasks = [asyncio.create_task(serve(queue, "ann", str(index), served, 0.2)) for index in range(3)]
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(serve(queue, "bob", "bob", served, slots=4)))
        await asyncio.sleep(0.01)
        assert len(served) == 4
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_waiting_keys_take_turns() -> None:
    async def run() -> None:
        queue, served = EngineQueue(5, 5), list[str]()
        busy = [asyncio.create_task(serve(queue, "ann", f"ann {index}", served)) for index in range(10)]
        await asyncio.sleep(0)
        other = asyncio.create_task(serve(queue, "bob", "bob", served))
        await asyncio.gather(*busy, other)
        assert served.index("bob") <= 3

    asyncio.run(run())


def test_waiting_request_ends_at_its_deadline() -> None:
    async def run() -> None:
        queue, served = EngineQueue(0.05, 5), list[str]()
        first = asyncio.create_task(serve(queue, "ann", "first", served, 0.2))
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as caught:
            await serve(queue, "bob", "second", served)
        assert (caught.value.status, caught.value.code) == (503, "engine_busy")
        await first
        await serve(queue, "bob", "third", served)
        assert served == ["first", "third"]

    asyncio.run(run())


def test_cancelled_requests_leave_their_place_and_slot() -> None:
    async def run() -> None:
        queue, served = EngineQueue(5, 5), list[str]()
        tasks = [asyncio.create_task(serve(queue, "ann", str(index), served, 10)) for index in range(5)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(serve(queue, "bob", "last", served), 1)
        assert served[-1] == "last"

    asyncio.run(run())
