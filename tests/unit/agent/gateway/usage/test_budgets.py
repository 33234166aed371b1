# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Budgets of tokens by month: refusals that say what is left, over restarts and requests that run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage import counts
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.budget import MonthBudget
from tests.unit.agent.gateway.running_gateway import ANSWER, CHAT, OTHER_KEY, Running, code, serve, whole

NOW = 1796040000.0  # 2026-11-30T12:00:00Z
NO_LIMIT = {"requests_per_minute": 0, "burst": 1, "concurrency": 0}
#: Ten tokens by its usage, and about thirty by its estimate.
SMALL = {**CHAT, "max_tokens": 10}


def test_a_spent_budget_says_when_the_next_one_begins() -> None:
    with pytest.raises(ApiError) as caught:
        MonthBudget(1000, 1000, NOW).check(1)
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (429, "insufficient_quota", 43201)
    assert error.message == (
        "This key has spent its budget of 1,000 tokens for 2026-11. The next one begins at 2026-12-01T00:00:00Z,"
        " in 12 hours."
    )
    resets = "2026-12-01T00:00:00Z"
    assert error.more["herd"] == {"limit": "tokens_per_month", "allowed": 1000, "remaining": 0, "resets": resets}
    assert error.headers["x-should-retry"] == "false"


def test_a_request_that_is_larger_than_the_rest_says_what_is_left() -> None:
    MonthBudget(1000, 900, NOW).check(100)
    with pytest.raises(ApiError, match="may take 101 tokens, and 100 of this key's 1,000 tokens for 2026-11 are left"):
        MonthBudget(1000, 900, NOW).check(101)


def test_headers_name_what_is_left() -> None:
    assert MonthBudget(1000, 900, NOW).headers("tokens") == {
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "100",
        "x-ratelimit-reset-tokens": "43201s",
    }
    assert MonthBudget(1000, 2000, NOW).remaining == 0


async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.2)
    writer.write(whole(ANSWER))
    await writer.drain()


def test_a_months_budget_holds_over_a_restart_and_for_each_key(tmp_path: Path) -> None:
    limits = {"default": {**NO_LIMIT, "tokens_per_month": 60}}

    async def before(made: Running) -> None:
        made.gateway.usage.load()
        for _each in range(3):
            assert await code(made.post(SMALL)) == (200, "None")

    async def after(made: Running) -> None:
        made.gateway.usage.load()
        async with made.get("/v1/models") as response:
            assert response.headers["x-ratelimit-remaining-tokens-month"] == "30"
            assert response.headers["x-ratelimit-remaining-tokens"] == "30"
        async with made.post({**SMALL, "max_tokens": 40}) as refused:
            error = (await refused.json())["error"]
            assert (refused.status, error["code"], error["herd"]["remaining"]) == (429, "insufficient_quota", 30)
            assert int(refused.headers["Retry-After"]) > 0
        assert await code(made.post(SMALL, key=OTHER_KEY)) == (200, "None")
        end = counts.month_end(time.time())
        with mock.patch.object(time, "time", lambda: end + 1.0):
            assert made.gateway.usage.month_tokens("ann", time.time()) == 0

    # The engine's answer has ten tokens.
    serve(tmp_path, before, slow, limits=limits)
    serve(tmp_path, after, slow, limits=limits)


def test_running_requests_reserve_their_estimate(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        found = await asyncio.gather(*(code(made.post({**SMALL, "max_tokens": 400})) for _each in range(4)))
        assert sorted(found) == [(200, "None"), (200, "None"), (429, "insufficient_quota"), (429, "insufficient_quota")]
        # The usage was ten tokens each.
        assert await code(made.post({**SMALL, "max_tokens": 400})) == (200, "None")

    serve(tmp_path, check, slow, limits={"default": {**NO_LIMIT, "tokens_per_month": 1000}})


def test_the_minutes_refusal_says_what_is_left(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await code(made.post({**SMALL, "max_tokens": 400})) == (200, "None")
        async with made.post({**SMALL, "max_tokens": 590}) as refused:
            error = (await refused.json())["error"]
            assert (refused.status, error["code"]) == (429, "rate_limit_exceeded")
            assert error["herd"]["limit"] == "tokens_per_minute"
            assert 585 < error["herd"]["remaining"] < 600
            assert error["herd"]["resets_s"] == int(refused.headers["Retry-After"])
            # The month has more left than the minute.
            assert int(refused.headers["x-ratelimit-limit-tokens"]) == 600
            assert int(refused.headers["x-ratelimit-limit-tokens-month"]) == 5000

    serve(tmp_path, check, limits={"default": {**NO_LIMIT, "tokens_per_minute": 600, "tokens_per_month": 5000}})
