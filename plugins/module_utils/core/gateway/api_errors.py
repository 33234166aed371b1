# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's errors in the shapes of OpenAI's and Anthropic's APIs.

OpenAI's clients take any event with an C(error) for an error. Anthropic's clients need an event of that name: without
it, a stream that was cut looks complete to them.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from ..timefmt import span
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
#: Seconds up to which OpenAI's clients honour C(Retry-After). Beyond, they try again at once and in vain.
LONGEST_RETRY_S = 60


class ApiError(Exception):
    """An error that the gateway answers a request with.

    :ivar code: OpenAI's code, which also labels the refusal in log and metrics.
    :ivar param: the request's field that is wrong; None for no field.
    :ivar retry_after: seconds after which the client may try again; None if a second try would fail, too.
    :ivar more: fields of the error beyond OpenAI's.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        headers: Mapping[str, str] | None = None,
        *,
        more: Mapping[str, Any] | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.more = dict(more or {})
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        # Without it, Claude Code 2.1 tries an unknown key again for minutes.
        is_the_clients = retry_after is None and status < 500
        if is_the_clients or (retry_after or 0) > LONGEST_RETRY_S:
            self.headers["x-should-retry"] = "false"

    def body(self, is_anthropic: bool) -> bytes:
        """Return the response's body in the shape of Anthropic's API, or of OpenAI's."""
        fields = {"message": self.message, "param": self.param, "code": self.code, **self.more}
        if is_anthropic:
            kind = ANTHROPIC_TYPES.get(self.status, _OTHER_TYPE)
            return json.dumps({"type": "error", "error": {**fields, "type": kind}}).encode()
        return json.dumps({"error": {**fields, "type": OPENAI_TYPES.get(self.status, _OTHER_TYPE)}}).encode()


def unavailable(tier: str, status: TierStatus, wall: float) -> ApiError:
    """Make the error for a request to a tier that is not ready, with the reason and when to try again.

    :param wall: UNIX time.
    """
    detail = {"percent": status.percent, "expected": status.expected}
    known = {name: value for name, value in detail.items() if value is not None}
    wait = max(status.retry_after, round((status.expected or 0.0) - wall))
    return ApiError(
        503,
        f"The tier {tier} is unavailable: {status.reason}. Try again in {span(wait)}.",
        "tier_unavailable",
        {"X-Herd-Tier": tier},
        more={"herd": {"tier": tier, "state": status.state, **known}},
        retry_after=wait,
    )


def upstream_failed(tier: str, status: TierStatus, reason: str, retry_after: int, wall: float) -> ApiError:
    """Make the error for a request whose engine failed although its tier is ready.

    :param reason: why the engine failed; empty if it ended before it answered.
    :param retry_after: seconds.
    """
    if not status.is_ready:
        return unavailable(tier, status, wall)
    why = reason or "its engine ended before it answered"
    return unavailable(tier, replace(status, state="failing", reason=why, retry_after=retry_after), wall)


def is_anthropic(path: str, headers: Container[str] = ()) -> bool:
    """Return whether a request belongs to Anthropic's API: by its path, after any prefix, or by a header.

    :param headers: the headers' names; a container that ignores case.
    """
    return path.partition("?")[0].endswith(("/messages", "/messages/count_tokens")) or "anthropic-version" in headers


def error_event(path: str, message: str, code: str) -> bytes:
    """Write an error as an event of a stream that has begun, in the shape of the path's API."""
    error: dict[str, Any] = {"message": message, "type": "server_error", "param": None, "code": code}
    data: dict[str, Any] = {"error": error}
    name = ""
    if is_anthropic(path):
        data = {"type": "error", "error": {**error, "type": ANTHROPIC_TYPES[503]}}
        name = "event: error\n"
    elif path.partition("?")[0].endswith("/responses"):
        # The shape of that API. OpenAI's client raises an exception for it.
        data = {"type": "error", "code": code, "message": message, "param": None, "error": error}
        name = "event: error\n"
    return f"{name}data: {json.dumps(data)}\n\n".encode()
