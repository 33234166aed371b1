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


TEXT, THOUGHT = {"content": "Hi"}, {"content": "", "reasoning_content": "Let me"}
EMPTY: dict[str, Any] = {"content": ""}
USAGES_WITHOUT_A_COUNT: list[Any] = [
    None,
    "8",
    8,
    [],
    {},
    {"completion_tokens": "8"},
    {"completion_tokens": None},
    {"completion_tokens": -1},
    {"completion_tokens": True},
    {"completion_tokens": 0},
]


@pytest.mark.parametrize("part", ["message", "delta"])
@pytest.mark.parametrize("message", [TEXT, THOUGHT, EMPTY, {"content": None}, {"role": "assistant"}, None, "Hi"])
def test_tokens_of_the_usage_are_an_answer(message: Any, part: str) -> None:
    """As with a model that only reasons: 8 tokens, and nothing to see."""
    answer = api_answers.Answer()
    answer.feed({"choices": [{part: message}], "usage": {"completion_tokens": 8, "prompt_tokens": 9}})
    assert (answer.tokens, answer.prompt_tokens, answer.has_token) == (8, 9, True)


@pytest.mark.parametrize("usage", USAGES_WITHOUT_A_COUNT)
@pytest.mark.parametrize(
    ("choice", "has_token"),
    [
        ({"message": TEXT}, True),
        ({"message": THOUGHT}, True),
        ({"delta": {"reasoning": "so"}}, True),
        ({"text": "Hi"}, True),
        ({"message": EMPTY}, False),
        ({"message": {"content": 5, "reasoning_content": []}}, False),
        ({"text": None}, False),
        (None, False),
    ],
)
def test_text_is_an_answer_without_a_usable_usage(usage: Any, choice: Any, has_token: bool) -> None:
    answer = api_answers.Answer()
    answer.feed({"choices": [choice], "usage": usage})
    assert (answer.tokens, answer.has_token) == (0, has_token)


@pytest.mark.parametrize(
    ("body", "tokens", "has_token"),
    [
        (b'{"content": "", "tokens_predicted": 1}', 1, True),
        (b'{"content": " a"}', 0, True),
        (b'{"content": "", "timings": {"predicted_n": 3}}', 3, True),
        (b'{"content": "", "tokens_predicted": 0}', 0, False),
        (b'{"choices": [{"text": "x"}]}', 0, True),
        (b'{"success": true}', 0, False),
        *((body, 0, False) for body in (b"", b"null", b"[]", b"ok", b"\xff{", b"[" * 100_000, b'{"choices": 5}')),
    ],
)
def test_answer_in_one_piece(body: bytes, tokens: int, has_token: bool) -> None:
    answer = api_answers.read(body)
    assert (answer.tokens, answer.has_token) == (tokens, has_token)


def test_events_add_up_to_one_answer() -> None:
    answer = api_answers.Answer()
    events: list[Any] = [
        {"choices": [{"delta": {"reasoning_content": "Let"}}], "usage": None},
        {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"completion_tokens": 2}, "timings": {"predicted_n": 5, "predicted_per_second": 7}},
        {"choices": [], "usage": "none", "timings": {"predicted_per_second": "fast"}},
    ]
    assert [answer.feed(event) for event in events] == ["Let", "Hi", "", ""]
    assert (answer.reasoning, answer.content, answer.finish_reason) == ("Let", "Hi", "stop")
    assert (answer.tokens, answer.tokens_per_second) == (2, 7.0)
