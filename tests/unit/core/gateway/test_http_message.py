# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests as nginx hands them over, and answers."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import api_errors, http_message
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.http_message import (
    HeadError,
    Response,
    parse_head,
)


def test_a_request_is_read() -> None:
    request, length = parse_head(b"POST /v1/x?a=b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a:2\r\nContent-Length: 12")
    assert (request.method, request.target, length) == ("POST", "/v1/x?a=b", 12)
    assert request.header("host") == "a"
    assert request.headers["x-a"] == ["1", "2"]
    # Of a header that there are two of, neither is believed.
    assert request.header("x-a") == ""


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"POST",
        b"POST http://a/ HTTP/1.1",
        b"POST /a b HTTP/1.1",
        b"post / HTTP/1.1",
        b"GET / HTTP/2",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\n : empty",
        b"GET / HTTP/1.1\r\nX-A : blank",
        b"GET / HTTP/1.1\r\n folded: line",
        b"GET / HTTP/1.1\r\nContent-Length: -1",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked",
        "GET / HTTP/1.1\r\nContent-Length: ²".encode("latin-1"),
    ],
)
def test_invalid_heads_are_rejected(head: bytes) -> None:
    with pytest.raises(HeadError):
        parse_head(head)


def test_a_header_value_cannot_start_another_header() -> None:
    text = http_message.render(Response(200, b"x", headers={"X-A": "1\r\nX-B: 2", "X-C": "\u00e4"}))
    assert b"X-B" in text
    assert text.count(b"\r\n") == 6
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert text.endswith(b"\r\n\r\nx")
    assert not http_message.render(Response(200, b"x"), with_body=False).endswith(b"x")


def test_an_error_has_openais_shape() -> None:
    answer = api_errors.error(429, "Slowly.", "rate_limit_exceeded", more={"herd": {"tier": "fast"}}, retry_after=3)
    error = json.loads(answer.body)["error"]
    assert error == {
        "message": "Slowly.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
        "herd": {"tier": "fast"},
    }
    assert answer.headers == {"Retry-After": "3"}
