# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the gateway itself: its pages, and the list of models."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import status as status_pages
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import report as status_report
from tests.unit.agent.gateway.running_gateway import KEY, Running, answer, code, serve, settings_data, whole

MODELS = {
    "models": [{"model": "small", "capabilities": ["completion", "multimodal"]}],
    "data": [{"id": "small", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}],
}


def test_models_are_listed_as_their_engines_describe_them(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        async with made.get("/v1/models") as response:
            data = (await response.json())["data"]
        assert [(each["id"], each["owned_by"]) for each in data] == [
            ("small", "llamacpp"),
            ("modèle", "herd"),
            ("large", "herd"),
        ]
        herd = {"tier": "fast", "state": "ready", "context": 4096, "capabilities": ["completion", "multimodal"]}
        assert data[0]["herd"] == herd
        async with made.get("/v1/models", headers={"anthropic-version": "2023-06-01"}) as response:
            found = await response.json()
            assert (found["first_id"], found["data"][0]["type"]) == ("small", "model")
        # Asked once for all of them.
        assert len(made.engine.requests) == 1

    serve(tmp_path, check, answer(whole(json.dumps(MODELS).encode())))


def test_key_sees_only_the_models_that_it_opens(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        async with made.get("/v1/models") as response:
            assert [each["id"] for each in (await response.json())["data"]] == ["large"]
        assert await code(made.get("/v1/models/small")) == (404, "model_not_found")
        assert await code(made.get("/v1/models/large")) == (200, "None")
        assert await code(made.post()) == (403, "tier_not_allowed")

    serve(tmp_path, check, users={"ann": {"tiers": ["reasoning"]}})


def test_states_of_tiers_are_zero_or_one(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        found = await made.metrics()
        assert found['herd_tier_state{state="ready",tier="fast"}'] == 1
        assert found['herd_tier_state{state="preempted",tier="fast"}'] == 0
        assert found['herd_tier_state{state="stopped",tier="reasoning"}'] == 1
        assert found['herd_tier_ready{tier="fast"}'] == 1
        assert not [name for name in found if "_created" in name]

    serve(tmp_path, check)


def test_own_pages_need_no_key(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        for path, status in (
            ("/health", 200),
            ("/fast/v1/health", 200),
            ("/reasoning/health", 503),
            ("/status.json", 200),
            ("/status", 200),
            ("/", 302),
        ):
            async with made.get(path, key="") as response:
                assert response.status == status
                assert response.headers["X-Request-Id"]
        assert await code(made.post(path="/health")) == (405, "method_not_allowed")
        async with made.get("/status", key="", headers={"Host": "x:8080", "X-Forwarded-Proto": "https"}) as response:
            assert "https://x:8080/v1" in await response.text()

    serve(tmp_path, check)


def test_engines_that_serve_are_listed_for_prometheus_alone(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        for key in ("", KEY, "wrong", "schlüssel"):
            async with made.get("/targets.json", key=key) as response:
                assert response.status == 401
        async with made.get("/targets.json", key="engine-key") as response:
            assert response.headers["Content-Type"] == "application/json"
            (target,) = await response.json()
        assert target["targets"] == [f"127.0.0.1:{made.engine.port}"]
        assert target["labels"]["tier"] == "fast"

    serve(tmp_path, check)


def test_pages_are_kept_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_at, real = list[str](), status_report.collect

    def recorded(*given: Any) -> Any:
        made_at.append("")
        return real(*given)

    monkeypatch.setattr(status_report, "collect", recorded)

    async def check(made: Running) -> None:
        monkeypatch.setattr(status_pages, "KEPT_S", 30.0)
        monkeypatch.setattr(status_pages, "KEPT_TIMES", 1e6)
        for path in ("/status.json", "/status", "/metrics"):
            bodies = set()
            for _reader in range(5):
                async with made.get(path, key="") as response:
                    bodies.add(await response.read())
            assert len(bodies) == 1
        assert len(made_at) == 2
        monkeypatch.setattr(status_pages, "KEPT_S", 0.0)
        async with made.get("/status", key="", headers={"Host": "other"}) as response:
            assert "http://other/" in await response.text()
        async with made.get("/status", key="") as response:
            assert response.status == 200
        assert len(made_at) == 4

    serve(tmp_path, check)


def test_status_names_the_models_that_a_router_has_loaded(tmp_path: Path) -> None:
    models = {
        "data": [{"id": "small", "status": {"value": "loaded"}}, {"id": "other", "status": {"value": "unloaded"}}]
    }

    async def check(made: Running) -> None:
        async def read() -> None:
            async with made.get("/status.json") as response:
                tiers = {tier["name"]: tier for tier in (await response.json())["tiers"]}
            assert (tiers["fast"]["loaded"], tiers["reasoning"]["loaded"]) == (["small"], None)

        await asyncio.gather(*(read() for _reader in range(20)))
        assert len(made.engine.requests) == 1

    router, other = settings_data(tmp_path)["tiers"]
    tiers = [{**router, "kind": "router"}, other]
    serve(tmp_path, check, answer(whole(json.dumps(models).encode())), tiers=tiers)


def test_status_has_the_last_hour_of_each_tier(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert (await code(made.post()))[0] == 200
        async with made.get("/status.json") as response:
            history = (await response.json())["tiers"][0]["history"]
        # The present minute is not over, and the process began in it or in the one before.
        assert history["requests"][:59] == [None] * 59
        assert set(history) == {"from", "requests", "tokens_per_s", "ttft_s"}

    serve(tmp_path, check)
