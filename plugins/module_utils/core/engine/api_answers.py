# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the answers of an engine's API: health, slots, counters and streamed completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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
    """Request slots of an engine; context is the number of cells of one slot. None is unknown."""

    total: int | None = None
    busy: int | None = None
    context: int | None = None


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
    return SlotCounts(len(listed), busy, next((int(slot["n_ctx"]) for slot in listed if "n_ctx" in slot), None))


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


def piece(choice: dict[str, Any]) -> tuple[str, str]:
    """Return the reasoning and the text that a choice of an event adds.

    llama.cpp and older releases of vLLM call the reasoning C(reasoning_content), newer ones C(reasoning).
    """
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return "", ""
    reasoning, content = delta.get("reasoning_content") or delta.get("reasoning"), delta.get("content")
    return reasoning if isinstance(reasoning, str) else "", content if isinstance(content, str) else ""


def used_tokens(usage: Any, name: str) -> int:
    """Return a number of tokens of an answer's C(usage); 0 if it has none."""
    return int(finite(usage.get(name), 0, _MOST_TOKENS) or 0) if isinstance(usage, dict) else 0
