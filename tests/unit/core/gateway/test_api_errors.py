# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in the shape of each API."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import api_errors
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.http_message import Response

ANTHROPIC = ["/v1/messages", "/v1/messages?beta=true", "/fast/v1/messages", "/task/fix/v1/messages/count_tokens"]
OTHERS = ["/v1/chat/completions", "/v1/responses", "/v1/messages/batches", "/v1/messagesx", "/", ""]


@pytest.mark.parametrize("path", ANTHROPIC)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_shape_at_its_paths(path: str, status: int, kind: str) -> None:
    given = api_errors.error(status, "No.", "some_code", more={"herd": {"tier": "fast"}}, retry_after=5)
    found = api_errors.for_path(path, given)
    assert (found.status, found.headers) == (status, {"Retry-After": "5"})
    error = {"type": kind, "message": "No.", "param": None, "code": "some_code", "herd": {"tier": "fast"}}
    assert json.loads(found.body) == {"type": "error", "error": error}


@pytest.mark.parametrize("path", OTHERS)
def test_errors_have_openais_shape_elsewhere(path: str) -> None:
    given = api_errors.error(503, "No.", "some_code")
    assert api_errors.for_path(path, given) is given


@pytest.mark.parametrize(
    "given", [Response(200, b"{}"), Response(404, b""), Response(404, b"[]"), Response(404, b'{"a":1}')]
)
def test_other_responses_stay_unchanged(given: Response) -> None:
    assert api_errors.for_path("/v1/messages", given) is given


def test_events() -> None:
    plain = api_errors.as_event("/v1/chat/completions", "It\nends.", "tier_unavailable")
    error = {"message": "It\nends.", "type": "server_error", "param": None, "code": "tier_unavailable"}
    assert plain == b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    for path, kind in (("/v1/messages", "overloaded_error"), ("/v1/responses", "server_error")):
        name, text = api_errors.as_event(path, "It\nends.", "tier_unavailable").decode().split("\n", 1)
        data = json.loads(text.removeprefix("data: "))
        assert (name, data["type"], data["error"]["type"]) == ("event: error", "error", kind)
        assert data["error"]["message"] == "It\nends."
