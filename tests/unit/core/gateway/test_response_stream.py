# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine's answer as it passes, in pieces of every size."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import response_stream
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.response_stream import (
    BadResponseError,
    ResponseStream,
    Tokens,
    tokens_of,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[]}\n\n'
# As release 0c1e57098 ends a stream that was not asked for its usage.
LAST = (
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"timings":{"cache_n":7,"prompt_n":1,'
    b'"prompt_ms":13.6,"predicted_n":5,"predicted_ms":68.7}}\n\n'
)
BODY = b"".join(map(response_stream.as_chunk, (EVENT, EVENT, LAST, b"data: [DONE]\n\n")))
WHOLE = HEAD + BODY + b"0\r\n\r\n"


def fed(data: bytes, size: int = 1 << 20) -> ResponseStream:
    answer = ResponseStream()
    for start in range(0, len(data), size):
        answer.feed(data[start : start + size])
    return answer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_complete_stream_is_recognised(size: int) -> None:
    answer = fed(WHOLE, size)
    assert (answer.status, answer.is_stream, answer.has_body, answer.is_whole) == (200, True, True, True)
    assert answer.tokens == Tokens(prompt=8, completion=5, read=1, read_s=0.0136, written_s=0.0687)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_cut_is_recognised_at_any_byte(size: int) -> None:
    for end in range(len(WHOLE)):
        assert not fed(WHOLE[:end], size).is_whole


def test_an_end_can_only_be_added_between_events() -> None:
    places = {end for end in range(len(WHOLE)) if fed(WHOLE[:end]).may_end_here}
    expected, position = {len(HEAD)}, len(HEAD)
    for event in (EVENT, EVENT, LAST, b"data: [DONE]\n\n"):
        position += len(response_stream.as_chunk(event))
        expected.add(position)
    assert places == expected


def test_no_end_is_added_inside_an_event() -> None:
    assert not fed(HEAD + response_stream.as_chunk(b"data: {")).may_end_here


@pytest.mark.parametrize(
    ("data", "has_end", "has_excess"),
    [
        (WHOLE, True, False),
        (WHOLE + b"H", True, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n", True, True),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", False, False),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_the_end_of_a_response_is_found(data: bytes, has_end: bool, has_excess: bool, size: int) -> None:
    answer = fed(data, size)
    assert (answer.is_whole, answer.has_end, answer.has_excess) == (True, has_end, has_excess)


def test_a_response_with_a_length_ends_there() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\nContent-Type: application/json\r\n\r\n"
    body = b'{"usage":{"completion_tokens":5,"prompt_tokens":8,"total_tokens":13}}\n'
    assert len(body) == 70
    assert fed(text + body, 9).is_whole
    assert fed(text + body, 9).tokens == Tokens(8, 5)
    assert not fed(text + body[:-1], 9).is_whole
    assert not fed(text + body[:-1], 9).may_end_here


@pytest.mark.parametrize(
    "data",
    [b"garbage\r\n\r\n", b"x" * 70_000, HEAD + b"no size\r\n", HEAD + b"5" * 70_000],
    ids=["no status", "no end", "no size", "no end of a size"],
)
def test_invalid_http_is_rejected(data: bytes) -> None:
    with pytest.raises(BadResponseError):
        fed(data)


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
    ("event", "is_piece"),
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
def test_events_with_content_are_recognised(event: bytes, is_piece: bool, size: int) -> None:
    before = b"".join(map(response_stream.as_chunk, (b":\n\n", PROGRESS)))
    answer = fed(HEAD + before + response_stream.as_chunk(event), size)
    assert answer.has_body
    assert answer.has_piece is is_piece
    assert not fed(HEAD + before, size).has_piece
    assert fed(HEAD + before + response_stream.as_chunk(event.replace(b"\n", b"\r\n")), size).has_piece is is_piece


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
    answer = fed(HEAD + b"".join(map(response_stream.as_chunk, (start + delta, *[delta] * 99, end))), size)
    assert answer.tokens == Tokens(11, 100)


def test_an_endless_event_counts_as_content() -> None:
    assert fed(HEAD + response_stream.as_chunk(b"data: " + b"x" * 70_000)).has_piece


def test_connection_headers_are_replaced() -> None:
    begun = (
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\nX: y\r\n\r\nbody: connection: x\r\n\r\n"
    )
    kept = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nbody: connection: x\r\n\r\n"
    wanted = b"HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\nbody: connection: x\r\n\r\n"
    assert response_stream.for_our_connection(begun, ends=True) == wanted
    assert response_stream.for_our_connection(begun, ends=False) == kept
