# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile behaviours: silence, early ends, and bodies that no client expects."""

from __future__ import annotations

import gzip
import json
import random
import socket
import time

from tests.gateway.hostile_engine.double import ANY, CUT, ERROR, EVENTS, WHOLE, WHOLE_JSON, Exchange, behaviour, chunk

#: Longer than any test waits.
LONG_S = 60
DONE = b"data: [DONE]\n\n"


@behaviour(leaves=True)
def silent_before_the_head(to: Exchange) -> None:
    time.sleep(LONG_S)


@behaviour(leaves=True)
def silent_in_the_head(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    time.sleep(LONG_S)


@behaviour(leaves=True)
def silent_after_the_head(to: Exchange) -> None:
    to.chunked_head()
    time.sleep(LONG_S)


@behaviour(leaves=True)
def silent_in_an_event(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload[:20]))
    time.sleep(LONG_S)


@behaviour(leaves=True)
def silent_before_the_last_chunk(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload[:-5]))
    time.sleep(LONG_S)


@behaviour(ERROR)
def closes_at_once(to: Exchange) -> None:
    to.wire.shutdown(socket.SHUT_RDWR)


@behaviour(ERROR)
def resets_at_once(to: Exchange) -> None:
    to.reset()


@behaviour(ERROR)
def closes_its_side_only(to: Exchange) -> None:
    to.wire.shutdown(socket.SHUT_WR)
    time.sleep(3)


@behaviour()
def closes_in_the_head(to: Exchange) -> None:
    to.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


@behaviour()
def closes_after_the_head(to: Exchange) -> None:
    to.chunked_head()


@behaviour()
def resets_after_the_head(to: Exchange) -> None:
    to.chunked_head()
    time.sleep(0.1)
    to.reset()


@behaviour()
def closes_between_events(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload[:60]))
    time.sleep(0.1)


@behaviour()
def resets_in_the_middle(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload[:60]))
    time.sleep(0.1)
    to.reset()


@behaviour(WHOLE)
def body_of_one_byte_at_a_time(to: Exchange) -> None:
    to.head(b"Content-Length: %d" % len(to.payload))
    for byte in to.payload:
        to.send(bytes([byte]))
        time.sleep(0.001)


@behaviour(WHOLE)
def events_split_anywhere(to: Exchange) -> None:
    rest, pieces, dice = to.payload, [], random.Random(7)
    while rest:
        cut = dice.randrange(1, 9)
        pieces.append(rest[:cut])
        rest = rest[cut:]
    to.chunked_head()
    for piece in pieces:
        to.send(chunk(piece))
        time.sleep(0.002)
    to.send(b"0\r\n\r\n")


@behaviour(*ANY)
def body_gzipped_unasked(to: Exchange) -> None:
    to.answer(b"Content-Encoding: gzip", body=gzip.compress(to.payload))


@behaviour(*ANY)
def body_that_claims_gzip(to: Exchange) -> None:
    to.answer(b"Content-Encoding: gzip")


@behaviour(*ANY)
def gzip_bomb(to: Exchange) -> None:
    to.answer(b"Content-Encoding: gzip", body=gzip.compress(bytes(100 << 20), 9))


@behaviour(*ANY)
def body_in_unknown_coding(to: Exchange) -> None:
    to.answer(b"Content-Encoding: smuggled")


@behaviour(*ANY)
def body_not_utf_8(to: Exchange) -> None:
    to.answer(body=to.payload.replace(b"Hi", b"\xff\xfe\xc0\x80"))


@behaviour(*ANY)
def body_of_null_bytes(to: Exchange) -> None:
    to.answer(body=bytes(10000))


@behaviour(leaves=True)
def line_without_end(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(b"data: "))
    to.endless(chunk(b"x" * 65536), 0.001)


@behaviour(leaves=True)
def events_without_end(to: Exchange) -> None:
    to.chunked_head()
    to.endless(chunk(EVENTS[0] * 100))


@behaviour(leaves=True)
def comments_without_end(to: Exchange) -> None:
    to.chunked_head()
    to.endless(chunk(b":\n\n"), 0.001)


@behaviour(*ANY)
def event_of_twenty_mebibytes(to: Exchange) -> None:
    event = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"x" * (20 << 20))
    to.chunked(*(event[at : at + 65536] for at in range(0, len(event), 65536)), DONE)


@behaviour(*ANY)
def json_of_a_hundred_mebibytes(to: Exchange) -> None:
    piece = b"x" * (1 << 20)
    to.head(b"Content-Length: %d" % ((100 << 20) + 7))
    to.send(b'{"a":"')
    for _each in range(100):
        to.send(piece)
    to.send(b'"')


@behaviour(*ANY)
def json_nested_a_hundred_thousand_times(to: Exchange) -> None:
    body = b'{"usage":' * 100_000 + b"1" + b"}" * 100_000
    to.answer(body=b"data: " + body + b"\n\n" + DONE if to.is_stream else body)


@behaviour(*ANY)
def events_after_done(to: Exchange) -> None:
    to.answer(body=b"".join(EVENTS) + EVENTS[0] * 10 + DONE)


@behaviour(*ANY)
def comments_only(to: Exchange) -> None:
    to.chunked(b":\n\n", b":\n\n")


@behaviour(*ANY)
def event_with_a_huge_name(to: Exchange) -> None:
    to.answer(body=b"event: " + b"x" * 100_000 + b"\ndata: {}\n\n" + DONE)


@behaviour(*ANY)
def events_with_odd_line_ends(to: Exchange) -> None:
    to.answer(body=to.payload.replace(b"\n\n", b"\r\n\r\n"))


@behaviour(*ANY)
def event_with_an_error(to: Exchange) -> None:
    error = b'data: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n'
    to.chunked(EVENTS[0], error)


@behaviour(*ANY)
def stream_for_a_request_in_one_piece(to: Exchange) -> None:
    body = b"".join(EVENTS)
    to.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body), body)


@behaviour(*ANY)
def one_piece_for_a_stream(to: Exchange) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(WHOLE_JSON)
    to.send(head, WHOLE_JSON)


def _with_usage(to: Exchange, usage: str) -> None:
    data = b'{"choices":[],"usage":%s,"timings":%s}' % (usage.encode(), usage.encode())
    to.answer(body=b"data: " + data + b"\n\n" + DONE if to.is_stream else data)


@behaviour(*ANY)
def usage_negative(to: Exchange) -> None:
    _with_usage(to, '{"prompt_tokens":-1000000,"completion_tokens":-5,"predicted_n":-5,"predicted_ms":-1}')


@behaviour(*ANY)
def usage_absurd(to: Exchange) -> None:
    _with_usage(to, '{"prompt_tokens":1e308,"completion_tokens":%s,"predicted_ms":1e-308}' % ("9" * 400))


@behaviour(*ANY)
def usage_not_numbers(to: Exchange) -> None:
    _with_usage(to, '{"prompt_tokens":NaN,"completion_tokens":Infinity,"predicted_n":NaN,"predicted_ms":"many"}')


@behaviour(*ANY)
def usage_of_other_types(to: Exchange) -> None:
    _with_usage(to, '{"prompt_tokens":[1],"completion_tokens":{"a":1},"predicted_n":true,"predicted_ms":null}')


@behaviour(*ANY)
def usage_a_list(to: Exchange) -> None:
    _with_usage(to, "[1,2,3]")


@behaviour(*ANY)
def model_with_control_characters(to: Exchange) -> None:
    data = json.dumps({"choices": [], "model": "a\r\nX-Evil: smuggled\x1b[2J\0"}).encode()
    to.answer(body=b"data: " + data + b"\n\n" + DONE if to.is_stream else data)


@behaviour(*ANY)
def json_of_another_shape(to: Exchange) -> None:
    to.answer(body=b"data: [1,null,[]]\n\ndata: 7\n\ndata: null\n\n" + DONE if to.is_stream else b"[1,null,[]]")


@behaviour(*ANY)
def answer_empty(to: Exchange) -> None:
    to.answer(body=b"")


@behaviour(*ANY)
def answer_of_no_chunk(to: Exchange) -> None:
    to.chunked()


@behaviour(CUT, ERROR)
def stream_ended_without_done(to: Exchange) -> None:
    """A stream that ends in order, but in the middle of its events; in one piece, half of a body."""
    to.chunked_head()
    to.send(chunk(to.payload[:60]), b"5\r\n")
