# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the stream of one chat completion, and note when what arrived."""

from __future__ import annotations

import json
from typing import Any

from ...engine import api_answers
from ...text import plain
from .request_timing import RequestTiming

_DONE = b"data: [DONE]"
_LONGEST_ERROR = 200


def error_text(status: int, body: bytes) -> str:
    """Return a refusal in one line, such as C(503: no tier is ready): the status and the API's own message."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = {}
    return f"{status}: {_said(data) or 'no message'}"


def _said(data: Any) -> str:
    """Return the message of an API's error; empty without one."""
    error = data.get("error", data) if isinstance(data, dict) else ""
    text = error.get("message") or error.get("detail") or "" if isinstance(error, dict) else error
    return plain(str(text))[:_LONGEST_ERROR].strip()


class StreamReader:
    """The times of one response, from its lines.

    :param start: when the request was about to be sent, in seconds of a monotonic clock.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._first_response: float | None = None
        self._first_token: float | None = None
        self._first_content: float | None = None
        self._last_token: float | None = None
        self._usage: dict[str, Any] = {}
        self._cached = 0
        self._error = ""
        self._is_done = False

    def feed(self, line: bytes, now: float) -> None:
        """Take one line of the response, which arrived at C(now)."""
        if line.startswith(_DONE):
            self._is_done = True
            return
        try:
            for event in api_answers.events((line,)):
                self._take(event, now)
        except ValueError as error:
            self._error = self._error or f"the stream holds an event that cannot be read: {plain(str(error))}"

    def _take(self, event: dict[str, Any], now: float) -> None:
        if self._first_response is None:
            self._first_response = now
        if "error" in event:
            self._error = self._error or f"the stream reports an error: {_said(event) or 'no message'}"
        for choice in api_answers.choices(event):
            reasoning, content = api_answers.piece(choice)
            delta = choice.get("delta")
            if not (reasoning or content or (isinstance(delta, dict) and delta.get("tool_calls"))):
                continue
            if self._first_token is None:
                self._first_token = now
            if content and self._first_content is None:
                self._first_content = now
            self._last_token = now
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._usage = usage
            self._cached = api_answers.used_tokens(usage.get("prompt_tokens_details"), "cached_tokens")
        timings = event.get("timings")
        if isinstance(timings, dict):
            # llama.cpp reports reused tokens of the prompt here, in releases whose usage does not.
            self._cached = self._cached or api_answers.used_tokens(timings, "cache_n")

    def timing(self, end: float, error: str = "") -> RequestTiming:
        """Return the times of the response, which ended at C(end).

        :param error: why the request failed, if the connection did.
        """
        found = error or self._error
        output = api_answers.used_tokens(self._usage, "completion_tokens")
        if not found and not self._is_done:
            found = "the stream was cut off"
        if not found and not output:
            found = "the stream holds no count of its tokens (usage)"
        if not found and self._first_token is None:
            found = "the stream holds no text"
        return RequestTiming(
            self._start,
            end,
            self._first_response,
            self._first_token,
            self._first_content,
            self._last_token,
            prompt_tokens=api_answers.used_tokens(self._usage, "prompt_tokens"),
            cached_tokens=self._cached,
            output_tokens=output,
            error=found,
        )
