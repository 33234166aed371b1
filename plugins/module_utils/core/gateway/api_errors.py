# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as the client of an API expects them: a path says whose API it is.

OpenAI's clients take any event with an C(error) in it for one, Anthropic's only an event of that name: without it, a
stream that was cut looks whole to them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .http import Answer

#: Anthropic's names for kinds of errors, by status.
ANTHROPIC_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


def is_anthropic(path: str) -> bool:
    """Whether Anthropic's clients ask there, whatever stands before it: a tier, or a type of task."""
    return path.partition("?")[0].endswith(("/v1/messages", "/v1/messages/count_tokens"))


def as_event(path: str, message: str, code: str) -> bytes:
    """Write an error as an event of a stream that has begun."""
    error: dict[str, Any] = {"message": message, "type": "server_error", "param": None, "code": code}
    data: dict[str, Any] = {"error": error}
    name = ""
    if is_anthropic(path):
        data = {"type": "error", "error": {**error, "type": ANTHROPIC_KINDS[503]}}
        name = "event: error\n"
    elif path.partition("?")[0].endswith("/v1/responses"):
        # As that API has it, and as OpenAI's own client notices it.
        data = {"type": "error", "code": code, "message": message, "param": None, "error": error}
        name = "event: error\n"
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def for_path(path: str, answer: Answer) -> Answer:
    """Give a refusal in OpenAI's shape the one that the client of a path expects. Headers stay."""
    if answer.status < 400 or not is_anthropic(path):
        return answer
    try:
        error = json.loads(answer.body)["error"]
        shaped = {**error, "type": ANTHROPIC_KINDS.get(answer.status, "invalid_request_error")}
    except (ValueError, KeyError, TypeError):
        return answer
    return replace(answer, body=json.dumps({"type": "error", "error": shaped}).encode())
