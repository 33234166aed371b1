# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse an engine's response as it passes, for its first token, its end and its token counts.

The bytes are passed on unchanged. One release of the engine sends the head of a stream when it starts to read the
prompt, then a comment every half minute. So the first event with content marks the first token. A stopped engine leaves
its stream without an end, which the gateway adds. The last event has the token counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

#: Bytes at the end of a body that hold its last event.
TAIL = 4096
LONGEST_HEAD = 64 * 1024
#: Counts in the last event: C(usage) if the client asked for it, and always the engine's timings. Each API has its own
#: names, and one API reports the prompt in its first event.
_COUNTS = {
    name: re.compile(rb'"%s"\D{1,3}(\d{1,12})' % name.encode())
    for name in (
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "prompt_n",
        "cache_n",
        "predicted_n",
    )
}
_TIMES = [re.compile(rb'"%s"\D{1,3}(\d{1,12}(?:\.\d{1,9})?)' % name) for name in (b"prompt_ms", b"predicted_ms")]
#: Types of events without a token.
_NO_PIECES = (
    "error",
    "message_start",
    "ping",
    "response.created",
    "response.failed",
    "response.in_progress",
    "response.queued",
)
SIZE, DATA, AFTER, TRAILER, END = "size", "data", "after", "trailer", "end"


class BadResponseError(Exception):
    """The engine's response is not valid HTTP."""


@dataclass(frozen=True)
class Tokens:
    """The token counts of a request; None for unknown values.

    :ivar read: tokens of the prompt that were not cached.
    :ivar read_s: seconds for these tokens.
    :ivar written_s: seconds for the completion.
    """

    prompt: int | None = None
    completion: int | None = None
    read: int | None = None
    read_s: float | None = None
    written_s: float | None = None


def _seconds(numbers: list[bytes]) -> float | None:
    return round(float(numbers[-1]) / 1000, 6) if numbers else None


def tokens_of(tail: bytes) -> Tokens:
    """Read the token counts from the end of a body."""
    found = {name: int(numbers[-1]) for name, pattern in _COUNTS.items() if (numbers := pattern.findall(tail))}
    read_s, written_s = (_seconds(pattern.findall(tail)) for pattern in _TIMES)
    prompt = found.get("prompt_tokens")
    if prompt is None and "input_tokens" in found:
        prompt = found["input_tokens"] + found.get("cache_read_input_tokens", 0)
    if prompt is None and "prompt_n" in found:
        prompt = found["prompt_n"] + found.get("cache_n", 0)
    completion = next((found[n] for n in ("completion_tokens", "output_tokens", "predicted_n") if n in found), None)
    return Tokens(prompt, completion, found.get("prompt_n"), read_s, written_s)


def _has_token(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    told = isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
    return bool(told or "text" in choice or choice.get("finish_reason"))


def is_piece(event: bytes) -> bool:
    """Return whether an event of a stream has content.

    Keep-alive comments, progress reports of the prompt, and the opening events of some APIs have none.
    """
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    try:
        data = json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return False
    if not isinstance(data, dict):
        return True
    if "error" in data or "prompt_progress" in data or data.get("type") in _NO_PIECES:
        return False
    choices = data.get("choices")
    return any(map(_has_token, choices)) if isinstance(choices, list) else True


def as_chunk(data: bytes) -> bytes:
    """Write data as a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def for_our_connection(begun: bytes, ends: bool) -> bytes:
    """Replace the engine's connection headers in the head of a response by our own."""
    head, gap, body = begun.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    return b"\r\n".join([*kept, b"Connection: close"] if ends else kept) + gap + body


class ResponseStream:
    """A response as it comes.

    :ivar status: its HTTP status; 0 before the head has come.
    :ivar is_stream: whether it is a stream of events.
    :ivar has_body: whether a part of the body has come.
    :ivar has_piece: whether an event with content has come.
    :ivar has_excess: whether bytes have come after its end.
    """

    def __init__(self) -> None:
        self.status = 0
        self.is_stream = False
        self.has_body = False
        self.has_piece = False
        self.is_chunked = False
        self.has_excess = False
        self._length: int | None = None
        self._head = bytearray()
        self._line = bytearray()
        self._place = SIZE
        self._left = 0
        self._tail = bytearray()
        self._event = bytearray()
        #: Events before the first one with content. They are small.
        self._early = b""

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        :raises BadResponseError: for invalid HTTP.
        """
        if not self.status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > LONGEST_HEAD:
                    raise BadResponseError("a head without an end")
                return
            data = bytes(self._head[end + 4 :])
            self._read_head(bytes(self._head[:end]))
            self._head.clear()
        if self.is_chunked:
            self._follow(data)
        elif data:
            self._body(data)
            if self._length is not None:
                self._length -= len(data)
                self.has_excess = self._length < 0

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        match = re.match(rb"HTTP/1\.[01] (\d{3})", first)
        if not match:
            raise BadResponseError("no status line")
        self.status = int(match[1])
        for line in lines:
            name, _colon, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip().lower()
            if name == b"transfer-encoding":
                self.is_chunked = value == b"chunked"
            elif name == b"content-length" and value.isdigit():
                self._length = int(value)
            elif name == b"content-type":
                self.is_stream = value.startswith(b"text/event-stream")

    def _body(self, data: bytes) -> None:
        self.has_body = True
        self._tail += data
        del self._tail[:-TAIL]
        if self.is_stream and not self.has_piece:
            self._look_for_piece(data)

    def _look_for_piece(self, data: bytes) -> None:
        self._event += data
        *events, rest = bytes(self._event).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            if is_piece(event):
                self.has_piece = True
                break
            self._early = (self._early + event)[-TAIL:]
        self.has_piece = self.has_piece or len(rest) > LONGEST_HEAD
        self._event[:] = b"" if self.has_piece else rest

    def _follow(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._place == DATA:
                piece = data[position : position + self._left]
                self._body(piece)
                self._left -= len(piece)
                position += len(piece)
                if not self._left:
                    self._place = AFTER
                continue
            if self._place == END:
                self.has_excess = True
                return
            end = data.find(b"\n", position)
            if end < 0:
                self._line += data[position:]
                if len(self._line) > LONGEST_HEAD:
                    raise BadResponseError("a line of a chunk without an end")
                return
            line = (bytes(self._line) + data[position:end]).strip()
            self._line.clear()
            position = end + 1
            self._next(line)

    def _next(self, line: bytes) -> None:
        if self._place == AFTER:
            self._place = SIZE
        elif self._place == TRAILER:
            self._place = TRAILER if line else END
        else:
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadResponseError("a chunk without a size") from None
            self._place = DATA if self._left else TRAILER

    @property
    def is_whole(self) -> bool:
        """Return whether the response is complete, provided that nothing more comes."""
        if not self.status:
            return False
        if self.is_chunked:
            return self._place == END
        return self._length is None or self._length <= 0

    @property
    def has_end(self) -> bool:
        """Return whether its own framing marks the end, rather than the end of the connection."""
        return self.is_chunked or self._length is not None

    @property
    def may_end_here(self) -> bool:
        """Return whether an event can be added to a cut stream: not inside a chunk or an event."""
        between = self.is_chunked and self._place == SIZE and not self._line
        return bool(self.is_stream and between and (not self._tail or self._tail.endswith(b"\n\n")))

    @property
    def tokens(self) -> Tokens:
        """Return the token counts that the engine has reported so far."""
        return tokens_of(self._early + bytes(self._tail))
