# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own pages: health, metrics and status. They are open to everybody, and name no user and no key.

The list of engines for Prometheus has their addresses, so it needs the engines' key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ...core.gateway import api_errors
from ...core.gateway.api_errors import ApiError
from ...core.gateway.status import page as status_page
from ...core.gateway.status import report as status_report
from ...core.gateway.status import scrape
from . import metrics
from .auth import check_engine_key
from .exchange import Exchange
from .limits import MemoryBudget
from .metrics import GatewayMetrics
from .models import ModelList
from .state import GatewayState
from .status_page.assets import read_assets

#: A page is kept so many times as long as it took to make, so that it takes a small part of the process, and at most so
#: many seconds.
KEPT_TIMES, KEPT_S = 10.0, 1.0
_JSON = {"Content-Type": "application/json"}
#: Status, body and headers of a response.
Page = tuple[int, bytes, dict[str, str]]


class Pages:
    """The pages by path."""

    def __init__(self, state: GatewayState, counters: GatewayMetrics, memory: MemoryBudget, models: ModelList) -> None:
        self._state, self._metrics, self._memory, self._models = state, counters, memory, models
        self._assets = read_assets()
        self._kept: dict[str, tuple[float, str, bytes]] = {}
        self._pages: dict[str, Callable[[Exchange, str], Awaitable[Page]]] = {
            "/health": self._health,
            "/v1/health": self._health,
            "/metrics": self._metrics_text,
            scrape.PATH: self._targets,
            "/status": self._status_page,
            "/status.json": self._status_json,
            "/": self._first_page,
        }

    async def respond(self, exchange: Exchange, path: str, tier: str) -> bool:
        """Answer a request for a page, and return whether the path is one.

        :param path: the path without its prefix.
        :param tier: the tier of the prefix, else of the port.
        """
        page = self._pages.get(path)
        if page is None:
            return False
        check_method(exchange.request.method, path, ("GET", "HEAD"))
        status, body, headers = await page(exchange, tier)
        await exchange.respond(status, body, headers)
        return True

    async def _body(self, path: str, make: Callable[[], Awaitable[bytes]], address: str = "") -> bytes:
        """Return a page's body, which is kept for a while: anybody may ask for it at any rate.

        :param address: the gateway's address in the page; empty if it has none.
        """
        until, of, body = self._kept.get(path, (0.0, "", b""))
        began = time.monotonic()
        if began >= until or of != address:
            body = await make()
            now = time.monotonic()
            self._kept[path] = (now + min(KEPT_S, KEPT_TIMES * (now - began)), address, body)
        return body

    async def _health(self, _exchange: Exchange, tier: str) -> Page:
        status = self._state.router.status_of(tier)
        if not status.is_ready:
            raise api_errors.unavailable(tier, status, time.time())
        return 200, json.dumps({"status": "ok"}).encode(), _JSON

    async def _metrics_text(self, _exchange: Exchange, _tier: str) -> Page:
        async def make() -> bytes:
            state, router = self._state, self._state.router
            statuses = {name: router.status_of(name) for name in router.config.tiers}
            return self._metrics.text(statuses, state.reports, state.published, self._memory.held)

        return 200, await self._body("/metrics", make), {"Content-Type": metrics.CONTENT_TYPE}

    async def _targets(self, exchange: Exchange, _tier: str) -> Page:
        check_engine_key(exchange.request.headers, self._state.all_engine_keys())
        settings = self._state.settings
        found = scrape.targets(settings.config.tiers, self._state.reports, settings.engine_hosts)
        return 200, json.dumps(found).encode(), {**_JSON, "Cache-Control": "no-store"}

    async def _status(self) -> dict[str, Any]:
        state = self._state
        measurements = status_report.Measurements(
            self._metrics.summary(), await self._models.loaded(), state.settings.gpu_memory
        )
        return status_report.collect(
            state.settings.config.tiers,
            state.router.status,
            state.reports,
            measurements,
            time.time(),
            state.settings.tasks,
            state.is_silent,
        )

    async def _status_json(self, _exchange: Exchange, _tier: str) -> Page:
        async def make() -> bytes:
            return json.dumps(await self._status()).encode()

        return 200, await self._body("/status.json", make), {**_JSON, "Cache-Control": "no-store"}

    async def _status_page(self, exchange: Exchange, _tier: str) -> Page:
        headers = exchange.request.headers
        address = status_page.origin(headers.get("Host", ""), headers.get("X-Forwarded-Proto", ""))

        async def make() -> bytes:
            return status_page.render(await self._status(), self._assets, address)

        body = await self._body("/status", make, address)
        return 200, body, {"Content-Type": "text/html; charset=utf-8", **status_page.headers(self._assets)}

    async def _first_page(self, _exchange: Exchange, _tier: str) -> Page:
        return 302, b"", {"Location": "status"}


def check_method(method: str, path: str, allowed: tuple[str, ...]) -> None:
    """Check that a path takes a method.

    :raises ApiError: if it does not.
    """
    if method not in allowed:
        headers = {"Allow": ", ".join(allowed)}
        raise ApiError(405, f"{path} takes {allowed[0]} requests only.", "method_not_allowed", headers)
