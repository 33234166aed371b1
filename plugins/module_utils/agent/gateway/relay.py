# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pass an engine's response on to the client, with framing of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from ...core.gateway import api_errors, response_headers
from ...core.gateway.api_errors import ApiError
from ...core.gateway.event_stream import TAIL, EventCounter, tokens_of
from .exchange import Exchange
from .upstream import UpstreamExchange, UpstreamFailedError

#: Most bytes of a response that is no stream which are held back until it is complete.
MOST_HELD = 1 << 20
#: Bytes of a piece of a stream after which other requests run first.
_BIG_PIECE = 8 * 1024
#: Statuses of responses that have no body, whatever the engine sends.
_WITHOUT_BODY = (204, 205)
#: No proxy on the way may hold a stream back or keep it.
_STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}


async def relay(
    exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str], cut_reason: Callable[[], str]
) -> None:
    """Pass a response on.

    :param headers: the gateway's own headers.
    :param cut_reason: returns why the response ends early.
    :raises UpstreamFailedError: if the engine failed before anything was sent, or inside a body that is no stream.
    :raises ApiError: for an error of the engine that is not in the API's shape.
    """
    given = {**upstream.headers, **headers}
    if upstream.status in _WITHOUT_BODY:
        await exchange.respond(upstream.status, b"", headers)
    elif upstream.is_stream:
        await _relay_stream(exchange, upstream, {**given, **_STREAM_HEADERS}, cut_reason)
    else:
        await _relay_whole(exchange, upstream, given)


async def _relay_stream(
    exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str], cut_reason: Callable[[], str]
) -> None:
    """Pass a stream of events on. Its head waits for the first event, so that a failure before it is a status."""
    counter = exchange.counter = EventCounter()
    try:
        async for piece in upstream.pieces():
            events = counter.feed(piece)
            if counter.has_content and exchange.ttft is None:
                exchange.ttft = exchange.seconds
            if events:
                if exchange.response is None:
                    await exchange.begin(upstream.status, headers)
                await exchange.write(events)
                # Some clients do not wait for the end of the connection.
                exchange.is_complete = counter.has_ended
            if len(piece) >= _BIG_PIECE:
                await asyncio.sleep(0)
        if exchange.response is None:
            raise UpstreamFailedError
        if rest := counter.rest():
            await exchange.write(rest)
        await exchange.end()
    except UpstreamFailedError:
        if exchange.response is None:
            raise
        await exchange.write(api_errors.error_event(exchange.path, cut_reason(), "tier_unavailable"))
        await exchange.end(is_complete=False)


async def _relay_whole(exchange: Exchange, upstream: UpstreamExchange, headers: Mapping[str, str]) -> None:
    """Pass a response on when it is complete, or from its first MiB on."""
    held = bytearray()
    async for piece in upstream.pieces():
        held += piece
        if exchange.response is None and len(held) > MOST_HELD:
            await exchange.begin(upstream.status, headers)
        if exchange.response is not None:
            await exchange.write(bytes(held[:-TAIL]))
            del held[:-TAIL]
    exchange.body_tokens = tokens_of(bytes(held[-TAIL:]))
    if exchange.response is None:
        status, body = _checked(upstream.status, bytes(held), headers.get("Content-Type", ""))
        await exchange.respond(status, body, headers)
    else:
        await exchange.write(bytes(held))
        await exchange.end()


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
