# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse a request's body for its model, and for whether it asks for a stream.

The standard library parses a small body. A large one is only scanned, in steps: to parse 8 MiB of empty lists takes
a second, in which all streams would stop, and 256 MiB of memory. Errors deep inside such a body are left to the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

#: Bytes of the largest body that is parsed at once: at worst that takes as long as one step of a larger one.
SMALL = 16 * 1024
#: JSON values in one step, which takes about a millisecond.
STEP = 2000
#: Most steps for a body. 8 MiB of source code take half of them.
MOST_STEPS = 200
#: JSON values beyond which a body is refused.
MOST_VALUES = STEP * MOST_STEPS
#: Bytes that count as one value: scanning them is that fast.
RUN = 256
WINDOW = STEP * RUN // 2
#: Most levels of nested lists and objects.
DEEPEST = 200

#: Most blanks, digits or backslashes in a row: each costs time.
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
    """The body is not a JSON object."""


class TooComplexError(ValueError):
    """The body has too many JSON values."""


@dataclass(frozen=True)
class RequestFields:
    """The fields of a body that the gateway needs.

    :ivar model: the value of C(model), of any type; None without one.
    :ivar at: position of the model's value in a large body, or where it can be inserted.
    """

    model: Any = None
    stream: bool = False
    at: str = ""


class _Cursor:
    """A position in a body, and the steps that are left."""

    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0
        self._left, self._steps = STEP, 0

    def step(self, much: int) -> bool:
        """Count scanned values, and return whether the step is complete."""
        self._left -= much
        if self._left > 0:
            return False
        self._left = STEP
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooComplexError("too many parts")
        return True

    def skip(self, depth: int, is_text: bool) -> Generator[None, None, None]:
        """Skip a string, list or object whose first character has been passed."""
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


def _scan(body: bytes) -> Generator[None, None, RequestFields]:
    start = _START.match(body)
    if not start:
        raise NotJsonError("no object")
    cursor, first = _Cursor(body), body.index(b"{") + 1
    cursor.at = start.end()
    model, is_stream, place = None, False, f"{first}-{first}"
    is_last = body[cursor.at : cursor.at + 1] == b"}"
    if is_last:
        end = _NEXT.match(body, cursor.at)
        cursor.at = end.end() if end else 0
    while not is_last:
        begin = cursor.at
        if body[begin : begin + 1] != b'"':
            raise NotJsonError("no name")
        cursor.at += 1
        yield from cursor.skip(0, True)
        name = body[begin : cursor.at]
        colon = _COLON.match(body, cursor.at)
        if not colon:
            raise NotJsonError("no value")
        begin = colon.end()
        value = yield from _value(cursor, begin)
        if len(name) <= _LONGEST_NAME:
            called = json.loads(name.decode())
            if called == "model":
                # A value of another type is an error, whatever it is.
                model = json.loads(value.decode()) if value[:1] == b'"' or value == b"null" else False
                place = f"{begin}-{cursor.at}"
            elif called == "stream":
                is_stream = value == b"true"
        following = _NEXT.match(body, cursor.at)
        if not following:
            raise NotJsonError("no end")
        cursor.at = following.end()
        is_last = following[1] == b"}"
        if cursor.step(4):
            yield
    if cursor.at != len(body):
        raise NotJsonError("more than an object")
    return RequestFields(model, is_stream, place)


def _value(cursor: _Cursor, begin: int) -> Generator[None, None, bytes]:
    first = cursor.body[begin : begin + 1]
    cursor.at = begin + 1
    if first == b'"':
        yield from cursor.skip(0, True)
    elif first in (b"[", b"{"):
        yield from cursor.skip(1, False)
        # The caller only compares it.
        return first
    else:
        scalar = _SCALAR.match(cursor.body, begin)
        if not scalar:
            raise NotJsonError("no value")
        cursor.at = scalar.end()
    return cursor.body[begin : cursor.at]


def parse(body: bytes) -> Generator[None, None, RequestFields]:
    """Parse a body, in steps if it is large.

    :raises NotJsonError: for a body that is not a JSON object.
    :raises TooComplexError: for a body with too many JSON values.
    """
    if len(body) > SMALL:
        try:
            return (yield from _scan(body))
        except (NotJsonError, TooComplexError):
            raise
        except ValueError as error:
            raise NotJsonError("a name or a model that is no text") from error
    data = _object(body)
    return RequestFields(data.get("model"), data.get("stream") is True)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotJsonError("no JSON") from error
    if not isinstance(data, dict):
        raise NotJsonError("no object")
    return data


def with_model(body: bytes, model: str, at: str) -> bytes:
    """Replace the model in a body that has been parsed.

    :param at: position of the model in a large body, from C(parse).
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
