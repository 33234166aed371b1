# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an engine's response head reaches the client."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import response_headers


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("application/json; charset=utf-8", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("Text/Plain", "text/plain"),
        ("text/html", "application/octet-stream"),
        ("application/json\x00", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("application/json" + " " * 500, "application/json"),
        ("application/json;" + "x" * 500, "application/octet-stream"),
    ],
)
def test_only_harmless_media_types_pass(value: str, wanted: str) -> None:
    assert response_headers.media_type(value) == wanted


def test_only_a_few_headers_pass() -> None:
    given = {
        "Content-Type": "application/json",
        "Content-Length": "7",
        "Transfer-Encoding": "chunked",
        "Connection": "keep-alive",
        "Set-Cookie": "a=b",
        "X-Accel-Redirect": "/secret",
        "X-Herd-Tier": "other",
        "X-Request-Id": "forged",
        "Location": "http://elsewhere",
        "Retry-After": "3",
    }
    assert response_headers.allowed_headers(given) == {"Content-Type": "application/json", "Retry-After": "3"}
    assert "Retry-After" not in response_headers.allowed_headers({**given, "Retry-After": "soon"})


@pytest.mark.parametrize(
    ("status", "fails"),
    [
        (100, True),
        (101, True),
        (199, True),
        (200, False),
        (204, False),
        (301, True),
        (304, True),
        (307, True),
        (400, False),
        (401, True),
        (429, False),
        (500, False),
        (503, True),
        (599, False),
        (600, True),
        (999, True),
    ],
)
def test_failures(status: int, fails: bool) -> None:
    assert bool(response_headers.failure(status, {})) is fails
    assert response_headers.failure(200, {"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("status", "error", "wanted"),
    [
        (501, {"type": "not_supported_error", "message": "This server does not support embeddings."}, 400),
        (500, {"type": "server_error", "message": "image input is not supported - hint: mmproj"}, 400),
        (500, {"type": "server_error", "message": "Compute error."}, 500),
        (429, {"type": "not_supported_error", "message": "x"}, 429),
        (500, "text", 500),
    ],
)
def test_users_mistakes_are_no_failures_of_the_engine(status: int, error: object, wanted: int) -> None:
    assert response_headers.client_status(status, json.dumps({"error": error}).encode()) == wanted
    assert response_headers.client_status(500, b"no json") == 500
