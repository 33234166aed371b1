# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an answer of the gateway strictly: one answer, framed right, without a header that the gateway may not send."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.gateway.hostile_engine.double import CUT, ERROR, SMUGGLED, WHOLE

#: The headers that a user may see.
HEADERS = {
    "server",
    "date",
    "connection",
    "content-type",
    "content-length",
    "transfer-encoding",
    "cache-control",
    "retry-after",
    "vary",
    "x-accel-buffering",
    "x-herd-tier",
    "x-herd-model",
    "x-herd-fallback-from",
    "x-request-id",
    "x-should-retry",
}
CONTENT_TYPES = {"application/json", "text/event-stream", "text/plain", "application/octet-stream"}


@dataclass(frozen=True)
class StrictReply:
    """One answer.

    :ivar is_complete: whether its framing says that all of the body has come.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def events(self) -> bytes:
        """Return the body without keep-alive comments."""
        return re.sub(rb"(^|\n\n):[^\n]*\n(?=\n)", rb"\1", self.body)

    @property
    def outcome(self) -> str:
        """Return what a client takes it for."""
        if self.status >= 300:
            assert self.is_complete
            error = json.loads(self.body)["error"]
            assert error["message"]
            return ERROR
        if not self.is_complete:
            return CUT
        last = self.body.rstrip().rpartition(b"data: ")[2]
        return CUT if self.is_stream and b'"error"' in last else WHOLE


def parse(data: bytes) -> StrictReply:
    """Read an answer, and assert that it is one, and that no byte of its head is the engine's."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    assert blank, data[:300]
    assert SMUGGLED.encode() not in head, head
    line, *fields = head.decode("ascii").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 ([2-5][0-9][0-9]) [ -~]*", line)
    assert found, line
    headers: dict[str, str] = {}
    for field in fields:
        name, _colon, value = field.partition(": ")
        name = name.lower()
        assert name in HEADERS or name.startswith("x-ratelimit-"), field
        assert name not in headers, field
        assert re.fullmatch(r"[ -~]*", value), field
        headers[name] = value
    assert headers["x-request-id"]
    if rest:
        assert headers["content-type"].partition(";")[0] in CONTENT_TYPES, headers
    if "transfer-encoding" in headers:
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers
        body, is_complete = _unchunk(rest)
    else:
        length = int(headers["content-length"]) if int(found[1]) not in (204, 304) else 0
        assert len(rest) <= length, rest[length:][:300]
        body, is_complete = rest, len(rest) == length
    return StrictReply(int(found[1]), headers, body, is_complete)


def _unchunk(rest: bytes) -> tuple[bytes, bool]:
    """Join the chunks of a body, and return whether the last one has come."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = rest.find(b"\r\n", at)
        if end < 0:
            return b"".join(pieces), False
        assert re.fullmatch(rb"[0-9a-fA-F]+", rest[at:end]), rest[at:end]
        size = int(rest[at:end], 16)
        pieces.append(rest[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
        if at > len(rest):
            return b"".join(pieces), False
        assert rest[at - 2 : at] == b"\r\n"
        if size == 0:
            assert rest[at:] == b"", rest[at:][:300]
            return b"".join(pieces), True
