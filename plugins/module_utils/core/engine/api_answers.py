# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the answers of an engine's API: health, slots, counters and streamed completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..values import finite

OK, LOADING, UNAUTHORISED = "ok", "loading", 401
_HEALTH = {200: OK, 503: LOADING}
_COUNTER_PREFIX = "llamacpp:"
_DATA, _DONE = b"data: ", b"[DONE]"
_MOST_TOKENS = 1e9
# The fields of a slot that change whenever it works.
_PROGRESS_FIELDS = ("id_task", "is_processing", "n_prompt_tokens_processed", "next_token")


@dataclass(frozen=True)
class SlotCounts:
    """Request slots of an engine; context is the number of cells of one slot. None is unknown.

    :param speculative: whether all slots speculate.
    """

    total: int | None = None
    busy: int | None = None
    context: int | None = None
    speculative: bool | None = None


def health(status: int) -> str:
    """Name the state that C(/health) reports: C(ok), C(loading), or C(status N) if it is not an engine's answer."""
    return _HEALTH.get(status, f"status {status}")


def slots(answer: Any) -> list[dict[str, Any]] | None:
    """Return the slots of an answer of C(/slots); None if it does not list any, as with C(--no-slots)."""
    is_list = isinstance(answer, list) and all(isinstance(slot, dict) for slot in answer)
    return answer if is_list else None


def slot_counts(listed: list[dict[str, Any]]) -> SlotCounts:
    """Count the slots."""
    busy = sum(bool(slot.get("is_processing")) for slot in listed)
    context = next((int(slot["n_ctx"]) for slot in listed if "n_ctx" in slot), None)
    told = [slot["speculative"] for slot in listed if isinstance(slot.get("speculative"), bool)]
    return SlotCounts(len(listed), busy, context, all(told) if listed and len(told) == len(listed) else None)


def slot_progress(listed: list[dict[str, Any]]) -> str:
    """Return a text that changes whenever a slot has made a token or read a part of a prompt."""
    return json.dumps([[slot.get(name) for name in _PROGRESS_FIELDS] for slot in listed])


def counters(text: str) -> dict[str, float]:
    """Return the counters of C(/metrics) by name, without the engine's prefix."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _blank, value = line.partition(" ")
        if name.startswith(_COUNTER_PREFIX):
            try:
                found[name[len(_COUNTER_PREFIX) :]] = float(value)
            except ValueError:
                continue
    return found


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Return the events of a streamed completion, from its lines.

    :raises ValueError: for an event that is no JSON object.
    """
    for line in lines:
        if line.startswith(_DATA) and line[len(_DATA) :].strip() != _DONE:
            try:
                event = json.loads(line[len(_DATA) :].decode("utf-8", errors="replace"))
            except RecursionError:
                raise ValueError("an event is nested too deeply") from None
            if not isinstance(event, dict):
                raise ValueError(f"an event is a {type(event).__name__}")
            yield event


def choices(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of an event; an event about the usage has none."""
    listed = event.get("choices")
    return [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []


def _words(message: Any) -> tuple[str, str]:
    """Return the reasoning and the text of a message or of a part of one."""
    if not isinstance(message, dict):
        return "", ""
    reasoning, content = message.get("reasoning_content") or message.get("reasoning"), message.get("content")
    return reasoning if isinstance(reasoning, str) else "", content if isinstance(content, str) else ""


def piece(choice: dict[str, Any]) -> tuple[str, str]:
    """Return the reasoning and the text that a choice of an event adds.

    llama.cpp and older releases of vLLM call the reasoning C(reasoning_content), newer ones C(reasoning).
    """
    return _words(choice.get("delta"))


def used_tokens(usage: Any, name: str) -> int:
    """Return a number of tokens of an answer's C(usage); 0 if it has none."""
    return int(finite(usage.get(name), 0, _MOST_TOKENS) or 0) if isinstance(usage, dict) else 0


def tokens_per_second(timings: Any) -> float | None:
    """Return the rate that llama.cpp measured; None without one."""
    found = finite(timings.get("predicted_per_second")) if isinstance(timings, dict) else None
    return None if found is None else round(float(found), 2)


class Answer:
    """An answer of an engine, in one piece or from the events of a stream.

    :ivar reasoning: what came as reasoning; it is not in C(content).
    :ivar tokens: the tokens that the engine counted; 0 if it counts none.
    """

    def __init__(self) -> None:
        self.reasoning, self.content, self.finish_reason = "", "", ""
        self.tokens, self.prompt_tokens = 0, 0
        self.tokens_per_second: float | None = None

    def feed(self, data: Any) -> str:
        """Add a whole answer or an event, and return its reasoning and text."""
        if not isinstance(data, dict):
            return ""
        usage, timings = data.get("usage"), data.get("timings")
        # The further counts are those of llama.cpp. An answer of /completion has no usage.
        self.tokens = (
            used_tokens(usage, "completion_tokens")
            or self.tokens
            or used_tokens(data, "tokens_predicted")
            or used_tokens(timings, "predicted_n")
        )
        self.prompt_tokens = max(self.prompt_tokens, used_tokens(usage, "prompt_tokens"))
        rate = tokens_per_second(timings)
        self.tokens_per_second = self.tokens_per_second if rate is None else rate
        said = _words(data)[1]
        self.content += said
        for choice in choices(data):
            said += self._feed_choice(choice)
        return said

    def _feed_choice(self, choice: dict[str, Any]) -> str:
        of_message, of_delta, text = _words(choice.get("message")), piece(choice), choice.get("text")
        reasoning = of_message[0] + of_delta[0]
        content = of_message[1] + of_delta[1] + (text if isinstance(text, str) else "")
        self.reasoning, self.content = self.reasoning + reasoning, self.content + content
        finish = choice.get("finish_reason")
        self.finish_reason = finish if isinstance(finish, str) and finish else self.finish_reason
        return reasoning + content

    @property
    def has_token(self) -> bool:
        """Return whether the engine made a token: the rule by which a service answers.

        Its count decides. Reasoning that a parser holds back, or an end of the text at once, leave nothing to see.
        Older servers count nothing, or wrongly; then text is the proof.
        """
        return bool(self.tokens or self.reasoning or self.content)


def read(body: bytes) -> Answer:
    """Read an answer in one piece. A body that is no such answer has no token."""
    answer = Answer()
    # RecursionError: thousands of brackets.
    with suppress(ValueError, RecursionError):
        answer.feed(json.loads(body.decode("utf-8", errors="replace")))
    return answer
