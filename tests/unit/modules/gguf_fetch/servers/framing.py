# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses whose lines, headers or bytes are not as they should be."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from tests.unit.modules.gguf_fetch.servers.misbehaviour import (
    TIMEOUT,
    WHOLE,
    Act,
    Case,
    answer,
    asked_range,
    of_get,
    of_head,
    of_later,
    ranged,
    raw_range,
    send_raw,
    times,
)

AGAIN = "4 times in a row"
#: Seconds of an endless response: longer than a test may take.
FLOOD = 180.0
OK = b"HTTP/1.1 206 Partial Content\r\n"
CHUNKS = OK + b'SPANETag: "one"\r\nTransfer-Encoding: chunked\r\n\r\n'
WHOLE_CHUNKS = b'HTTP/1.1 200 OK\r\nETag: "one"\r\nTransfer-Encoding: chunked\r\n\r\nDATA'
EMPTY = b"HTTP/1.1 302 Found\r\nLocation: /storage/m.gguf\r\nContent-Length: 0\r\n"


def line(text: bytes) -> Act:
    """Send a correct range with this status line."""
    return of_get(lambda handler: raw_range(handler, text))


def header(*lines: bytes) -> Act:
    """Send a correct range with these headers too."""
    return of_get(lambda handler: raw_range(handler, b"HTTP/1.1 206 Partial Content", *lines))


def chunked(*, size: str = "{:x}", end: bytes = b"0\r\n\r\n", **headers: Any) -> Act:
    """Send a range in one chunk with this form of its size and this end."""

    def act(handler: Any) -> bool:
        start, last = asked_range(handler)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head = {"Content-Range": f"bytes {start}-{last - 1}/{len(WHOLE)}", "Transfer-Encoding": "chunked", **named}
        body = size.format(last - start).encode() + b"\r\n" + WHOLE[start:last] + b"\r\n" + end
        return answer(handler, 206, head, body)

    return of_get(act)


def until_close(handler: Any, part: float = 1.0) -> bool:
    start, end = asked_range(handler)
    data = WHOLE[start:end]
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Connection": "close"}
    return answer(handler, 206, headers, data[: int(len(data) * part)])


def slow_headers(handler: Any) -> bool:
    """Send a byte of a header before each timeout."""
    try:
        handler.wfile.write(b"HTTP/1.1 206 Partial Content\r\nX: ")
        for _letter in range(40):
            handler.wfile.write(b"x")
            time.sleep(TIMEOUT / 4)
    except OSError:
        pass
    return send_raw(handler, b"")


def endless_continue(handler: Any) -> bool:
    try:
        for _time in range(40):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(TIMEOUT / 4)
    except OSError:
        pass
    handler.close_connection = True
    return True


def flood(begin: bytes, line: bytes, pause: float = 0.0) -> Act:
    """Send a line again and again, until the client hangs up or three times the longest test has passed.

    :param pause: seconds after each line.
    """
    many = line if pause else line * (1 + 50_000 // len(line))

    def act(handler: Any) -> bool:
        start, end = asked_range(handler)
        span = f"Content-Range: bytes {start}-{end - 1}/{len(WHOLE)}\r\n".encode()
        data = f"{end - start:x}\r\n".encode() + WHOLE[start:end] + b"\r\n"
        until = time.monotonic() + FLOOD
        try:
            handler.wfile.write(begin.replace(b"SPAN", span).replace(b"DATA", data))
            while time.monotonic() < until:
                handler.wfile.write(many)
                time.sleep(pause)
        except OSError:
            pass
        handler.close_connection = True
        return True

    return act


def late(handler: Any) -> bool:
    time.sleep(TIMEOUT / 2)
    return ranged(handler)


def reset(handler: Any) -> bool:
    """Break the connection with a reset in the middle of the body."""
    start, end = asked_range(handler)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start}
    answer(handler, 206, headers, WHOLE[start : start + 2000])
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    return True


def spans(span: str, **headers: Any) -> Act:
    return of_later(lambda handler: ranged(handler, Content_Range=span, **headers))


def with_tag(tag: str) -> Act:
    def act(handler: Any) -> bool:
        if handler.command == "GET":
            return ranged(handler, ETag=tag)
        return answer(handler, 200, {"ETag": tag, "Content-Length": len(WHOLE)}, close=False)

    return act


def flapping() -> Act:
    """Mark every other tag as weak."""
    state = [0]

    def act(handler: Any) -> bool:
        state[0] += 1
        return ranged(handler, ETag='W/"one"' if state[0] % 2 else '"one"')

    return of_get(act)


def shifted(handler: Any) -> bool:
    start, end = asked_range(handler)
    return ranged(handler, Content_Range=f"bytes {start + 1}-{end - 1}/{len(WHOLE)}")


def upper(handler: Any) -> bool:
    start, end = asked_range(handler)
    return ranged(handler, Content_Range=f" Bytes  {start}-{end - 1}/{len(WHOLE)} ")


def of_unknown_size(handler: Any) -> bool:
    start, end = asked_range(handler)
    return ranged(handler, Content_Range=f"bytes {start}-{end - 1}/*")


def compressed(name: str) -> Act:
    """Send a correct range under the name of a compression."""
    return of_get(lambda handler: ranged(handler, Content_Encoding=name))


CASES = [
    Case("sends a status line without a reason", line(b"HTTP/1.1 206")),
    Case("speaks HTTP/1.0", line(b"HTTP/1.0 206 Partial Content")),
    Case("sends a status that is a word", line(b"HTTP/1.1 fine"), AGAIN),
    Case("sends a status of five digits", line(b"HTTP/1.1 20600 OK"), AGAIN),
    Case("speaks as a radio station", line(b"ICY 200 OK"), AGAIN),
    Case("speaks HTTP/0.9", of_get(lambda h: send_raw(h, WHOLE)), AGAIN),
    Case("speaks HTTP/2", of_get(lambda h: send_raw(h, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), AGAIN),
    Case("begins with empty lines", of_get(lambda h: send_raw(h, b"\r\n\r\n")), AGAIN),
    Case("sends 200 headers", header(*[b"X-%d: 1" % number for number in range(200)]), AGAIN),
    Case("sends a header without a colon", header(b"nonsense")),
    Case("sends a header over two lines", header(b"X-Long: one\r\n two")),
    Case("sends a header with a zero byte", header(b"X-Zero: a\0b")),
    Case("sends a header in UTF-8", header("X-Größe: ü".encode())),
    Case("sends a header in Latin-1", header("X-Name: ü".encode("latin-1"))),
    Case("sets many cookies", header(*[b"Set-Cookie: c%d=%s; Path=/" % (n, b"x" * 500) for n in range(40)])),
    Case(
        "sends a wrong length twice",
        of_get(lambda h: raw_range(h, b"HTTP/1.1 206 OK", b"Content-Length: 5, 5")),
    ),
    Case("sends two lengths", header(b"Content-Length: 5", b"Content-Length: 6"), AGAIN),
    Case("sends a length that is a word", header(b"Content-Length: all")),
    Case("sends a negative length", header(b"Content-Length: -5")),
    Case("sends a length in foreign digits", header("Content-Length: ²".encode("latin-1"))),
    Case("sends a length of 5000 digits", header(b"Content-Length: " + b"9" * 5000)),
    Case("sends no length and closes", of_get(until_close)),
    Case("sends no length and closes in the middle, three times", times(3, lambda h: until_close(h, 0.5))),
    Case("sends no length and closes at once, always", of_get(lambda h: until_close(h, 0.0)), AGAIN),
    Case("sends a tag of 60,000 letters", with_tag('"' + "t" * 60_000 + '"')),
    Case("sends a tag in foreign letters", with_tag('"\u00fc\u00b2"')),
    Case("sends a tag with control characters", with_tag('"a\x01b\x7f"')),
    Case("sends an empty tag", of_get(lambda h: ranged(h, ETag=""))),
    Case("sends no tag", of_get(lambda h: ranged(h, ETag=None))),
    Case("sends a tag that is weak now and then", flapping()),
    Case("sends another tag each time", of_later(lambda h: ranged(h, ETag=f'"{time.monotonic_ns()}"')), "was replaced"),
    Case("compresses for the transfer", chunked(Transfer_Encoding="gzip, chunked"), "Transfer-Encoding gzip"),
    Case("names no transfer coding", of_get(lambda h: ranged(h, Transfer_Encoding="identity"))),
    *[
        Case(f"compresses with {name}", compressed(name), name)
        for name in ("br", "deflate", "zstd", "GZIP", "gzip, br")
    ],
    Case("compresses in a way with a long name", of_get(lambda h: ranged(h, Content_Encoding="x" * 900)), "x" * 120),
    Case("says that nothing is compressed", of_get(lambda h: ranged(h, Content_Encoding="Identity"))),
    Case("sends chunks and a length", chunked(Content_Length="7")),
    Case("sends chunks with extensions", chunked(size="{:x};name=value")),
    Case("sends chunks with trailers", chunked(end=b"0\r\nX-Sum: 1\r\n\r\n")),
    Case("sends chunks without an end, three times", times(3, chunked(end=b""))),
    Case("sends a chunk of negative size", chunked(size="-{:x}")),
    Case("sends a chunk of endless size", chunked(size="f" * 40)),
    Case("sends a chunk that is larger than its size", chunked(size="5"), AGAIN),
    Case("writes the unit of the range in another way", of_get(upper)),
    Case("does not know the size of the whole", of_get(of_unknown_size)),
    Case("serves the range one byte further", of_later(shifted), "Content-Range"),
    Case("serves a range beyond the end of the file", spans("bytes 20000-30000/500"), "bytes 20000-30000/500"),
    Case("serves a range in foreign digits", spans("bytes \u00b2-\u00b3/\u00b9"), "Content-Range"),
    Case("serves a range of 5000 digits", spans(f"bytes {'9' * 5000}-1/2"), "Content-Range"),
    Case("serves a range with an equals sign", spans("bytes=20000-30000/500004"), "bytes=20000"),
    Case("serves a range in lines", spans("lines 1-2/3"), "lines 1-2/3"),
    Case("serves an empty range", spans(""), "Content-Range ''"),
    Case("says that it has no ranges, but has them", of_get(lambda h: ranged(h, Accept_Ranges="none"))),
    Case("sends more than the range", of_get(lambda h: ranged(h, lambda data: data + b"more" * 99))),
    Case("sends a header byte by byte, once", times(1, slow_headers)),
    Case("sends a header byte by byte, always", of_get(slow_headers), AGAIN),
    Case("continues without an end, once", times(1, endless_continue)),
    Case("continues without an end, always", of_get(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n")), AGAIN),
    Case("hints without an end", of_get(flood(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")), AGAIN),
    Case("hints without an end, slowly", of_get(flood(b"", b"HTTP/1.1 103 Wait\r\n\r\n", TIMEOUT / 8)), AGAIN),
    Case("sends one interim response without an end", of_get(flood(b"HTTP/1.1 102 Wait\r\n", b"X: 1\r\n")), AGAIN),
    Case("sends short headers without an end", of_get(flood(OK, b"X: 1\r\n")), AGAIN),
    Case("sends long headers without an end", of_get(flood(OK, b"X: " + b"x" * 60_000 + b"\r\n")), AGAIN),
    Case("sends a status line without an end", of_get(flood(b"HTTP/1.1 206 ", b"x")), AGAIN),
    Case("sends headers without an end to HEAD", of_head(flood(OK, b"X: 1\r\n"))),
    Case("sends trailers without an end", of_get(flood(CHUNKS + b"DATA0\r\n", b"X: 1\r\n"))),
    Case("sends trailers without an end, slowly", of_get(flood(CHUNKS + b"DATA0\r\n", b"X: 1\r\n", TIMEOUT / 8))),
    Case("sends trailers before any content", of_get(flood(CHUNKS + b"0\r\n", b"X: 1\r\n")), AGAIN),
    Case("sends trailers behind a whole of unknown size", flood(WHOLE_CHUNKS + b"0\r\n", b"X: 1\r\n"), AGAIN),
    Case("sends a size of a chunk byte by byte", of_get(flood(CHUNKS, b"0", TIMEOUT / 8)), AGAIN),
    Case("sends a size of a chunk without an end", of_get(flood(CHUNKS, b"0")), AGAIN),
    Case("sends an extension of a chunk without an end", of_get(flood(CHUNKS + b"5;", b"x=y;")), AGAIN),
    Case("redirects with an empty body without an end", of_get(flood(EMPTY + b"\r\n", b"x" * 1000))),
    Case(
        "redirects with chunks that it calls empty",
        of_get(flood(EMPTY + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + bytes(1 << 20) + b"\r\n")),
    ),
    Case("answers late", of_get(late)),
    Case("resets connections, three times", times(3, reset)),
    Case("resets connections, always", of_get(reset), AGAIN),
]
