# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what all connections of the gateway share, and answer its own pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ...core.gateway import api_errors, status_page
from ...core.gateway import status as gateway_status
from ...core.gateway.http_message import Request, Response
from ...core.gateway.metrics import GatewayMetrics
from ...core.gateway.routing import RequestPipeline, RouteDecision, Router
from ..common.log import log
from .access_log import AccessLog
from .connection import Connection, CooperativeTasks
from .proxy import ProxiedRequest
from .state import FRESH_S, GatewaySettings, TierStatusReader, UserKeyReader
from .status_page.assets import read_assets

#: Seconds after a request for which files are checked continuously, in expectation of the next one.
AWAKE_S = 5.0


class GatewayApp:
    """What all connections share.

    :ivar held_bytes: size of all request bodies that are being received or routed.
    :ivar is_draining: whether another process takes over: connections end with their next response.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.router = Router(settings.config)
        self.metrics = GatewayMetrics(settings.config.tiers)
        self.access_log = AccessLog(settings.access_log, self.metrics)
        self._keys = UserKeyReader(settings)
        self._tiers = TierStatusReader(settings)
        self._assets = read_assets()
        self._refreshed = -1.0
        self._awake_until, self._is_awake = -1.0, False
        self.tasks = CooperativeTasks()
        self.held_bytes = 0
        self.is_draining = False
        self.connections: set[Connection] = set()

    def refresh(self) -> None:
        """Read the files that changed."""
        now = time.monotonic()
        if now - self._refreshed < FRESH_S:
            return
        self._refreshed = now
        self.router.keys = self._keys.refresh()
        before = {name: (tier.state, tier.endpoint) for name, tier in self.router.status.items()}
        self.router.status = self._tiers.refresh()
        for name, tier in self.router.status.items():
            if before and before.get(name) != (tier.state, tier.endpoint):
                log(f"tier {name}: {tier.state} {tier.endpoint} {'' if tier.is_ready else tier.reason}".rstrip())

    def _stay_awake(self) -> None:
        """Read files between requests while requests come, so that none of them waits for it."""
        self._awake_until = time.monotonic() + AWAKE_S
        if not self._is_awake:
            self._is_awake = True
            asyncio.get_running_loop().call_later(FRESH_S / 2, self._refresh_again)

    def _refresh_again(self) -> None:
        self._is_awake = time.monotonic() < self._awake_until
        if self._is_awake:
            self._refreshed = -1.0
            self.refresh()
            asyncio.get_running_loop().call_later(FRESH_S / 2, self._refresh_again)

    def drain(self, successor: Callable[[bytes], None]) -> None:
        """Leave new requests to the next process.

        :param successor: sends a message to that process.
        """
        self.access_log.successor = successor
        self.is_draining = True

    def proxied_requests(self) -> list[ProxiedRequest]:
        """Return the requests that the gateway proxies at present."""
        return [connection.proxied for connection in self.connections if connection.proxied]

    def ready_endpoints(self) -> set[str]:
        """Return the endpoints of all tiers that are ready."""
        self.refresh()
        return {status.endpoint for status in self.router.status.values() if status.is_ready}

    def cut_reason(self, tier: str) -> str:
        """Say why a tier's response ends early."""
        self._refreshed = -1.0
        self.refresh()
        status = self.router.status_of(tier)
        why = "its engine ended" if status.is_ready else status.reason
        return f"The response of the tier {tier} ends here: {why}. The part before is incomplete."

    def upstream_failed(self, tier: str, engine_status: str) -> Response:
        """Make the error for a proxied request whose engine failed."""
        self.refresh()
        retry_after = self.settings.config.retry_after
        response = api_errors.upstream_failed(tier, self.router.status_of(tier), engine_status, retry_after)
        # nginx adds it to every response of the gateway's proxy.
        response.headers.pop("X-Herd-Tier", None)
        return response

    def handle(self, request: Request) -> Response | RouteDecision | RequestPipeline:
        """Answer or route a request, or return the steps that lead there."""
        self.refresh()
        self._stay_awake()
        if request.header("x-herd-failed-tier"):
            return self.router.upstream_failed(request)
        page = self.router.preflight(request) or self._page(request)
        if page is not None:
            return page
        return self.router.pipeline(request, time.time(), time.monotonic())

    def _page(self, request: Request) -> Response | None:
        """Answer with one of the gateway's own pages. They are open to everybody: no page names a user or a key."""
        path = request.target.partition("?")[0]
        tier = request.header("x-herd-port-tier")
        first, _slash, rest = path[1:].partition("/")
        if first in self.settings.config.tiers:
            tier, path = first, "/" + rest
        pages = {
            "/health": self._health,
            "/v1/health": self._health,
            "/metrics": self._metrics,
            "/status": self._status_page,
            "/status.json": self._status_json,
            "/": self._first_page,
        }
        page = pages.get(path)
        if page is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return api_errors.wrong_method(path, ("GET", "HEAD"))
        return page(request, tier)

    def _health(self, _request: Request, tier: str) -> Response:
        status = self.router.status_of(tier)
        return api_errors.as_json(200, {"status": "ok"}) if status.is_ready else api_errors.unavailable(tier, status)

    def _metrics(self, _request: Request, _tier: str) -> Response:
        states = {name: self.router.status_of(name).state for name in self.settings.config.tiers}
        text = self.metrics.text(states)
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _status(self) -> dict[str, Any]:
        config, measured = self.settings.config, self.metrics.summary()
        if not config.watch_streams:
            # The gateway does not see the requests that nginx proxies.
            for each in measured.values():
                del each["in_flight"]
        tiers, tasks = self._tiers, self.settings.tasks
        return gateway_status.collect(
            config.tiers, self.router.status, tiers.tiers, measured, time.time(), tasks, tiers.is_silent
        )

    def _status_json(self, _request: Request, _tier: str) -> Response:
        return api_errors.as_json(200, self._status(), {"Cache-Control": "no-store"})

    def _status_page(self, request: Request, _tier: str) -> Response:
        # tailscale serve ends TLS, and says so in this header.
        scheme = request.header("x-forwarded-proto") or request.header("x-herd-scheme")
        address = status_page.origin(request.header("x-herd-host"), scheme)
        body = status_page.render(self._status(), self._assets, address)
        return Response(200, body, "text/html; charset=utf-8", status_page.headers(self._assets))

    def _first_page(self, _request: Request, _tier: str) -> Response:
        return Response(302, b"", headers={"Location": "status"})
