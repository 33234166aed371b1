# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and replace fields of a form (C(multipart/form-data)), as clients send audio files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from .api_errors import ApiError

_TYPE = re.compile(r"multipart/form-data\b", re.IGNORECASE)
_BOUNDARY = re.compile(r"boundary=(?:\"([^\"\r\n]{1,70})\"|([^\s;\"]{1,70}))", re.IGNORECASE)
_NAME = re.compile(rb"content-disposition:[^\r\n]*[; ]name=(?:\"([^\"\r\n]{1,64})\"|([^\s;\"]{1,64}))", re.IGNORECASE)
#: Bytes of the longest head of a part, and of the longest value that is read.
_LONGEST_HEAD, _LONGEST_VALUE = 2048, 1024
#: Most parts of a form.
_MOST_PARTS = 64


def boundary(content_type: str) -> bytes:
    """Return the boundary of a form; empty for another content type."""
    match = _BOUNDARY.search(content_type) if _TYPE.match(content_type) else None
    return (match[1] or match[2]).encode("latin-1", "replace") if match else b""


def _parts(body: bytes | bytearray, mark: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each part, and where its value begins and ends.

    :raises ApiError: if there are too many.
    """
    line = b"--" + mark
    begin = body.find(line)
    for _each in range(_MOST_PARTS + 1):
        head_end = body.find(b"\r\n\r\n", begin, begin + _LONGEST_HEAD)
        end = body.find(b"\r\n" + line, head_end)
        if begin < 0 or head_end < 0 or end < 0:
            return
        match = _NAME.search(body, begin, head_end)
        if match:
            yield (match[1] or match[2]).decode("utf-8", "replace"), head_end + 4, end
        begin = end + 2
    raise ApiError(400, f"The form has more than {_MOST_PARTS} parts.", "body_too_complex")


def fields(body: bytes | bytearray, mark: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the values of the named fields that a form has.

    :param mark: its boundary.
    """
    return {
        name: body[begin : min(end, begin + _LONGEST_VALUE)].decode("utf-8", "replace")
        for name, begin, end in _parts(body, mark)
        if name in names
    }


def with_field(body: bytes | bytearray, mark: bytes, name: str, value: str) -> bytearray:
    """Return a form in which a field has this value, and no other of that name."""
    line = b"--" + mark
    kept, last = [], 0
    for found, begin, end in _parts(body, mark):
        start = body.rfind(line, 0, begin)
        if found == name:
            kept.append(body[last:start])
            last = end + 2
    part = b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (line, name.encode(), value.encode())
    return bytearray().join((part, *kept, body[last:]))
