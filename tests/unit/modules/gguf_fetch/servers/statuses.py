# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statuses with which servers refuse, in passing or for good; limits of their rates; refusals of the hub."""

from __future__ import annotations

import email.utils
import time
from typing import Any

from tests.unit.modules.gguf_fetch.servers.misbehaviour import (
    PAGE,
    SUM,
    WHOLE,
    Act,
    Case,
    answer,
    at_most,
    hang_up,
    of_get,
    of_head,
    plain,
    ranged,
    stall,
    times,
)

TOKEN = "hf_tokenOfATest"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SUM}\nsize {len(WHOLE)}\n".encode()


def refusal(status: int, code: str, message: str) -> Act:
    return plain(status, X_Error_Code=code, X_Error_Message=message)


def content(data: bytes, **headers: Any) -> Act:
    """Serve other bytes, whatever range is asked for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: answer(
        handler, 200, {"Content-Length": len(data), **named}, data if handler.command == "GET" else b""
    )


def linked(**headers: Any) -> Act:
    """Redirect to the storage as the hub does."""
    return plain(302, Location="/storage/m.gguf", **{"X_Linked_Etag": f'"{SUM}"', **headers})


def after_continue(handler: Any) -> bool:
    handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
    return ranged(handler)


def early_hints(handler: Any) -> bool:
    handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    return ranged(handler)


def head_with_body(handler: Any) -> bool:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "one"\r\nContent-Length: 500004\r\n\r\n' + WHOLE[:5000])
    return True


def other_length(length: int | str | None) -> Act:
    return of_head(lambda handler: answer(handler, 200, {"Content-Length": length}, close=False))


LASTING = (400, 402, 405, 406, 409, 413, 415, 418, 422, 423, 426, 431, 501, 505, 508, 510, 600, 999)
PASSING = (408, 421, 425, 429, 502, 504, 507, 509, 520, 522, 524, 529, 598)
NO_CONTENT = (201, 202, 203, 205, 208, 226, 300, 305, 306)
MONTH = 2_600_000

CASES = [
    *[Case(f"says {status} to every request", plain(status), f"status {status}") for status in LASTING],
    *[Case(f"says {status} to every GET", of_get(plain(status)), f"status {status}") for status in NO_CONTENT],
    *[Case(f"says {status} twice", times(2, plain(status))) for status in PASSING],
    Case("says 530 always", plain(530), "the server answered 530, 4 times in a row"),
    Case("says 407, as a proxy does", plain(407), "the proxy asks for a login"),
    Case("says 511, as a captive portal does", plain(511), "the network asks for a login"),
    Case("says 410", plain(410), "status 410"),
    Case("says 451", plain(451), "legal reasons"),
    Case("says 401 without a reason", plain(401), "a token is needed"),
    Case("says 416 to every GET", of_get(plain(416)), "status 416, Content-Range None"),
    Case("continues before it answers", of_get(after_continue)),
    Case("hints before it answers", of_get(early_hints)),
    *[Case(f"says {status} to HEAD only", of_head(plain(status))) for status in (400, 403, 404, 405, 500, 501)],
    Case("hangs up on HEAD only", of_head(hang_up)),
    Case("stalls on HEAD only", of_head(stall)),
    Case("answers HEAD without a length", other_length(None)),
    Case("answers HEAD with length 0", other_length(0)),
    Case("answers HEAD with a length that is no number", other_length("many")),
    Case("answers HEAD with another length", other_length(777), "size 777"),
    Case("answers HEAD with a page", of_head(content(PAGE, Content_Type="text/html"))),
    Case("compresses the answer to HEAD", of_head(content(WHOLE, Content_Encoding="gzip"))),
    Case("sends a body after HEAD", of_head(head_with_body)),
    # Limits of the rate.
    Case("says 429 and when the limit ends", times(2, plain(429, RateLimit='"api";r=0;t=1'))),
    Case(
        "says 429 and when the limit ends, as an older draft does", times(1, plain(429, RateLimit="limit=9, reset=1"))
    ),
    Case("says 429 and the moment of its reset", times(1, plain(429, X_RateLimit_Reset=str(int(time.time()))))),
    Case("says 429 and its policy", times(1, plain(429, RateLimit_Policy='"api";q=5;w=1'))),
    Case("says 429, with a limit for a month", plain(429, RateLimit=f'"api";r=0;t={MONTH}'), f"in {MONTH} s"),
    Case("says 429, with nonsense as the limit", times(2, plain(429, RateLimit=";;r=x,t=-1;t", X_RateLimit_Reset="?"))),
    Case("says 503 until a date of the past", times(2, plain(503, Retry_After=email.utils.formatdate(0)))),
    Case("says 503 until a date that does not exist", times(2, plain(503, Retry_After="Mon, 99 Foo 99999 99:99:99"))),
    Case("says 503 for a negative time", times(2, plain(503, Retry_After="-5"))),
    Case("says 503 for a time of 5000 digits", times(2, plain(503, Retry_After="9" * 5000))),
    Case("says 503 for a time in foreign digits", times(2, plain(503, Retry_After="\u00b2"))),
    Case("serves one at a time and says 429 to others", at_most(1, 429)),
    Case("serves two at a time and says 429, come back at once", at_most(2, 429, Retry_After="0")),
    # Refusals of the hub.
    Case("has no such repository", refusal(401, "RepoNotFound", "Repository not found"), "or it is private"),
    Case(
        "has no such repository for this token",
        refusal(404, "RepoNotFound", "Repository not found"),
        "or it is private",
    ),
    Case("gates the model", refusal(401, "GatedRepo", "Access is restricted"), "its terms are not accepted"),
    Case(
        "gates the model from this token",
        refusal(403, "GatedRepo", "You are not in the authorized list"),
        "accept its terms on the publisher's page with the token's account",
        options={"token": TOKEN},
    ),
    Case(
        "has no such file", refusal(404, "EntryNotFound", "Entry not found"), "there is no such file in this revision"
    ),
    Case("has no such revision", refusal(404, "RevisionNotFound", "Invalid rev id: x"), "there is no such revision"),
    Case("has disabled the repository", refusal(403, "DisabledRepo", "This repo is disabled"), "has disabled"),
    Case(
        "does not know the token",
        refusal(401, "", "Invalid credentials in Authorization header"),
        "the token is not valid (Invalid credentials in Authorization header)",
        options={"token": TOKEN},
    ),
    Case("explains an outage", plain(500, X_Error_Message="Maintenance"), "500 (Maintenance), 4 times in a row"),
    Case("explains at length", refusal(404, "E" * 9000, "long " * 9000), "EEE: long long"),
    Case("explains with control characters", refusal(404, "Entry\x1b[31m", "red\x07\x85 words"), "red   words"),
    # Pointers and other texts in place of the file.
    Case("serves an LFS pointer", content(POINTER), "a Git LFS pointer"),
    Case("serves an LFS pointer without a length", lambda h: answer(h, 200, {}, POINTER), "a Git LFS pointer"),
    Case("serves a long LFS pointer", content(POINTER + b"x " + bytes(9000)), "a Git LFS pointer"),
    Case("serves a page with an odd type", content(PAGE, Content_Type=" TEXT/HTML;charset=x"), "web page"),
    Case("serves XHTML", content(PAGE, Content_Type="application/xhtml+xml"), "web page"),
    Case("serves JSON", content(b'{"error": "quota"}' * 100, Content_Type="application/json"), "the letters GGUF"),
    Case("serves nothing", content(b""), "empty"),
    Case("serves one byte", content(b"G"), "sha256"),
    Case("serves plain text that is the file", of_get(lambda h: ranged(h, Content_Type="text/plain"))),
    # Storage behind the hub.
    Case("publishes the checksum of another file", linked(X_Linked_Etag=f'"{"0" * 64}"'), "0" * 64),
    Case("publishes a size of another file", linked(X_Linked_Size=777), "777"),
    Case("publishes a size that is no number", linked(X_Linked_Size="\u00b2")),
    Case("publishes a tag that is no checksum", linked(X_Linked_Etag='W/"abc"')),
    Case("has storage that says 404", linked(), "status 404", storage=plain(404)),
    Case("has storage that says 503 twice", linked(), storage=times(2, plain(503))),
    Case("has storage with a page", linked(), "web page", storage=content(PAGE, Content_Type="text/html")),
    Case(
        "has storage with another tag at each request", linked(), storage=of_get(lambda h: ranged(h, ETag=f'"{id(h)}"'))
    ),
]
