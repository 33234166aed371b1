# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that accept connections but do not answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import stalled_upstreams, upstream
from tests.unit.agent.gateway.running_gateway import STREAM_HEAD, Engine, Running, serve, token, whole


@pytest.mark.parametrize(
    ("state", "answers", "is_ended"),
    [("draining", False, True), ("draining", True, False), ("ready", False, False)],
)
def test_only_silent_engines_that_are_not_ready_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, answers: bool, is_ended: bool
) -> None:
    monkeypatch.setattr(stalled_upstreams, "STILL_S", 0.1)
    monkeypatch.setattr(stalled_upstreams, "PATIENCE_S", 0.3)
    engines: list[Engine] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if engines[0].requests[-1][0].startswith("GET /health"):
            if answers:
                writer.write(whole(b"{}"))
            await reader.read()
            return
        writer.write(STREAM_HEAD + token())
        await reader.read()

    async def check(made: Running) -> None:
        engines.append(made.engine)
        async with made.post() as response:
            assert await response.content.readany()
            made.report(state=state)
            await asyncio.sleep(0.3)
            await stalled_upstreams.check(made.gateway.engines, made.gateway.state)
            if is_ended:
                assert b"tier_unavailable" in await response.read()
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(response.read(), 0.5)

    serve(tmp_path, check, script)


def test_wait_that_is_ending_can_be_given_up_again() -> None:
    async def run() -> None:
        exchange = upstream.UpstreamExchange("engine")
        waiting = asyncio.create_task(exchange.wait(asyncio.sleep(10)))
        await asyncio.sleep(0)
        for _each in range(3):
            exchange.give_up()
            await asyncio.sleep(0)
        with pytest.raises(upstream.UpstreamFailedError):
            await waiting

    asyncio.run(run())


def test_engines_are_checked_again_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    async def broken(*_arguments: object) -> None:
        calls.append(1)
        raise RuntimeError

    monkeypatch.setattr(stalled_upstreams, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(stalled_upstreams, "check", broken)

    async def check(made: Running) -> None:
        task = asyncio.create_task(stalled_upstreams.end_stalled(made.gateway.engines, made.gateway.state))
        await asyncio.sleep(0.2)
        task.cancel()
        assert len(calls) > 2

    serve(tmp_path, check)
