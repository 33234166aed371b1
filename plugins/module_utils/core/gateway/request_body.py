# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway has to know of a request's body: its model, and whether it asks for a stream.

A small body is read by the standard library. A large one is only looked through, in pieces between which others get
their turn: to build eight MiB of empty lists takes a second, for which all streams would stand still, and a quarter of
a GiB. What is wrong deep inside such a body is for the engine to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

#: Up to so many bytes are read at once: at worst that takes as long as one piece of a larger one.
SMALL = 16 * 1024
#: Strings, lists and objects that one piece looks at: about a millisecond.
PIECE = 2000
#: Pieces after which a body is refused. Eight MiB of a program's text have half of them.
MOST_PIECES = 200
#: Bytes between two marks that count as one: they are looked through by the thousand million a second.
RUN = 256
WINDOW = PIECE * RUN // 2
#: Lists in lists; engines have no more use for them.
DEEPEST = 200

#: Blanks, digits or backslashes in a row: nobody writes more, and each is looked at.
_LONGEST_RUN = 4096
_BLANK = rb"[ \t\r\n]{0,%d}" % _LONGEST_RUN
_START = re.compile(rb"(?:\xef\xbb\xbf)?" + _BLANK + rb"\{" + _BLANK)
_COLON = re.compile(_BLANK + rb":" + _BLANK)
_NEXT = re.compile(_BLANK + rb"([,}])" + _BLANK)
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]{1,%d}" % _LONGEST_RUN)
_MARK = re.compile(rb'["\[\]{}]')
_QUOTE, _BACKSLASH = 0x22, 0x5C
_LONGEST_NAME = 64


class NotJsonError(ValueError):
    """It is no JSON object."""


class TooMuchError(ValueError):
    """It has more parts than the gateway looks at."""


@dataclass(frozen=True)
class Asked:
    """What a body asks for.

    :ivar model: its C(model), whatever that is; None where it has none.
    :ivar at: where in a large body the model's value is, or should be.
    """

    model: Any = None
    stream: bool = False
    at: str = ""


class _Walk:
    """A place in a body, and the pieces that are left."""

    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0
        self._left, self._pieces = PIECE, 0

    def step(self, much: int) -> bool:
        """Count what was looked at, and say whether others have their turn."""
        self._left -= much
        if self._left > 0:
            return False
        self._left = PIECE
        self._pieces += 1
        if self._pieces > MOST_PIECES:
            raise TooMuchError("too many parts")
        return True

    def skip(self, depth: int, is_text: bool) -> Generator[None, None, None]:
        """Go behind a string, or behind a list or an object, of which the first mark has been passed."""
        body, at = self.body, self.at
        while depth or is_text:
            before = at
            if is_text:
                at = body.find(b'"', before) + 1
                if not at:
                    raise NotJsonError("a string without an end")
                # An odd number of backslashes makes it part of the string.
                is_text = body[at - 2] == _BACKSLASH and _is_escaped(body, before, at - 1)
            else:
                mark = _MARK.search(body, before, before + WINDOW)
                at = mark.end() if mark else before + WINDOW
                if mark is None and at >= len(body):
                    raise NotJsonError("a list or an object without an end")
                if mark:
                    found = body[at - 1]
                    is_text = found == _QUOTE
                    depth += 0 if is_text else 1 if found in b"[{" else -1
                    if depth > DEEPEST:
                        raise NotJsonError("lists in lists")
            if self.step(1 + (at - before) // RUN):
                yield
        self.at = at


def _is_escaped(body: bytes, begin: int, quote: int) -> bool:
    text = body[max(begin, quote - _LONGEST_RUN) : quote]
    run = len(text) - len(text.rstrip(b"\\"))
    if run == _LONGEST_RUN:
        raise NotJsonError("backslashes")
    return run % 2 == 1


def _look_through(body: bytes) -> Generator[None, None, Asked]:
    start = _START.match(body)
    if not start:
        raise NotJsonError("no object")
    walk, first = _Walk(body), body.index(b"{") + 1
    walk.at = start.end()
    model, is_stream, place = None, False, f"{first}-{first}"
    is_last = body[walk.at : walk.at + 1] == b"}"
    if is_last:
        end = _NEXT.match(body, walk.at)
        walk.at = end.end() if end else 0
    while not is_last:
        begin = walk.at
        if body[begin : begin + 1] != b'"':
            raise NotJsonError("no name")
        walk.at += 1
        yield from walk.skip(0, True)
        name = body[begin : walk.at]
        colon = _COLON.match(body, walk.at)
        if not colon:
            raise NotJsonError("no value")
        begin = colon.end()
        value = yield from _value(walk, begin)
        if len(name) <= _LONGEST_NAME:
            called = json.loads(name.decode())
            if called == "model":
                # What is no text is nothing that the gateway would look into.
                model = json.loads(value.decode()) if value[:1] == b'"' or value == b"null" else False
                place = f"{begin}-{walk.at}"
            elif called == "stream":
                is_stream = value == b"true"
        following = _NEXT.match(body, walk.at)
        if not following:
            raise NotJsonError("no end")
        walk.at = following.end()
        is_last = following[1] == b"}"
        if walk.step(4):
            yield
    if walk.at != len(body):
        raise NotJsonError("more than an object")
    return Asked(model, is_stream, place)


def _value(walk: _Walk, begin: int) -> Generator[None, None, bytes]:
    first = walk.body[begin : begin + 1]
    walk.at = begin + 1
    if first == b'"':
        yield from walk.skip(0, True)
    elif first in (b"[", b"{"):
        yield from walk.skip(1, False)
        # It is only ever compared.
        return first
    else:
        scalar = _SCALAR.match(walk.body, begin)
        if not scalar:
            raise NotJsonError("no value")
        walk.at = scalar.end()
    return walk.body[begin : walk.at]


def read(body: bytes) -> Generator[None, None, Asked]:
    """Read what a body asks for; between two pieces of a large one others may have their turn.

    :raises NotJsonError: for a body that is no JSON object.
    :raises TooMuchError: for one that has too many parts.
    """
    if len(body) > SMALL:
        try:
            return (yield from _look_through(body))
        except (NotJsonError, TooMuchError):
            raise
        except ValueError as error:
            raise NotJsonError("a name or a model that is no text") from error
    data = _object(body)
    return Asked(data.get("model"), data.get("stream") is True)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotJsonError("no JSON") from error
    if not isinstance(data, dict):
        raise NotJsonError("no object")
    return data


def with_model(body: bytes, model: str, at: str) -> bytes:
    """Write a body that has been read anew, with another model.

    :param at: where C(read) has found the model of a large one.
    """
    if len(body) <= SMALL:
        return json.dumps({**_object(body), "model": model}).encode()
    begin, _to, end = at.partition("-")
    here, there = int(begin), int(end)
    text = json.dumps(model)
    if here == there:
        is_only = body[here : here + SMALL].lstrip(b" \t\r\n")[:1] == b"}"
        text = f'"model": {text}' + ("" if is_only else ", ")
    return b"".join((body[:here], text.encode(), body[there:]))
