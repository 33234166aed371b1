# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder: usage is in memory at once and in the database shortly after, also if that fails for a while."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import usage_database
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import metrics
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.usage import recorder
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.usage.recorder import UsageRecorder
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage import counts
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.counts import Usage, UsageKey
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.usage.report import Period
from tests.unit.agent.gateway import running_gateway
from tests.unit.agent.gateway.running_gateway import Running, answer, code, serve, token, whole

ALWAYS = Period(0, 1 << 40)


def row(key: str = "ann", hour: int | None = None) -> UsageKey:
    return UsageKey(counts.hour_of(time.time()) if hour is None else hour, key, key, "", "small", "fast")


def stored(path: Path) -> dict[str, Usage]:
    return {each.key: usage for each, usage in usage_database.read_rows(path, ALWAYS)}


def test_the_months_tokens_survive_a_restart_and_come_from_both_instances(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite3"

    async def run() -> None:
        first, second = UsageRecorder(path, 400), UsageRecorder(path, 400)
        first.load()
        first.add(row(), Usage(1, 0, 10))
        assert first.month_tokens("ann", time.time()) == 10
        await first.close()
        second.load()
        assert second.month_tokens("ann", time.time()) == 10
        third = UsageRecorder(path, 400)
        third.add(row(), Usage(1, 0, 5))
        await third.close()
        second.add(row(), Usage(1, 0, 1))
        await second.flush()
        assert second.month_tokens("ann", time.time()) == 16
        await second.close()

    asyncio.run(run())
    assert stored(path) == {"ann": Usage(3, 0, 16)}


def test_usage_waits_while_the_database_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorder, "RETRY_S", 0.05)
    folder = tmp_path / "state"
    path = folder / "usage.sqlite3"

    async def run() -> None:
        made = UsageRecorder(path, 400)
        made.load()
        made.add(row(), Usage(1, 0, 10))
        await asyncio.sleep(0.3)
        made.add(row(), Usage(1, 0, 1))
        assert made.month_tokens("ann", time.time()) == 11
        folder.mkdir()
        while not path.exists() or not stored(path):
            await asyncio.sleep(0.05)
        assert made.month_tokens("ann", time.time()) == 11
        await made.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert stored(path) == {"ann": Usage(2, 0, 11)}
    said = capsys.readouterr()
    assert (said.out + said.err).count("usage cannot be stored") == 2
    assert (said.out + said.err).count("usage is stored again") == 1


def test_rows_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_ROWS", 2)

    async def run() -> None:
        made = UsageRecorder(tmp_path / "none" / "usage.sqlite3", 400)
        for key in ("ann", "bob", "eve", "ann"):
            made.add(row(key), Usage(1))
        assert len(await UsageRecorder(None, 1).rows(ALWAYS, "ann")) == 0
        await made.close()
        assert [each.requests for each in made._pending.values()] == [2, 1]

    asyncio.run(run())


def test_a_month_begins_with_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        made = UsageRecorder(tmp_path / "usage.sqlite3", 400)
        now = time.time()
        made.add(row(), Usage(1, 0, 10))
        await made.flush()
        assert made.month_tokens("ann", now) == 10
        assert made.month_tokens("ann", counts.month_end(now)) == 0
        await made.close()

    asyncio.run(run())


def test_each_request_to_a_tier_is_stored_once_however_it_ends(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await code(made.post()) == (200, "None")
        assert await code(made.post(b"no JSON")) == (400, "invalid_json")
        assert await code(made.post({**running_gateway.CHAT, "model": "other"})) == (404, "model_not_found")
        assert await code(made.post(key="herd-unknown")) == (401, "invalid_api_key")
        async with made.get("/v1/models") as response:
            assert response.status == 200

    users = {"ann": {"project": "weather", "user": "ann-smith"}}
    serve(tmp_path, check, answer(whole(running_gateway.ANSWER)), users=users)
    ((counted, usage),) = usage_database.read_rows(tmp_path / "usage.sqlite3", ALWAYS)
    assert counted == UsageKey(counted.hour, "ann", "ann-smith", "weather", "small", "fast")
    assert usage == Usage(1, 0, 7, 3)


def test_a_stream_that_its_client_leaves_counts_what_came(tmp_path: Path) -> None:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(running_gateway.STREAM_HEAD + token() * 5)
        await writer.drain()
        await asyncio.sleep(30)

    async def check(made: Running) -> None:
        async with made.post({**running_gateway.CHAT, "stream": True}) as response:
            data = b""
            while data.count(b"data:") < 5:
                data += await response.content.readany()
            response.close()
        while not await made.gateway.usage.rows(ALWAYS, "ann"):
            await asyncio.sleep(0.05)

    serve(tmp_path, check, script)
    found = stored(tmp_path / "usage.sqlite3")["ann"]
    assert (found.requests, found.cut, found.prompt_tokens, found.completion_tokens) == (1, 1, 0, 5)
    assert found.estimated_tokens > 0


def test_a_keys_bearer_sees_that_keys_usage_and_budget(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await code(made.post()) == (200, "None")
        assert await code(made.post(key=running_gateway.OTHER_KEY)) == (200, "None")
        async with made.get("/usage") as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
            found = await response.json()
        assert (found["key"], found["user"], found["project"]) == ("ann", "ann-smith", "weather")
        assert found["total"]["tokens"] == found["days"][0]["tokens"] == found["models"][0]["tokens"] == 10
        assert (found["budget"]["allowed"], found["budget"]["remaining"]) == (5000, 4990)
        assert await code(made.get("/usage", key="")) == (401, "invalid_api_key")
        assert await code(made.get("/usage", key="herd-unknown")) == (401, "invalid_api_key")
        assert await code(made.post(path="/usage")) == (405, "method_not_allowed")

    users = {"ann": {"project": "weather", "user": "ann-smith"}}
    limits = {"default": {"requests_per_minute": 0, "burst": 1, "concurrency": 0, "tokens_per_month": 5000}}
    serve(tmp_path, check, users=users, limits=limits)


def test_usage_that_cannot_be_read_is_an_error_of_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "usage.sqlite3").write_text("no database, but longer than the header of one" * 4, encoding="utf-8")

    async def check(made: Running) -> None:
        assert await code(made.post()) == (200, "None")
        assert await code(made.get("/usage")) == (503, "gateway_unavailable")

    serve(tmp_path, check)


def test_metrics_count_by_project_and_bound_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_PROJECTS", 1)
    name = "herd_gateway_project_tokens_total"

    async def check(made: Running) -> None:
        for key in (running_gateway.KEY, running_gateway.OTHER_KEY, running_gateway.KEY):
            assert await code(made.post(key=key)) == (200, "None")
        found = {labels: value for labels, value in (await made.metrics()).items() if "_project_" in labels}
        assert found == {
            'herd_gateway_project_requests_total{project="weather"}': 2,
            'herd_gateway_project_requests_total{project="(other)"}': 1,
            f'{name}{{kind="prompt",project="weather"}}': 14,
            f'{name}{{kind="completion",project="weather"}}': 6,
            f'{name}{{kind="estimated",project="weather"}}': 0,
            f'{name}{{kind="prompt",project="(other)"}}': 7,
            f'{name}{{kind="completion",project="(other)"}}': 3,
            f'{name}{{kind="estimated",project="(other)"}}': 0,
        }

    serve(tmp_path, check, users={"ann": {"project": "weather"}, "bob": {"project": "other"}})
