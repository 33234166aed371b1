# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End responses of stalled engines: they keep their connections, but nothing comes over them.

Only engines are checked that are not registered as ready, and whose connections have been silent for a while, without
even a keep-alive comment. An engine that reads a long prompt answers the check and is left alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ...core.gateway import dead_upstreams
from ..common.log import log
from .dead_upstreams import QUESTION

if TYPE_CHECKING:
    from .app import GatewayApp

CHECK_EVERY_S = 2.0
#: Seconds that a health check may take.
PATIENCE_S = 10.0


async def _answers(endpoint: str) -> bool:
    host, _colon, port = endpoint.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(QUESTION)
        return bool(await reader.read(1))
    finally:
        writer.close()


async def is_stalled(endpoint: str) -> bool:
    """Return whether an engine answers no health check. An engine that cannot be reached counts as stalled."""
    with suppress(OSError, asyncio.TimeoutError):
        return not await asyncio.wait_for(_answers(endpoint), PATIENCE_S)
    return True


async def check(app: GatewayApp) -> None:
    """Check all engines once, and end the responses of stalled ones."""
    loop = asyncio.get_running_loop()
    moved: dict[str, float] = {}
    for request in app.proxied_requests():
        moved[request.endpoint] = max(moved.get(request.endpoint, request.moved), request.moved)
    for endpoint in dead_upstreams.silent_endpoints(moved, app.ready_endpoints(), loop.time()):
        if not await is_stalled(endpoint):
            continue
        stalled = [one for one in app.proxied_requests() if one.endpoint == endpoint and one.moved <= moved[endpoint]]
        log(f"{endpoint} accepts connections but does not answer: ending {len(stalled)} responses")
        for request in stalled:
            request.give_up()


async def end_stalled(app: GatewayApp) -> None:
    """Check again and again."""
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        await check(app)
