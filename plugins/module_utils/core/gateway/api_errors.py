# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write errors in the shape that a client's library expects: OpenAI's, or Anthropic's by the path.

OpenAI's clients take any event with an C(error) for an error. Anthropic's clients need an event of that name: without
it, a stream that was cut looks complete to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .http_message import Response
from .tiers import TierStatus

#: OpenAI's error types by status. Its clients choose their exception by status and type.
OPENAI_TYPES = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
#: Anthropic's error types by status.
ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}
_OTHER_TYPE = "invalid_request_error"


def as_json(status: int, data: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Make a response with a JSON body."""
    return Response(status, json.dumps(data).encode(), headers=dict(headers or {}))


def error(
    status: int,
    message: str,
    code: str,
    headers: Mapping[str, str] | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    param: str | None = None,
    retry_after: int | None = None,
) -> Response:
    """Make an error response in OpenAI's shape.

    :param more: fields beyond that shape.
    :param retry_after: seconds after which the client may try again (C(Retry-After)).
    """
    body = {"message": message, "type": OPENAI_TYPES.get(status, _OTHER_TYPE), "param": param, "code": code}
    wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return as_json(status, {"error": {**body, **(more or {})}}, {**wait, **(headers or {})})


def wrong_method(path: str, methods: Sequence[str]) -> Response:
    """Make the error for a request with a method that its path does not take."""
    allowed = {"Allow": ", ".join(methods)}
    return error(405, f"{path} takes {methods[0]} requests only.", "method_not_allowed", allowed)


def unavailable(tier: str, status: TierStatus) -> Response:
    """Make the error for a request to a tier that is not ready, with the reason and when to try again."""
    detail = {"percent": status.percent, "expected": status.expected}
    known = {name: value for name, value in detail.items() if value is not None}
    return error(
        503,
        f"The tier {tier} is unavailable: {status.reason}. Try again in {status.retry_after} seconds.",
        "tier_unavailable",
        {"X-Herd-Tier": tier},
        more={"herd": {"tier": tier, "state": status.state, **known}},
        retry_after=status.retry_after,
    )


def upstream_failed(tier: str, status: TierStatus, engine_status: str, retry_after: int) -> Response:
    """Make the error for a request whose engine failed although its tier is ready.

    :param engine_status: HTTP status from the engine or nginx; empty for none.
    :param retry_after: seconds.
    """
    if not status.is_ready:
        return unavailable(tier, status)
    reason = {
        "401": "its engine does not accept the gateway's key",
        "503": "its engine is loading a model",
        "504": "its engine did not answer in time",
    }.get(engine_status, "its engine ended before it answered")
    return unavailable(tier, replace(status, state="failing", reason=reason, retry_after=retry_after))


def is_anthropic(path: str) -> bool:
    """Return whether a path belongs to Anthropic's API, after any prefix of a tier or task."""
    return path.partition("?")[0].endswith(("/v1/messages", "/v1/messages/count_tokens"))


def as_event(path: str, message: str, code: str) -> bytes:
    """Write an error as an event of a stream that has begun, in the shape of the path's API."""
    error: dict[str, Any] = {"message": message, "type": "server_error", "param": None, "code": code}
    data: dict[str, Any] = {"error": error}
    name = ""
    if is_anthropic(path):
        data = {"type": "error", "error": {**error, "type": ANTHROPIC_TYPES[503]}}
        name = "event: error\n"
    elif path.partition("?")[0].endswith("/v1/responses"):
        # The shape of that API. OpenAI's client raises an exception for it.
        data = {"type": "error", "code": code, "message": message, "param": None, "error": error}
        name = "event: error\n"
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def for_path(path: str, response: Response) -> Response:
    """Convert an error in OpenAI's shape to the shape of the path's API. Headers stay."""
    if response.status < 400 or not is_anthropic(path):
        return response
    try:
        error = json.loads(response.body)["error"]
        shaped = {**error, "type": ANTHROPIC_TYPES.get(response.status, _OTHER_TYPE)}
    except (ValueError, KeyError, TypeError):
        return response
    return replace(response, body=json.dumps({"type": "error", "error": shaped}).encode())
