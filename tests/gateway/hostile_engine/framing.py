# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile behaviours: chunks, lengths, transfer codings, trailers, and more than one answer."""

from __future__ import annotations

import time

from tests.gateway.hostile_engine.double import ANY, CUT, ERROR, EVENTS, SMUGGLED, WHOLE, Exchange, behaviour, chunk

SECOND = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Evil: smuggled\r\nContent-Length: 12\r\n\r\nof-somebody!"
)


def _first_chunk_then(to: Exchange, after: bytes) -> None:
    to.chunked_head()
    to.send(chunk(EVENTS[0] if to.is_stream else b'{"object":'), after)
    time.sleep(0.05)


@behaviour()
def chunk_size_negative(to: Exchange) -> None:
    _first_chunk_then(to, b"-5\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_negative_at_once(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"-5\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_not_hexadecimal(to: Exchange) -> None:
    _first_chunk_then(to, b"zz\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_empty(to: Exchange) -> None:
    _first_chunk_then(to, b"\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_with_sign(to: Exchange) -> None:
    _first_chunk_then(to, b"+5\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_with_prefix(to: Exchange) -> None:
    _first_chunk_then(to, b"0x5\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_with_underscore(to: Exchange) -> None:
    _first_chunk_then(to, b"0_5\r\nhello\r\n0\r\n\r\n")


@behaviour()
def chunk_size_huge(to: Exchange) -> None:
    _first_chunk_then(to, b"FFFFFFFFFFFFFFFF\r\nhello")


@behaviour()
def chunk_size_of_a_thousand_digits(to: Exchange) -> None:
    _first_chunk_then(to, b"F" * 1000 + b"\r\nhello")


@behaviour(is_slow=True)
def chunk_size_of_endless_zeros(to: Exchange) -> None:
    _first_chunk_then(to, b"")
    to.endless(b"0" * 64, 0.1)


@behaviour(is_slow=True)
def chunk_size_of_endless_zeros_at_once(to: Exchange) -> None:
    to.chunked_head()
    to.endless(b"0" * 64, 0.1)


@behaviour(*ANY)
def chunk_extensions(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"%x;%s=1\r\n%s\r\n0;x\r\n\r\n" % (len(to.payload), SMUGGLED.encode(), to.payload))


@behaviour(is_slow=True)
def chunk_extension_endless(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"5;")
    to.endless(b"x" * 64, 0.1)


@behaviour()
def chunk_longer_than_its_size(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"3\r\n", to.payload, b"\r\n0\r\n\r\n")


@behaviour()
def chunk_shorter_than_its_size(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"%x\r\n" % (len(to.payload) + 10), to.payload)


@behaviour(*ANY)
def chunks_with_bare_newlines(to: Exchange) -> None:
    to.chunked_head()
    to.send(b"%x\n%s\n0\n\n" % (len(to.payload), to.payload))


@behaviour(ERROR, CUT)
def chunks_without_the_last(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload[:-14]))


@behaviour(WHOLE)
def chunks_of_one_byte(to: Exchange) -> None:
    to.chunked(*(bytes([byte]) for byte in to.payload))


@behaviour(*ANY)
def trailers(to: Exchange) -> None:
    to.chunked_head(b"Trailer: X-Evil")
    to.send(chunk(to.payload), b"0\r\nX-Evil: smuggled\r\nSet-Cookie: smuggled=1\r\nContent-Length: 5\r\n\r\n")


@behaviour(*ANY, is_slow=True)
def trailers_without_end(to: Exchange) -> None:
    to.chunked_head()
    to.send(chunk(to.payload), b"0\r\n")
    to.endless(b"X-Evil: smuggled\r\n", 0.1)


@behaviour()
def length_too_long(to: Exchange) -> None:
    to.head(b"Content-Length: %d" % (len(to.payload) + 100))
    to.send(to.payload)


@behaviour(*ANY)
def length_too_short(to: Exchange) -> None:
    to.head(b"Content-Length: %d" % (len(to.payload) - 20))
    to.send(to.payload)


@behaviour()
def length_negative(to: Exchange) -> None:
    to.head(b"Content-Length: -5")
    to.send(to.payload)


@behaviour()
def length_with_sign(to: Exchange) -> None:
    to.head(b"Content-Length: +5")
    to.send(to.payload)


@behaviour()
def length_not_a_number(to: Exchange) -> None:
    to.head(b"Content-Length: many")
    to.send(to.payload)


@behaviour()
def length_of_thirty_digits(to: Exchange) -> None:
    to.head(b"Content-Length: " + b"9" * 30)
    to.send(to.payload)


@behaviour()
def lengths_that_differ(to: Exchange) -> None:
    to.head(b"Content-Length: 5", b"Content-Length: %d" % len(to.payload))
    to.send(to.payload)


@behaviour()
def lengths_as_a_list(to: Exchange) -> None:
    to.head(b"Content-Length: 5, %d" % len(to.payload))
    to.send(to.payload)


@behaviour(*ANY)
def lengths_that_agree(to: Exchange) -> None:
    to.head(b"Content-Length: %d" % len(to.payload), b"Content-Length: %d" % len(to.payload))
    to.send(to.payload)


@behaviour(*ANY)
def length_and_chunks(to: Exchange) -> None:
    to.chunked_head(b"Content-Length: 5")
    to.send(chunk(to.payload), b"0\r\n\r\n", SECOND)


@behaviour(*ANY)
def length_unknown_until_the_end(to: Exchange) -> None:
    to.head()
    to.send(to.payload)


@behaviour(*ANY)
def coding_chunked_twice(to: Exchange) -> None:
    to.head(b"Transfer-Encoding: chunked, chunked")
    to.send(chunk(to.payload), b"0\r\n\r\n")


@behaviour(*ANY)
def coding_gzip_and_chunked(to: Exchange) -> None:
    to.head(b"Transfer-Encoding: gzip, chunked")
    to.send(chunk(to.payload), b"0\r\n\r\n")


@behaviour(*ANY)
def coding_obsolete(to: Exchange) -> None:
    to.head(b"Transfer-Encoding: identity", b"Content-Length: %d" % len(to.payload))
    to.send(to.payload)


@behaviour(*ANY)
def coding_unknown(to: Exchange) -> None:
    to.head(b"Transfer-Encoding: xchunked", b"Content-Length: %d" % len(to.payload))
    to.send(chunk(to.payload), b"0\r\n\r\n")


@behaviour(*ANY)
def coding_hidden_by_a_tab(to: Exchange) -> None:
    to.head(b"Transfer-Encoding:\tchunked", b"Content-Length: 3")
    to.send(chunk(to.payload), b"0\r\n\r\n", SECOND)


@behaviour(*ANY)
def second_answer_glued_on(to: Exchange) -> None:
    to.answer()
    to.send(SECOND)


@behaviour(*ANY)
def second_answer_in_the_same_packet(to: Exchange) -> None:
    body = to.payload
    to.send(b"HTTP/1.1 200 OK\r\n", to.content_type, b"\r\nContent-Length: %d\r\n\r\n" % len(body), body, SECOND)


@behaviour(WHOLE)
def second_answer_later(to: Exchange) -> None:
    to.answer()
    time.sleep(0.2)
    to.send(SECOND)


@behaviour(WHOLE)
def answer_on_a_connection_that_stays_open(to: Exchange) -> None:
    to.answer(b"Connection: keep-alive")
    time.sleep(3)
