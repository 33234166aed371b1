# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse requests from nginx and write responses, as HTTP/1.1 over a Unix socket.

nginx sends complete requests with their length. So this parses only the little that nginx sends, and rejects everything
else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LONGEST_HEAD = 64 * 1024
REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
_NOT_IN_A_HEADER = re.compile(r"[^ -~]")
_LINE = re.compile(r"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.[01]")


class HeadError(Exception):
    """The head of a request is not one that nginx sends."""


@dataclass
class Request:
    """A request.

    :ivar headers: values by lower-case name, in their order.
    """

    method: str
    target: str
    headers: Mapping[str, Sequence[str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the value of a header; empty if it is missing or repeated."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else ""


@dataclass
class Response:
    """A response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def parse_head(head: bytes) -> tuple[Request, int]:
    """Parse the head of a request, without its final empty line.

    :returns: the request without its body, and the body's length.
    :raises HeadError: for an invalid head.
    """
    # This delays every request, so it decodes the head once and does little else.
    first, *rest = head.decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if not line:
        raise HeadError("no request line")
    headers: dict[str, list[str]] = {}
    for raw in rest:
        name, colon, value = raw.partition(":")
        if not colon or not name or name != name.strip():
            raise HeadError("no header")
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    if "transfer-encoding" in headers:
        raise HeadError("a body without a length")
    length = headers.get("content-length", ["0"])
    if len(length) != 1 or not length[0].isascii() or not length[0].isdigit():
        raise HeadError("no length")
    return Request(line[1], line[2], headers), int(length[0])


def render(response: Response, with_body: bool = True) -> bytes:
    """Write a response. Header values lose characters that could start another header."""
    lines = [
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Status')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        *(f"{name}: {clean(value)}" for name, value in response.headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + (response.body if with_body else b"")


def clean(value: str) -> str:
    """Replace characters that a header value must not contain."""
    return value if value.isascii() and value.isprintable() else _NOT_IN_A_HEADER.sub("?", value)
