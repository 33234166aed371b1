# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of models as engines describe it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import models
from tests.unit.agent.gateway.running_gateway import Running, serve, whole

LIST = json.dumps({"data": [{"id": "small", "owned_by": "lab", "meta": {"n_ctx": 4096}}], "x": "y" * 50_000}).encode()


async def in_pieces(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = whole(LIST)
    for begin in range(0, len(data), 20_000):
        writer.write(data[begin : begin + 20_000])
        await writer.drain()
        await asyncio.sleep(0.05)


async def contexts(made: Running) -> list[int]:
    async with made.get("/v1/models") as response:
        assert response.status == 200
        return [model["context_length"] for model in (await response.json())["data"] if "context_length" in model]


def test_description_in_several_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await contexts(made) == [4096]

    serve(tmp_path, check, in_pieces)


def test_concurrent_readers_share_a_description(tmp_path: Path) -> None:
    async def check(made: Running) -> None:
        assert await asyncio.gather(*(contexts(made) for _each in range(5))) == [[4096]] * 5
        assert len(made.engine.requests) == 1

    serve(tmp_path, check, in_pieces)


def test_reader_keeps_a_description_that_another_one_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRESH_S", 0.02)

    async def late(made: Running, seconds: float) -> list[int]:
        await asyncio.sleep(seconds)
        return await contexts(made)

    async def check(made: Running) -> None:
        assert await asyncio.gather(*(late(made, 0.03 * index) for index in range(8))) == [[4096]] * 8

    serve(tmp_path, check, in_pieces)
