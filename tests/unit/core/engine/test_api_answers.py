# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses of an engine's API are read alike for all clients."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_answers

SLOTS: list[dict[str, Any]] = [
    {"id_task": 3, "is_processing": True, "n_ctx": 2048, "next_token": 7},
    {"is_processing": False},
]


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (503, "loading"), (404, "status 404")])
def test_health_is_named_by_status(status: int, state: str) -> None:
    assert api_answers.health(status) == state


@pytest.mark.parametrize("answer", [None, {"error": {}}, ["slot"], "busy"])
def test_answer_without_slots_is_unknown(answer: Any) -> None:
    assert api_answers.slots(answer) is None


def test_slots_are_counted() -> None:
    listed = api_answers.slots(SLOTS)
    assert listed is not None
    assert api_answers.slot_counts(listed) == api_answers.SlotCounts(2, 1, 2048)
    assert api_answers.slot_counts([]) == api_answers.SlotCounts(0, 0, None)


def test_progress_changes_with_a_token() -> None:
    later = [{**SLOTS[0], "next_token": 8}, SLOTS[1]]
    assert api_answers.slot_progress(SLOTS) != api_answers.slot_progress(later)
    assert api_answers.slot_progress(SLOTS) == api_answers.slot_progress([dict(slot) for slot in SLOTS])


def test_counters_are_read_without_the_prefix() -> None:
    text = "# HELP llamacpp:x\nllamacpp:tokens_predicted_total 12\nllamacpp:broken one\nother 3\n"
    assert api_answers.counters(text) == {"tokens_predicted_total": 12.0}


def test_events_of_a_stream_end_before_done() -> None:
    lines = [b'data: {"choices": [{"delta": {"content": "a"}}]}\n', b"\n", b": comment", b"data: [DONE]\n"]
    (event,) = api_answers.events(lines)
    assert [api_answers.piece(choice) for choice in event["choices"]] == [("", "a")]


def test_reasoning_is_separated_from_text() -> None:
    assert api_answers.piece({"delta": {"reasoning_content": "so", "content": None}}) == ("so", "")
    assert api_answers.piece({}) == ("", "")


@pytest.mark.parametrize("text", ["5", "[]", '"error"', "null", "{" * 5, "[" * 100_000])
def test_event_that_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        list(api_answers.events([f"data: {text}\n".encode()]))


@pytest.mark.parametrize("choices", [None, 5, {"delta": {}}, ["a"], [None]])
def test_choices_that_are_no_objects_are_left_out(choices: Any) -> None:
    assert api_answers.choices({"choices": choices}) == []


@pytest.mark.parametrize("delta", [5, "text", ["a"], {"content": 5, "reasoning": ["x"]}, {"content": {"a": 1}}])
def test_piece_of_another_type_is_no_text(delta: Any) -> None:
    assert api_answers.piece({"delta": delta}) == ("", "")


@pytest.mark.parametrize(
    "usage", [None, 5, [], {"n": "8"}, {"n": -1}, {"n": 10**400}, {"n": True}, {"n": float("nan")}]
)
def test_tokens_out_of_range_are_none(usage: Any) -> None:
    assert api_answers.used_tokens(usage, "n") == 0


def test_newer_name_of_the_reasoning_is_known() -> None:
    assert api_answers.piece({"delta": {"reasoning": "so"}}) == ("so", "")
    assert api_answers.used_tokens({"n": 8}, "n") == 8
