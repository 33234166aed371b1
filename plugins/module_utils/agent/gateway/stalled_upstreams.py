# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End the responses of engines that accept connections but do not answer, such as a process that was stopped.

Only engines are checked that are not registered as ready, and whose connections have been silent for a while, without
even a keep-alive comment. An engine that reads a long prompt answers the check and is left alone.
"""

from __future__ import annotations

import asyncio

from ..common.log import log
from .state import GatewayState
from .upstream import EngineClient, UpstreamFailedError

CHECK_EVERY_S = 2.0
#: Seconds of silence on all connections to an engine, after which it is checked, and seconds for its answer.
STILL_S, PATIENCE_S = 20.0, 10.0


def silent_endpoints(engines: EngineClient, ready: set[str], now: float) -> dict[str, float]:
    """Return the engines to check, and when each last sent anything. Their own jobs check those that are ready."""
    moved: dict[str, float] = {}
    for exchange in engines.exchanges:
        moved[exchange.endpoint] = max(moved.get(exchange.endpoint, 0.0), exchange.moved)
    return {name: when for name, when in moved.items() if name not in ready and now - when >= STILL_S}


async def check(engines: EngineClient, state: GatewayState) -> None:
    """Check all engines once, and end the exchanges with stalled ones."""
    now = asyncio.get_running_loop().time()
    for endpoint, when in silent_endpoints(engines, state.ready_endpoints(), now).items():
        try:
            await engines.get(endpoint, "/health", PATIENCE_S, 1)
        except UpstreamFailedError:
            stalled = [one for one in engines.exchanges if one.endpoint == endpoint and one.moved <= when]
            log(f"{endpoint} accepts connections but does not answer: ending {len(stalled)} responses")
            for exchange in stalled:
                exchange.give_up()


async def end_stalled(engines: EngineClient, state: GatewayState) -> None:
    """Check again and again."""
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        try:
            await check(engines, state)
        except Exception as error:
            # The next turn may succeed, and no other task does this.
            log(f"checking silent engines failed: {type(error).__name__}: {error}")
