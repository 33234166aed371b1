# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in the shapes of OpenAI's and Anthropic's APIs."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import api_errors
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.api_errors import ApiError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import TierStatus

ANTHROPIC = [
    "/v1/messages",
    "/messages",
    "/v1/messages/count_tokens",
    "/fast/v1/messages",
    "/task/fix/v1/messages?beta=true",
]


@pytest.mark.parametrize("path", ANTHROPIC)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_shape_at_its_paths(path: str, status: int, kind: str) -> None:
    given = ApiError(status, "No.", "some_code", more={"herd": {"tier": "fast"}}, retry_after=5)
    assert given.headers == {"Retry-After": "5"}
    error = {"type": kind, "message": "No.", "param": None, "code": "some_code", "herd": {"tier": "fast"}}
    assert json.loads(given.body(api_errors.is_anthropic(path))) == {"type": "error", "error": error}


def test_errors_have_openais_shape_elsewhere() -> None:
    error = {"message": "No.", "type": "server_error", "param": None, "code": "some_code"}
    assert json.loads(ApiError(503, "No.", "some_code").body(is_anthropic=False)) == {"error": error}


def test_clients_do_not_try_again_while_a_tier_is_away_for_long() -> None:
    """OpenAI's clients ignore a Retry-After of more than a minute, and would try again at once."""
    away = TierStatus("preempted", "preempted by VASP job 88", 30, expected=1000.0 + 25 * 60)
    found = api_errors.unavailable("reasoning", away, 1000.0)
    assert (found.headers["x-should-retry"], found.headers["Retry-After"]) == ("false", "1500")
    assert "Try again in 25 minutes." in found.message
    soon = api_errors.unavailable("reasoning", TierStatus("loading", "loading 43 %", 12), 1000.0)
    assert (soon.headers["Retry-After"], "x-should-retry" in soon.headers) == ("12", False)


@pytest.mark.parametrize(
    ("status", "retry_after", "headers"),
    [
        (401, None, {"x-should-retry": "false"}),
        (404, None, {"x-should-retry": "false"}),
        (429, 3, {"Retry-After": "3"}),
        (429, 90, {"Retry-After": "90", "x-should-retry": "false"}),
        (500, None, {}),
        (503, 5, {"Retry-After": "5"}),
    ],
)
def test_clients_do_not_repeat_a_request_that_fails_again(
    status: int, retry_after: int | None, headers: dict[str, str]
) -> None:
    assert ApiError(status, "No.", "some_code", retry_after=retry_after).headers == headers


def test_failed_engine_of_a_ready_tier_is_failing() -> None:
    ready = TierStatus("ready", "", 30, "10.0.0.1:1")
    found = api_errors.upstream_failed("fast", ready, "its engine is loading a model", 5, 0.0)
    assert (found.more["herd"]["state"], found.headers["Retry-After"]) == ("failing", "5")
    assert "its engine is loading a model" in found.message
    assert "ended before it answered" in api_errors.upstream_failed("fast", ready, "", 5, 0.0).message
    away = TierStatus("preempted", "preempted by job 88", 60)
    assert "preempted by job 88" in api_errors.upstream_failed("fast", away, "", 5, 0.0).message


def test_events() -> None:
    plain = api_errors.error_event("/v1/chat/completions", "It\nends.", "tier_unavailable")
    error = {"message": "It\nends.", "type": "server_error", "param": None, "code": "tier_unavailable"}
    assert plain == b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    for path, kind in (("/v1/messages", "overloaded_error"), ("/v1/responses", "server_error")):
        name, text = api_errors.error_event(path, "It\nends.", "tier_unavailable").decode().split("\n", 1)
        data = json.loads(text.removeprefix("data: "))
        assert (name, data["type"], data["error"]["type"]) == ("event: error", "error", kind)
        assert data["error"]["message"] == "It\nends."
