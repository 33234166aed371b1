# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one pass of a request: key, limits, body, route, engine, response, accounting."""

from __future__ import annotations

import gc
import string
import time
from contextlib import suppress
from urllib.parse import quote

from ...core.engine import api_paths
from ...core.gateway import api_errors
from ...core.gateway.api_errors import ApiError
from ...core.gateway.routing import Place, Route
from ...core.gateway.usage import counts
from ...core.gateway.usage.counts import EndedRequest, UsageKey
from ...core.gateway.user_keys import UserKey
from ..common.log import log
from .access_log import AccessLog
from .auth import authenticate
from .exchange import ClientLeftError, Exchange
from .limits import Admission, EngineLeftError, EngineQueue, KeyLimiter, MemoryBudget, MemoryReservation
from .metrics import GatewayMetrics
from .models import ModelList
from .relay import relay
from .request import InferenceRequest, read_body
from .settings import GatewaySettings
from .state import GatewayState
from .status import Pages, check_method
from .upstream import PASSED_HEADERS, ConnectFailedError, EngineClient, UpstreamFailedError
from .usage import page as usage_page
from .usage.recorder import UsageRecorder

with suppress(ImportError):
    # Only the gateway's own environment has it.
    from aiohttp import web

#: Seconds after a request in which the next one is expected.
AWAKE_S = 5.0
#: Characters of a model's id that a header can carry.
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "


class Gateway:
    """Everything that requests share.

    :ivar running: number of requests that have not ended.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.running = 0
        self._asked = -AWAKE_S
        self.state = GatewayState(settings)
        self.metrics = GatewayMetrics(settings.config.tiers)
        self.access_log = AccessLog(settings.access_log)
        self.usage = UsageRecorder(settings.usage, settings.usage_days)
        self.engines = EngineClient(settings.connect_timeout, settings.read_timeout, engine_key=self.state.engine_key)
        self._memory = MemoryBudget(settings.body_memory, settings.config.retry_after)
        self._limiter = KeyLimiter(self.usage.month_tokens)
        self._has_budgets = any(limits.tokens_per_month for limits in settings.config.limits.values())
        self._queue = EngineQueue(settings.queue_timeout, settings.config.retry_after)
        self._models = ModelList(self.state, self.engines)
        self._pages = Pages(self.state, self.metrics, self._memory, self._models)
        self._has_failures = False

    @property
    def is_awake(self) -> bool:
        """Return whether files are read often, so that no request waits for it: while requests come."""
        return self.running > 0 or time.monotonic() - self._asked < AWAKE_S

    def refresh(self) -> None:
        """Read the files that changed, and route anew the requests that wait for an engine which takes no more."""
        self.state.refresh(at_once=True)
        self._queue.leave_all_but(self.state.ready_endpoints())

    def refresh_budgets(self) -> None:
        """Read what the other instance has added to the months' usage."""
        if self._has_budgets:
            self.usage.refresh()

    def invalid_request(self, request: web.BaseRequest, is_unknown_method: bool) -> web.Response:
        """Answer a request that is not valid HTTP."""
        error = ApiError(400, "The request is not valid HTTP.", "bad_request")
        if is_unknown_method:
            error = ApiError(405, "This method is not supported.", "method_not_allowed")
        exchange = Exchange(request)
        exchange.status, exchange.refused, exchange.is_complete = error.status, error.code, True
        self._account(exchange)
        headers = {"Content-Type": "application/json", **exchange.headers}
        return web.Response(status=error.status, body=error.body(exchange.is_anthropic), headers=headers)

    def _account(self, exchange: Exchange) -> None:
        self.metrics.add(exchange)
        self.access_log.add(exchange)
        if exchange.key and exchange.tier:
            hour = counts.hour_of(time.time())
            row = UsageKey(hour, exchange.key, exchange.user, exchange.project, exchange.model, exchange.tier)
            used = counts.usage_of(_ended(exchange))
            self.usage.add(row, used)
            self.metrics.add_usage(exchange.project, used)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, and account for it however it ends."""
        exchange = Exchange(request)
        self.running += 1
        self._asked = exchange.began
        try:
            await self._answer_or_refuse(exchange)
        except (ClientLeftError, UpstreamFailedError):
            # Only the end of the connection tells the client that the response is not complete.
            exchange.cut()
        finally:
            self.running -= 1
            self._has_failures |= not exchange.is_complete
            exchange.status = exchange.status or counts.CLIENT_LEFT
            self._account(exchange)
        return exchange.response or web.Response()

    def collect(self) -> None:
        """Free the buffers of requests that failed: tracebacks keep them in cycles, until a collection."""
        if self._has_failures:
            self._has_failures = False
            gc.collect()

    async def _answer_or_refuse(self, exchange: Exchange) -> None:
        """Answer a request, with an error if it cannot be done."""
        try:
            await self._answer(exchange)
        except ApiError as error:
            await exchange.refuse(error)
        except (ClientLeftError, UpstreamFailedError):
            raise
        except Exception as error:
            log(f"request {exchange.id} failed: {type(error).__name__}: {error}")
            await exchange.refuse(
                ApiError(500, "The gateway failed. Tell its operator the request's id.", "internal_error")
            )

    async def _answer(self, exchange: Exchange) -> None:
        self.state.refresh()
        request, router = exchange.request, self.state.router
        place = router.place(exchange.path, exchange.entry_tier)
        if await self._pages.respond(exchange, place.path, place.tier):
            return
        is_list = place.path in ("/v1/models", "/models") or place.path.startswith(("/v1/models/", "/models/"))
        is_read = is_list or place.path == usage_page.PATH
        if place.path not in api_paths.ENGINE_PATHS and not is_read:
            raise router.nothing_at(exchange.path, exchange.entry_tier)
        check_method(request.method, place.path, ("GET", "HEAD") if is_read else ("POST",))
        key = authenticate(request.headers, self.state.keys, self.settings.config.retry_after)
        exchange.key, exchange.user, exchange.project = key.id, key.user, key.project
        limits = self.settings.config.limits[key.limits]
        async with self._limiter.admit(key, limits) as admission:
            exchange.headers.update(admission.headers())
            if place.path == usage_page.PATH:
                await usage_page.respond(exchange, self.usage, key, limits, self.settings.config.retry_after)
                return
            if is_list:
                await self._models.respond(exchange, place.path, key)
                return
            with self._memory.reservation(key.id) as reservation:
                await self._infer(exchange, place, key, admission, reservation)

    async def _infer(
        self, exchange: Exchange, place: Place, key: UserKey, admission: Admission, reservation: MemoryReservation
    ) -> None:
        """Read and route a request, and send it to an engine, or to another one if the connection fails."""
        body = await read_body(exchange, reservation, self.settings.max_body)
        exchange.received = len(body)
        inference = InferenceRequest(body, exchange.plain_header("Content-Type") or "application/json", reservation)
        del body
        exchange.is_stream = inference.stream
        headers = exchange.request.headers
        task, fallback = headers.get("X-Herd-Task") or headers.get("Task") or "", headers.get("X-Herd-Fallback", "")
        route: Route | None = self.state.router.route(key, place, inference.model, task, fallback, time.time())
        exchange.estimate = inference.estimated_tokens
        admission.charge_tokens(inference.estimated_tokens)
        exchange.headers.update(admission.headers())
        try:
            while route is not None:
                failed = route
                try:
                    await self._ask(exchange, route, inference, key)
                    break
                except (ConnectFailedError, EngineLeftError):
                    exchange.is_sent = False
                    self.state.refresh(at_once=True)
                    route = self.state.router.after_connect_failure(failed)
            else:
                raise self._failed(failed.tier, "its engine cannot be reached")
        except ApiError:
            admission.settle_tokens(0)
            raise
        except BaseException:
            admission.settle_tokens(counts.usage_of(_ended(exchange)).tokens)
            raise
        admission.settle_tokens(counts.usage_of(_ended(exchange)).tokens)

    async def _ask(self, exchange: Exchange, route: Route, inference: InferenceRequest, key: UserKey) -> None:
        """Send a request to one engine, and pass its response on."""
        exchange.tier, exchange.task, exchange.model = route.tier, route.task, route.model
        exchange.fallback_from, exchange.engine = route.fallback_from, route.endpoint
        if route.is_rewritten and route.model:
            inference.set_model(route.model)
        slots = 0 if route.path in api_paths.SLOTLESS_PATHS else self.state.slots_of(route.endpoint)
        engine = (route.endpoint, route.model if self.settings.config.tiers[route.tier].rewrites else "")
        passed = {name: value for name in PASSED_HEADERS if (value := exchange.plain_header(name))}
        with self.metrics.running(route.tier):
            async with self._queue.slot(engine, slots, key.id, inference.estimated_tokens, inference.completions):
                exchange.is_sent = True
                try:
                    async with self.engines.open(route.endpoint, route.path, inference, passed) as upstream:
                        await relay(exchange, upstream, _route_headers(route), lambda: self._cut_reason(route))
                except UpstreamFailedError as error:
                    if exchange.response is not None:
                        raise
                    raise self._failed(route.tier, str(error)) from error

    def _failed(self, tier: str, reason: str) -> ApiError:
        """Make the error for a request whose engine failed before anything was sent."""
        self.state.refresh(at_once=True)
        config = self.settings.config
        status = self.state.router.status_of(tier)
        return api_errors.upstream_failed(tier, status, reason, config.retry_after, time.time())

    def _cut_reason(self, route: Route) -> str:
        """Say why a response ends early."""
        self.state.refresh(at_once=True)
        status = self.state.router.status_of(route.tier)
        why = "its engine ended" if status.is_ready else status.reason
        return f"The response of the tier {route.tier} ends here: {why}. The part before is incomplete."


def _ended(exchange: Exchange) -> EndedRequest:
    """Return what usage needs to know of a request."""
    return EndedRequest(
        exchange.tokens,
        exchange.status or counts.CLIENT_LEFT,
        exchange.received,
        exchange.sent,
        exchange.is_stream,
        exchange.is_complete,
        exchange.is_sent,
        exchange.estimate,
    )


def _route_headers(route: Route) -> dict[str, str]:
    """Return the headers that tell the client where its response comes from."""
    found = {
        "X-Herd-Tier": route.tier,
        "X-Herd-Model": quote(route.model, safe=_PRINTABLE),
        "X-Herd-Fallback-From": route.fallback_from,
    }
    return {name: value for name, value in found.items() if value}
