# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in which servers misbehave. Each receives every request, and answers those that it spoils."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.models.random_weights import gguf_bytes

WHOLE = gguf_bytes(500_004, 11)
SUM = hashlib.sha256(WHOLE).hexdigest()
PAGE = b"<!DOCTYPE html><title>Sign in</title>" + bytes(2000)
TIMEOUT = 0.4

Act = Callable[[Any], bool]
Run = Callable[..., dict[str, Any]]


def asked_range(handler: Any) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    return (int(match[1]), int(match[2]) + 1 if match[2] else len(WHOLE)) if match else (0, len(WHOLE))


def answer(handler: Any, status: int, headers: dict[str, Any], body: bytes = b"", close: bool = True) -> bool:
    """Send a response with exactly these headers and bytes."""
    handler.send_response(status)
    for name, value in {"ETag": '"one"', **headers}.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        close = True
    handler.close_connection = close
    return True


def ranged(handler: Any, body: Callable[[bytes], bytes] = bytes, **headers: Any) -> bool:
    """Send a correct range, except for the changes of the test."""
    start, end = asked_range(handler)
    whole = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(handler, 206, {**whole, **named}, body(WHOLE[start:end]))


def of_get(act: Act) -> Act:
    return lambda handler: handler.command == "GET" and act(handler)


def of_later(act: Act) -> Act:
    """Spoil only ranges that begin after the start of the file."""
    return of_get(lambda handler: asked_range(handler)[0] > 0 and act(handler))


def times(count: int, act: Act) -> Act:
    left = iter(range(count))
    lock = threading.Lock()

    def limited(handler: Any) -> bool:
        with lock:
            use = next(left, None) is not None
        return use and act(handler)

    return of_get(limited)


def hang_up(handler: Any) -> bool:
    handler.close_connection = True
    return True


def after_headers(handler: Any) -> bool:
    return ranged(handler, lambda data: b"")


def stall(handler: Any) -> bool:
    start, end = asked_range(handler)
    answer(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start})
    handler.wfile.write(WHOLE[start : start + 3000])
    time.sleep(3 * TIMEOUT)
    return True


def trickle(handler: Any) -> bool:
    start, end = asked_range(handler)
    answer(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start})
    for at in range(start, start + 200):
        try:
            handler.wfile.write(WHOLE[at : at + 1])
        except OSError:
            break
        time.sleep(0.02)
    return True


def send_raw(handler: Any, data: bytes) -> bool:
    handler.wfile.write(data)
    handler.close_connection = True
    return True


def raw_range(handler: Any, status_line: bytes = b"HTTP/1.1 206 Partial Content", *lines: bytes) -> bool:
    """Send a range with exactly this status line and these headers beside the necessary ones."""
    start, end = asked_range(handler)
    span = f"Content-Range: bytes {start}-{end - 1}/{len(WHOLE)}".encode()
    length = f"Content-Length: {end - start}".encode()
    head = [status_line, b'ETag: "one"', span, *lines, *([] if any(b"Length" in line for line in lines) else [length])]
    return send_raw(handler, b"\r\n".join([*head, b"", WHOLE[start:end]]))


def of_head(act: Act) -> Act:
    return lambda handler: handler.command == "HEAD" and act(handler)


def without_range(handler: Any) -> bool:
    return answer(handler, 200, {"Content-Length": len(WHOLE)}, WHOLE)


def at_most(count: int, status: int = 503, **headers: Any) -> Act:
    """Serve C(count) requests at a time and refuse the others."""
    refuse = plain(status, **headers)
    lock = threading.Lock()
    inside = 0

    def limited(handler: Any) -> bool:
        nonlocal inside
        with lock:
            if inside >= count:
                return refuse(handler)
            inside += 1
        try:
            time.sleep(0.02)
            return ranged(handler)
        finally:
            with lock:
                inside -= 1

    return of_get(limited)


def alternating(good: int, act: Act) -> Act:
    """Spoil one request after every C(good) good ones."""
    lock = threading.Lock()
    seen = 0

    def sometimes(handler: Any) -> bool:
        nonlocal seen
        with lock:
            seen += 1
            return seen % (good + 1) == 0 and act(handler)

    return of_get(sometimes)


def plain(status: int, **headers: Any) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: answer(handler, status, {"Content-Length": 0, **named}, close=False)


def bad_chunk(handler: Any) -> bool:
    start, end = asked_range(handler)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Transfer-Encoding": "chunked"}
    return answer(handler, 206, headers, b"zz\r\nnonsense\r\n")


def in_chunks(handler: Any) -> bool:
    start, end = asked_range(handler)
    data = WHOLE[start:end]
    pieces = [data[at : at + 7001] for at in range(0, len(data), 7001)]
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Transfer-Encoding": "chunked"}
    return answer(handler, 206, headers, body, close=False)


def half_of_the_range(handler: Any) -> bool:
    start, end = asked_range(handler)
    end = start + max(1, (end - start) // 2)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(WHOLE)}", "Content-Length": end - start}
    return answer(handler, 206, headers, WHOLE[start:end], close=False)


def to_the_end(handler: Any) -> bool:
    start, _end = asked_range(handler)
    headers = {"Content-Range": f"bytes {start}-{len(WHOLE) - 1}/{len(WHOLE)}", "Content-Length": len(WHOLE) - start}
    return answer(handler, 206, headers, WHOLE[start:])


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass(frozen=True)
class Case:
    """A way to misbehave.

    :ivar words: of the error; None if the bytes must be right anyway.
    :ivar storage: spoils the answers of C(/storage/m.gguf), which redirects may lead to.
    :ivar options: of the module.
    """

    name: str
    act: Act
    words: str | None = None
    storage: Act | None = None
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("hangs up without a word, three times", times(3, hang_up)),
    Case("hangs up without a word, always", of_get(hang_up), "4 times in a row"),
    Case("hangs up on every request, also HEAD", hang_up, "4 times in a row"),
    Case("closes after the headers, three times", times(3, after_headers)),
    Case("closes after the headers, always", of_get(after_headers), "4 times in a row"),
    Case("closes in the middle of every answer", of_get(lambda h: ranged(h, lambda data: data[: len(data) // 2 + 1]))),
    Case("sends one byte and closes, always", of_get(lambda h: ranged(h, lambda data: data[:1])), "4 times in a row"),
    Case("stalls once", times(1, stall)),
    Case("stalls always", of_get(stall), "no byte in time"),
    Case("trickles", of_get(trickle), "less than 410 bytes in 0 s"),
    Case("promises a longer body than it sends", of_get(lambda h: ranged(h, Content_Length=70_000)), None),
    Case("promises a shorter body than the range", of_get(lambda h: ranged(h, Content_Length=10_000)), None),
    Case("serves half of each range", of_get(half_of_the_range)),
    Case("serves each range to the end of the file", of_get(to_the_end)),
    Case("serves another range", of_later(lambda h: ranged(h, Content_Range="bytes 7-99999/500004")), "bytes 7-99999"),
    Case("speaks of another size", of_later(lambda h: ranged(h, Content_Range="bytes 1-2/9")), "bytes 1-2/9"),
    Case("lies about the size of the whole", of_get(lambda h: ranged(h, Content_Range="bytes 0-9/777")), "777"),
    Case("answers 206 without a range", of_get(lambda h: ranged(h, Content_Range=None)), "Content-Range None"),
    Case("answers with several ranges", of_get(lambda h: ranged(h, Content_Range="multipart")), "'multipart'"),
    Case("ignores ranges", of_get(without_range)),
    Case("ignores ranges from the second request on", of_later(without_range)),
    Case("ignores a range now and then", alternating(2, without_range)),
    Case(
        "ignores ranges and stops in the middle, always",
        of_get(lambda h: answer(h, 200, {"Content-Length": len(WHOLE)}, WHOLE[:90_000])),
        "4 times in a row",
    ),
    Case("says 416", of_later(plain(416, Content_Range="bytes */20000")), "416"),
    Case("says 429 and please wait, twice", times(2, plain(429, Retry_After="0"))),
    Case("says 429 and come back next month", plain(429, Retry_After="2600000"), "asks to come back in 2600000 s"),
    Case("says 429 in the middle, and come back next month", of_later(plain(429, Retry_After="2600000")), "2600000 s"),
    Case("says 503 now and then", alternating(2, plain(503))),
    Case("says 503 always", of_get(plain(503)), "the server answered 503, 4 times in a row"),
    Case("serves two at a time and says 503 to others", at_most(2)),
    Case("says 500 now and then", alternating(2, plain(500))),
    Case("says 404 after the first range", of_later(plain(404)), "status 404"),
    Case("says 403 after the first range", of_later(plain(403)), "status 403"),
    Case("says 204", of_get(plain(204)), "status 204"),
    Case("says 304", of_get(plain(304)), "status 304"),
    Case("redirects to itself", of_get(plain(302, Location="/m.gguf")), "at most 10 redirects"),
    Case(
        "redirects to a file of the host", of_get(plain(302, Location="file:///etc/passwd")), "to lead to a web server"
    ),
    Case("redirects to a closed port", of_get(plain(302, Location="http://127.0.0.1:9/m.gguf")), "times in a row"),
    Case("redirects nowhere", of_get(plain(302, Location="http://")), "to lead to a web server"),
    Case("has another file in the middle", of_later(lambda h: ranged(h, ETag='"two"')), '"two"'),
    Case("has a shorter file in the middle", of_later(lambda h: ranged(h, Content_Range="bytes 0-1/2")), "bytes 0-1/2"),
    Case("serves one wrong byte", of_get(lambda h: ranged(h, flipped)), "sha256"),
    Case("serves zeros", of_later(lambda h: ranged(h, lambda data: bytes(len(data)))), "sha256"),
    Case(
        "serves a page",
        of_get(lambda h: answer(h, 200, {"Content-Type": "text/html", "Content-Length": len(PAGE)}, PAGE)),
        "web page",
    ),
    Case(
        "serves a page as a range", of_get(lambda h: ranged(h, lambda data: PAGE, Content_Type="text/html")), "web page"
    ),
    Case(
        "serves a page as bytes",
        of_get(lambda h: ranged(h, lambda data: (PAGE * 40)[: len(data)])),
        "begins with the letters GGUF",
    ),
    Case("compresses", of_get(lambda h: ranged(h, Content_Encoding="gzip")), "Content-Encoding gzip"),
    Case("speaks another protocol", of_get(lambda h: send_raw(h, b"SSH-2.0-OpenSSH_9.9\r\n")), "4 times in a row"),
    Case(
        "sends endless headers",
        of_get(lambda h: send_raw(h, b"HTTP/1.1 206 OK\r\nX: " + b"x" * 100_000)),
        "4 times in a row",
    ),
    Case("sends broken chunks", of_get(bad_chunk), "4 times in a row"),
    Case("sends chunks", of_get(in_chunks)),
]
