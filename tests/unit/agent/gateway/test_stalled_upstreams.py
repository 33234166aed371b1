# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that accept connections but do not answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import stalled_upstreams
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
