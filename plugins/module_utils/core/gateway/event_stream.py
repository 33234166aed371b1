# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what an engine's stream of events contains, while its bytes are passed on unchanged.

One release of the engine sends the head of a stream when it starts to read the prompt, then a comment every half
minute. So the first event with content marks the first token. The last event has the token counts. A stream that ends
before it has none, so its events are counted: the engine sends one for each token.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

#: Bytes at the end of a body that hold its last event.
TAIL = 4096
#: Bytes of the largest event that is parsed.
LONGEST_EVENT = 64 * 1024
#: Events of a piece of at most 32 KiB that are parsed. The engine's own have more than 128 bytes each.
_MOST_PARSED = 256
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
#: Counts in the last event: C(usage) if the client asked for it, and always the engine's timings. Each API has its own
#: names, and one API reports the prompt in its first event.
_COUNTS = {
    name: re.compile(rb'"%s"\s{0,2}:\s{0,2}(\d{1,9})(?![\d.eE])' % name.encode())
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
_TIMES = [
    re.compile(rb'"%s"\s{0,2}:\s{0,2}(\d{1,9}(?:\.\d{1,9})?)(?![\d.eE])' % name)
    for name in (b"prompt_ms", b"predicted_ms")
]
#: The beginning of each API's last event. Some clients close their connection right after it.
_LAST_EVENT = re.compile(
    rb"(?:event: ?[\w.]+\n)?data: ?"
    rb'(?:\[DONE\]|\{\s{0,2}"type"\s{0,2}:\s{0,2}"(?:message_stop|response\.(?:completed|incomplete|failed))")'
)
#: Bytes of an event in which it says its type.
_HEAD = 128
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


def _choice_has_token(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    in_delta = isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
    return bool(in_delta or choice.get("text"))


@dataclass(frozen=True)
class _EventContent:
    """Whether an event has content, and whether that is a token."""

    has_content: bool
    has_token: bool


_NOTHING, _TOKEN, _END = _EventContent(False, False), _EventContent(True, True), _EventContent(True, False)


def _content_of(event: bytes) -> _EventContent:
    """Classify an event. Comments, progress reports of the prompt, and the opening events of some APIs have none."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    try:
        data = json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return _NOTHING
    if not isinstance(data, dict) or "error" in data or "prompt_progress" in data:
        return _NOTHING
    kind, choices = data.get("type"), data.get("choices")
    if kind in _NO_PIECES:
        return _NOTHING
    if isinstance(choices, list):
        if any(map(_choice_has_token, choices)):
            return _TOKEN
        is_end = any(isinstance(one, dict) and ("text" in one or one.get("finish_reason")) for one in choices)
        return _END if is_end else _NOTHING
    if isinstance(kind, str):
        return _TOKEN if kind.endswith(("_block_delta", ".delta")) else _END
    return _TOKEN if data.get("content") else _END


class EventCounter:
    """The events of one response.

    :ivar has_content: whether an event with content has come.
    :ivar events_with_tokens: number of events with a token.
    :ivar has_ended: whether the API's last event has come.
    """

    def __init__(self) -> None:
        self.has_content = self.has_ended = False
        self.events_with_tokens = 0
        self._event = bytearray()
        self._is_oversized = False
        #: The beginning of an oversized event.
        self._oversized_head = b""
        self._tail = b""
        #: Events before the first one with content. They are small, and one API reports the prompt there.
        self._early = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, and return those that can be passed on: whole events.

        So a stream that is cut can still end with an event of the gateway's own.
        """
        # The former bytes contain no end of an event, at most the first three bytes of one.
        searched = max(0, len(self._event) - 3)
        self._event += data
        ends = ((self._event.rfind(mark, searched), len(mark)) for mark in _EVENT_ENDS)
        end = max(begin + length if begin >= 0 else 0 for begin, length in ends)
        if len(self._event) - end > LONGEST_EVENT:
            if not self._oversized_head:
                self._oversized_head = bytes(self._event[end : end + _HEAD]).replace(b"\r\n", b"\n")
            self._is_oversized = self.has_content = True
            end = len(self._event)
        passed = bytes(self._event[:end])
        del self._event[:end]
        self._tail = (self._tail + passed)[-TAIL:]
        events = passed.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
        if events:
            head = self._oversized_head if len(events) == 1 and self._oversized_head else events[-1]
            self.has_ended = self.has_ended or bool(_LAST_EVENT.match(head))
            self._oversized_head = b""
        # Only an object has content, and an oversized event ends without one.
        full = [event for index, event in enumerate(events) if b"{" in event or (self._is_oversized and not index)]
        for event in full[:_MOST_PARSED]:
            self._count(event)
        return passed

    def rest(self) -> bytes:
        """Return the bytes after the last whole event, when the engine has ended the stream."""
        passed = bytes(self._event)
        self._event.clear()
        return passed

    def _count(self, event: bytes) -> None:
        if self._is_oversized:
            self._is_oversized = False
            self.events_with_tokens += 1
            return
        found = _content_of(event)
        if not self.has_content and not found.has_content:
            self._early = (self._early + event)[-TAIL:]
        self.has_content = self.has_content or found.has_content
        self.events_with_tokens += found.has_token

    @property
    def tokens(self) -> Tokens:
        """Return the token counts that the engine has reported so far, else the number of events with a token."""
        found = tokens_of(self._early + self._tail)
        # One API opens its stream with a count of zero.
        if not found.completion and self.events_with_tokens:
            return replace(found, completion=self.events_with_tokens)
        return found
