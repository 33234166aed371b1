# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass an engine's response on to the client, with framing of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from aiohttp import web

from ...core.gateway import api_errors, response_headers
from ...core.gateway.api_errors import ApiError
from ...core.gateway.event_stream import TAIL, EventCounter, tokens_of
from .exchange import Exchange
from .upstream import UpstreamExchange, UpstreamFailedError

#: Most bytes of a response that is no stream which are held back until it is complete.
MOST_HELD = 1 << 20
#: No proxy on the way may hold a stream back or keep it.
_STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}


async def relay(
    exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str], cut_reason: Callable[[], str]
) -> web.StreamResponse:
    """Pass a response on.

    :param headers: the gateway's own headers.
    :param cut_reason: returns why the response ends early.
    :raises UpstreamFailedError: if the engine failed before anything was sent.
    :raises ApiError: for an error of the engine that is not in the API's shape.
    """
    given = {**upstream.headers, **headers}
    if upstream.is_stream:
        return await _relay_stream(exchange, upstream, {**given, **_STREAM_HEADERS}, cut_reason)
    return await _relay_whole(exchange, upstream, given)


async def _relay_stream(
    exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str], cut_reason: Callable[[], str]
) -> web.StreamResponse:
    """Pass a stream of events on. Its head waits for the first event, so that a failure before it is a status."""
    counter = exchange.counter = EventCounter()
    response = web.StreamResponse(status=upstream.status, headers=headers)
    try:
        async for piece in upstream.pieces():
            events = counter.feed(piece)
            if counter.has_content and exchange.ttft is None:
                exchange.ttft = exchange.seconds
            if events and not response.prepared:
                await exchange.begin(response)
            if events:
                await exchange.write(response, events)
        rest = counter.rest()
        if rest and response.prepared:
            await exchange.write(response, rest)
        exchange.is_complete = True
    except UpstreamFailedError:
        if response.prepared:
            await exchange.write(response, api_errors.error_event(exchange.path, cut_reason(), "tier_unavailable"))
    if not response.prepared:
        raise UpstreamFailedError
    await exchange.end(response)
    return response


async def _relay_whole(
    exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Pass a response on when it is complete, or from its first MiB on."""
    held = bytearray()
    response = web.StreamResponse(status=upstream.status, headers=headers)
    async for piece in upstream.pieces():
        held += piece
        if not response.prepared and len(held) > MOST_HELD:
            await exchange.begin(response)
        if response.prepared:
            await exchange.write(response, bytes(held[:-TAIL]))
            del held[:-TAIL]
    exchange.body_tokens = tokens_of(bytes(held[-TAIL:]))
    if not response.prepared:
        status, body = _checked(upstream.status, bytes(held), headers["Content-Type"])
        return await exchange.respond(status, body, headers)
    await exchange.write(response, bytes(held))
    await exchange.end(response)
    exchange.is_complete = True
    return response


def _checked(status: int, body: bytes, media_type: str) -> tuple[int, bytes]:
    """Return a response's status and body for the client.

    :raises ApiError: for an error of the engine that is not in the API's shape.
    :raises UpstreamFailedError: for one that is no fault of the request.
    """
    if status < 400:
        return status, body
    try:
        is_shaped = isinstance(json.loads(body)["error"], dict) and media_type == "application/json"
    except (ValueError, KeyError, TypeError, RecursionError):
        is_shaped = False
    if is_shaped:
        return response_headers.client_status(status, body), body
    if status >= 500:
        raise UpstreamFailedError(f"its engine answered with the status {status}")
    raise ApiError(status, f"The engine refused the request with the status {status}.", "engine_error")
