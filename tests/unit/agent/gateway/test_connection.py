# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines of large bodies take turns, so that none of them delays the others."""

from __future__ import annotations

import asyncio

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.connection import CooperativeTasks
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.http_message import Response
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.routing import RequestPipeline, Verdict

DONE = Response(200)


def pipeline(name: str, steps: int, ran: list[str]) -> RequestPipeline:
    for _each in range(steps):
        ran.append(name)
        yield
    return DONE


def run(*pipelines: RequestPipeline) -> list[Verdict]:
    verdicts: list[Verdict] = []

    async def main() -> None:
        tasks = CooperativeTasks()
        for each in pipelines:
            tasks.run(each, verdicts.append)
        for _turn in range(20):
            await asyncio.sleep(0)

    asyncio.run(main())
    return verdicts


def test_pipelines_take_turns() -> None:
    ran: list[str] = []
    assert run(pipeline("a", 3, ran), pipeline("b", 2, ran)) == [DONE, DONE]
    assert ran == ["a", "b", "a", "b", "a"]


def test_pipeline_of_one_step_has_its_verdict_at_once() -> None:
    verdicts: list[Verdict] = []
    # Without an event loop: a later turn would fail.
    CooperativeTasks().run(pipeline("a", 0, []), verdicts.append)
    assert verdicts == [DONE]


def test_closed_pipeline_has_no_verdict() -> None:
    closed = pipeline("a", 2, [])
    closed.close()
    assert run(closed) == []
