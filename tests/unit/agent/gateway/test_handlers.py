# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one pass of a request through the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.unit.agent.gateway.running_gateway import STREAM_HEAD, answer, event, running, token, whole

ANSWER = b'{"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}'


def test_whole_response_reaches_the_client(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, answer(whole(ANSWER))) as made:
            async with made.post(headers={"X-Request-Id": "0123456789abcdef"}) as response:
                assert (response.status, await response.read()) == (200, ANSWER)
                assert response.headers["X-Request-Id"] == "0123456789abcdef"
                assert (response.headers["X-Herd-Tier"], response.headers["X-Herd-Model"]) == ("fast", "small")
            line = made.line()
            assert (line["key"], line["tier"], line["status"], line["complete"]) == ("ann", "fast", 200, True)
            assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)
            head, _body = made.engine.requests[0]
            assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\n") and "Bearer engine-key" in head

    asyncio.run(run())


def test_stream_reaches_the_client(tmp_path: Path) -> None:
    data = STREAM_HEAD + token() * 3 + event(b"[DONE]") + b"0\r\n\r\n"

    async def run() -> None:
        async with running(tmp_path, answer(data)) as made:
            async with made.post() as response:
                assert response.headers["X-Accel-Buffering"] == "no"
                assert response.headers["Cache-Control"] == "no-cache"
                assert (await response.text()).count("data:") == 4
            assert made.line()["completion_tokens"] == 3

    asyncio.run(run())
