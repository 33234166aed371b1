# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends answers of engines that were frozen: they keep their connections, and nothing ever comes over them.

Only an engine is asked that is not registered as ready, and over whose connections nothing has come for a while, not
even a sign of life: one that reads a long prompt is still to be waited for, and answers when it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from ...core.gateway import dead_upstreams
from ..common.log import log
from .dead_upstreams import QUESTION
from .proxy import Relay

LOOK_S = 2.0
PATIENCE_S = 10.0


class Answers(Protocol):
    """The answers that are on their way."""

    def relays(self) -> list[Relay]:
        """Give them all."""

    def ready(self) -> Collection[str]:
        """Give the engines that are registered as ready."""


async def _answers(endpoint: str) -> bool:
    host, _colon, port = endpoint.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(QUESTION)
        return bool(await reader.read(1))
    finally:
        writer.close()


async def is_frozen(endpoint: str) -> bool:
    """Ask an engine how it is. One that cannot be reached at all is gone as well."""
    with suppress(OSError, asyncio.TimeoutError):
        return not await asyncio.wait_for(_answers(endpoint), PATIENCE_S)
    return True


async def look(answers: Answers) -> None:
    """Look once."""
    loop = asyncio.get_running_loop()
    moved: dict[str, float] = {}
    for relay in answers.relays():
        moved[relay.endpoint] = max(moved.get(relay.endpoint, relay.moved), relay.moved)
    for endpoint in dead_upstreams.still(moved, answers.ready(), loop.time()):
        if not await is_frozen(endpoint):
            continue
        found = [relay for relay in answers.relays() if relay.endpoint == endpoint and relay.moved <= moved[endpoint]]
        log(f"{endpoint} takes connections and gives no answer: {len(found)} answers of it end here")
        for relay in found:
            relay.give_up()


async def end_frozen(answers: Answers) -> None:
    """Look again and again."""
    while True:
        await asyncio.sleep(LOOK_S)
        await look(answers)
