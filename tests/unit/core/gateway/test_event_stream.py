# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of events: content, tokens and the place where an event can be added."""

from __future__ import annotations

import time

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.event_stream import (
    EventCounter,
    Tokens,
    tokens_of,
)

EVENT = b'data: {"choices":[]}\n\n'
# As release 0c1e57098 ends a stream that was not asked for its usage.
LAST = (
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"timings":{"cache_n":7,"prompt_n":1,'
    b'"prompt_ms":13.6,"predicted_n":5,"predicted_ms":68.7}}\n\n'
)


@pytest.mark.parametrize(
    ("tail", "tokens"),
    [
        (b"", Tokens()),
        (b'"prompt_tokens": 3, "completion_tokens": 4', Tokens(3, 4)),
        (b'"prompt_n":0,"cache_n":9,"predicted_n":1', Tokens(9, 1, 0)),
        # As /v1/messages and /v1/responses have it: the former counts what it knew already apart.
        (b'"usage":{"cache_read_input_tokens":7,"input_tokens":1,"output_tokens":12}', Tokens(8, 12)),
        (
            b'"usage":{"input_tokens":8,"output_tokens":12,"total_tokens":20,"input_tokens_details":{"cached_tokens":7}'
            b'}},"timings":{"cache_n":7,"prompt_n":1,"prompt_ms":16.24,"prompt_per_token_ms":16.24,"predicted_n":12,'
            b'"predicted_ms":236.369,"predicted_per_token_ms":21.48809090909091}}',
            Tokens(8, 12, 1, 0.01624, 0.236369),
        ),
        (b'"content":"\\"output_tokens\\": 900"', Tokens()),
        (b'"predicted_n":2', Tokens(None, 2)),
        (b'"prompt_tokens":"many"', Tokens()),
        # The last one counts: progress comes before it.
        (b'"predicted_n":2 "predicted_n":3', Tokens(None, 3)),
    ],
)
def test_tokens(tail: bytes, tokens: Tokens) -> None:
    assert tokens_of(tail) == tokens


TOKEN = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}]}\n\n'
ROLE = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
PROGRESS = ROLE.replace(b"]}\n", b'],"prompt_progress":{"total":9,"cache":0,"processed":4,"time_ms":1}}\n')


@pytest.mark.parametrize(
    ("event", "has_content"),
    [
        (TOKEN, True),
        (ROLE, False),
        (PROGRESS, False),
        (b":\n\n", False),
        (b": ping\n\n", False),
        (EVENT, False),
        (b"data: [DONE]\n\n", False),
        (b'data: {"error":{"code":400}}\n\n', False),
        (b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}\n\n', True),
        (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', True),
        (b'data: {"choices":[{"index":0,"text":""}]}\n\n', True),
        (b'data: {"choices":[{"index":0,"text":"\\"prompt_progress\\":"}]}\n\n', True),
        (b'data: {"content":"Hi","stop":false}\n\n', True),
        (b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n', False),
        (b'event: ping\ndata: {"type":"ping"}\n\n', False),
        (b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{}}\n\n', True),
        (b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n', False),
        (b'event: response.in_progress\ndata: {"type":"response.in_progress","prompt_progress":{}}\n\n', False),
        (b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n', True),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_with_content_are_recognised(event: bytes, has_content: bool, size: int) -> None:
    before = b":\n\n" + PROGRESS
    assert fed(before + event, size).has_content is has_content
    assert not fed(before, size).has_content
    assert fed(before + event.replace(b"\n", b"\r\n"), size).has_content is has_content


def fed(data: bytes, size: int = 1000) -> EventCounter:
    counter = EventCounter()
    for begin in range(0, len(data), size):
        counter.feed(data[begin : begin + size])
    return counter


@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_token_counts_of_the_first_event_are_kept(size: int) -> None:
    """As /v1/messages of release 0c1e57098 has it."""
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"cache_read_input_tokens":3,'
        b'"input_tokens":8,"output_tokens":0}}}\n\n'
    )
    delta = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"text_delta","text":" Stra"}}\n\n'
    )
    end = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":100}}\n\n'
    assert fed(start + delta * 100 + end, size).tokens == Tokens(11, 100)
    assert fed(start + delta * 39, size).tokens == Tokens(11, 39)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_tokens_of_a_stream_without_an_end_are_counted(size: int) -> None:
    finish = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    assert fed(ROLE + TOKEN * 39, size).tokens == Tokens(None, 39)
    assert fed(ROLE + TOKEN * 39 + finish, size).tokens == Tokens(None, 39)
    assert fed(ROLE + TOKEN * 39 + b'data: {"usage":{"prompt_tokens":2,"completion_tokens":40}}\n\n').tokens == Tokens(
        2, 40
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_only_whole_events_are_passed_on(size: int) -> None:
    counter, data, passed = EventCounter(), TOKEN * 3 + TOKEN[:-1], b""
    for begin in range(0, len(data), size):
        passed += counter.feed(data[begin : begin + size])
    assert (passed, counter.rest()) == (TOKEN * 3, TOKEN[:-1])


def test_an_endless_event_counts_as_content_and_is_passed_on() -> None:
    counter = EventCounter()
    data = b"data: " + b"x" * 70_000
    assert counter.feed(data) == data
    assert counter.has_content
    assert counter.feed(b"y\n\n") == b"y\n\n"
    assert counter.events_with_tokens == 1


@pytest.mark.parametrize(
    ("event", "has_ended"),
    [
        (b"data: [DONE]\n\n", True),
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n', True),
        (b'event: response.incomplete\ndata: {"type": "response.incomplete","response":{}}\n\n', True),
        (b'event: response.completed\ndata: {"type":"response.completed","text":"%s"}\n\n' % (b"x" * 70_000), True),
        (b"data: [DONE]\n", False),
        (TOKEN, False),
        (TOKEN.replace(b"Hi", b"data: [DONE]"), False),
        (b'data: {"type":"response.output_text.delta","delta":"message_stop"}\n\n', False),
        (b'data: {"choices":[{"index":0,"text":"%s"}]}\n\n' % (b"x" * 70_000), False),
    ],
)
@pytest.mark.parametrize("size", [7, 100_000])
def test_the_last_event_of_each_api_is_recognised(event: bytes, has_ended: bool, size: int) -> None:
    assert fed(TOKEN + event, size).has_ended is has_ended
    assert fed(TOKEN + event.replace(b"\n", b"\r\n"), size).has_ended is has_ended


@pytest.mark.parametrize("event", [b"\n\n", b"data:1\n\n", b"data:{}\n\n"], ids=repr)
def test_many_small_events_cost_little_time(event: bytes) -> None:
    counter, piece = EventCounter(), event * (32 * 1024 // len(event))
    began = time.process_time()
    for _each in range(20):
        assert counter.feed(piece) == piece
    assert time.process_time() - began < 0.4


def test_small_pieces_of_a_large_event_are_searched_once() -> None:
    began = time.process_time()
    assert not fed(b"data: " + b"x" * 60_000, 1).has_content
    assert time.process_time() - began < 0.5
