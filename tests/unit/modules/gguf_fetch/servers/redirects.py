# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redirects: malformed, endless, expired, or good in an unusual way."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from tests.unit.model_server import Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import (
    PAGE,
    SUM,
    WHOLE,
    Act,
    Case,
    answer,
    of_later,
    plain,
    ranged,
)

WRONG = {
    "an unfinished IPv6 address": "http://[::1",
    "an IPv6 address that is none": "http://[gg::1]/m.gguf",
    "a port that is too high": "http://127.0.0.1:99999/m.gguf",
    "a port that is a word": "http://127.0.0.1:http/m.gguf",
    "port 0": "http://127.0.0.1:0/m.gguf",
    "no host": "http:///m.gguf",
    "only a scheme": "https:",
    "another protocol": "ftp://127.0.0.1/m.gguf",
    "a script": "javascript:alert(1)",
    "data": "data:text/plain,GGUF",
    "a mail address": "mailto:a@b.c",
    "an unfinished address with a secret": "http://user:secretOfATest@[::1",
}
UNUSABLE = {
    "a host with an empty label": "http://a..b/m.gguf",
    "a host with a label of 300 letters": f"http://{'a' * 300}.example/m.gguf",
    "a host with a blank": "http://exa mple/m.gguf",
    "a host with a control character": "http://exa\x01mple/m.gguf",
}
GOOD = {
    "a path": "/storage/m.gguf",
    "a relative path": "storage/m.gguf",
    "dots": "/x/../storage/./m.gguf",
    "a fragment": "/storage/m.gguf#part",
    "blanks around it": "  /storage/m.gguf  ",
}


def to_itself_with(user: str) -> Act:
    """Redirect to the full address of the storage."""
    return lambda handler: plain(302, Location=f"{user}127.0.0.1:{handler.server.server_port}/storage/m.gguf")(handler)


def hops(count: int) -> Act:
    """Redirect so many times, then to the storage; the path has no memory, so the query counts."""

    def act(handler: Any) -> bool:
        done = int(handler.path.partition("?")[2] or 0)
        return plain(302, Location="/storage/m.gguf" if done == count - 1 else f"/m.gguf?{done + 1}")(handler)

    return act


def without_place(handler: Any) -> bool:
    return plain(302)(handler)


def page(handler: Any) -> bool:
    return answer(handler, 200, {"Content-Type": "text/html", "Content-Length": len(PAGE)}, PAGE)


def signing(act: Act, uses: int = 4) -> Act:
    """Redirect as the hub does, to addresses that expire after a few uses and then answer in this way."""
    lock = threading.Lock()
    numbers = itertools.count()

    def sign(handler: Any) -> bool:
        first = handler.headers.get("Range")
        used: list[str | None] = []

        def serve(later: Any) -> bool:
            with lock:
                # A fresh address works at least for the request that it was signed for.
                is_expired = first in used and len(used) >= uses
                used.append(later.headers.get("Range"))
            return is_expired and act(later)

        place = f"/storage/m.gguf?sig={next(numbers)}"
        handler.owner.files[place] = Served(WHOLE, act=serve)
        return plain(302, Location=place, X_Linked_Etag=f'"{SUM}"', X_Linked_Size=len(WHOLE))(handler)

    return sign


EXPIRED = {
    "400": plain(400),
    "401": plain(401),
    "403": plain(403),
    "404": plain(404),
    "410": plain(410),
    "416": plain(416),
    "a login page": page,
    "a redirect to a login page": plain(302, Location="/login"),
    "a malformed redirect": plain(302, Location="http://[::1"),
    "a wrong range": lambda handler: ranged(handler, Content_Range="bytes 7-9/11"),
    "compression": lambda handler: ranged(handler, Content_Encoding="br"),
    "another file": lambda handler: answer(handler, 200, {"Content-Length": 0}, close=False),
}

CASES = [
    *[Case(f"redirects to {name}", plain(302, Location=to), "to lead to a web server") for name, to in WRONG.items()],
    *[Case(f"redirects to {name}", plain(302, Location=to), "a valid URL behind") for name, to in UNUSABLE.items()],
    *[
        Case(f"redirects to {name} in mid-download", of_later(plain(302, Location=to)), "to lead to a web server")
        for name, to in list(WRONG.items())[:4]
    ],
    *[Case(f"redirects to {name}", plain(302, Location=to)) for name, to in GOOD.items()],
    *[Case(f"redirects with {status}", plain(status, Location="/storage/m.gguf")) for status in (301, 303, 307, 308)],
    Case("redirects to a host without a scheme", to_itself_with("//")),
    Case("redirects to a URL with credentials", to_itself_with("http://user:secretOfATest@")),
    Case("redirects in Unicode", plain(302, Location="/gr\u00c3\u00b6\u00c3\u009fe.gguf")),
    Case("redirects without an address", without_place, "status 302"),
    Case("redirects to an empty address", plain(302, Location=""), "at most 10 redirects"),
    Case("redirects 10 times", hops(10)),
    Case("redirects 11 times", hops(11), "at most 10 redirects"),
    Case("redirects in a circle in mid-download", of_later(plain(302, Location="/m.gguf")), "at most 10 redirects"),
    *[Case(f"has signed addresses that expire with {name}", signing(act)) for name, act in EXPIRED.items()],
]
