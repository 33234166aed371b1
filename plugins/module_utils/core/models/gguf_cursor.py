# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read numbers and texts of a GGUF file, within bounds of time and memory."""

from __future__ import annotations

import struct
from typing import Any

from ..errors import MismatchError
from .source import Source

#: Most bytes of a header and a tensor table.
MAX_READ = 64 << 20
#: Most entries of all short arrays. As objects, they take many times their size in the file.
MAX_KEPT = 1 << 18
#: Most bytes of all keys, names and texts that are kept, and most texts in arrays, which are only counted.
MAX_KEPT_TEXT = 8 << 20
MAX_COUNTED = 3 << 19
#: Most problems that are kept.
_MAX_PROBLEMS = 8
#: Bytes of an invalid text that are kept.
_SHOWN_RAW = 1 << 10
_WINDOW, _MAX_WINDOW = 1 << 16, 4 << 20


def broken_file(name: str, expected: str, found: str) -> MismatchError:
    """Build the error of a file that the engine would not open."""
    return MismatchError(
        f"{expected} in {name}",
        found,
        "the engine does not open this file; compare its checksum, and fetch it again",
    )


class Cursor:
    """Read forward through a source in windows, within bounds.

    :param order: byte order, as in struct.
    """

    def __init__(self, source: Source, order: str = "<") -> None:
        self.source, self.order = source, order
        self.position = 0
        self._window, self._window_start = b"", 0
        self._next = _WINDOW
        self._budget = MAX_READ
        self._kept = self._kept_text = self._counted = 0
        #: What the engine accepts, but no program writes.
        self.problems: list[str] = []

    def broken(self, expected: str, found: str) -> MismatchError:
        """Build the error of a file that the engine would not open."""
        return broken_file(self.source.name, expected, found)

    @property
    def left(self) -> int:
        """Bytes after this position."""
        return self.source.size - self.position

    def need(self, length: int, what: str) -> None:
        """Refuse a length that exceeds the rest of the file."""
        if length > self.left:
            raise self.broken(
                f"{length} bytes of {what} at offset {self.position}",
                f"only {max(0, self.left)} bytes before the end of the file",
            )

    def take(self, length: int, what: str) -> bytes:
        """Read the next bytes."""
        self.need(length, what)
        start = self.position - self._window_start
        if start < 0 or start + length > len(self._window):
            self._fetch(length)
            start = 0
        self.position += length
        return self._window[start : start + length]

    def skip(self, length: int, what: str) -> None:
        """Skip bytes without reading them."""
        self.need(length, what)
        self.position += length

    def skip_texts(self, count: int, what: str) -> None:
        """Skip texts, each preceded by its length. Speed matters here only."""
        unpack = struct.Struct(f"{self.order}Q").unpack_from
        for _each in range(count):
            start = self.position - self._window_start
            if start < 0 or start + 8 > len(self._window):
                self.take(8, what)
                self.position -= 8
                start = 0
            length = unpack(self._window, start)[0]
            if length > self.source.size - self.position - 8:
                self.need(8 + length, what)
            self.position += 8 + length

    def texts(self, count: int, what: str) -> tuple[str, ...]:
        """Read texts of bounded length together. Bytes that are no UTF-8 are kept as backslashes."""
        found, left = [], MAX_KEPT_TEXT
        for _each in range(count):
            length = self.number("Q", f"the length of a text of {what}")
            left -= min(length, MAX_KEPT_TEXT + 1)
            if left < 0:
                raise self.broken(f"{what} of at most {MAX_KEPT_TEXT >> 20} MiB", "more")
            found.append(self.take(length, what).decode(errors="backslashreplace"))
        return tuple(found)

    def number(self, code: str, what: str) -> Any:
        """Read a number.

        :param code: its format, as in struct.
        """
        return struct.unpack(self.order + code, self.take(struct.calcsize(code), what))[0]

    def _fetch(self, length: int) -> None:
        wanted = min(max(length, self._next), self.left)
        self._budget -= wanted
        if self._budget < 0:
            raise self.broken(f"a header of at most {MAX_READ >> 20} MiB", f"more at offset {self.position}")
        # Most headers are small. Windows grow for a vocabulary, so that a server gets only a few requests.
        self._next = min(self._next * 2, _MAX_WINDOW)
        data = self.source.read(self.position, wanted)
        if len(data) != wanted:
            raise self.broken(
                f"{wanted} bytes at offset {self.position}",
                f"{len(data)}: the file has become shorter",
            )
        self._window, self._window_start = data, self.position

    def keep(self, count: int, what: str) -> None:
        """Count the entries of an array that is kept in memory."""
        self._kept += count
        if self._kept > MAX_KEPT:
            raise self.broken(f"short arrays of at most {MAX_KEPT} entries together", f"more in {what}")

    def count_texts(self, count: int, what: str) -> None:
        """Count the texts of an array, each of which takes time to skip."""
        self._counted += count
        if self._counted > MAX_COUNTED:
            raise self.broken(f"at most {MAX_COUNTED} texts in all arrays", f"more in {what}")

    def text(self, most: int, what: str) -> str:
        """Read a text of bounded length."""
        length = self.number("Q", f"the length of {what}")
        if length > most:
            raise self.broken(f"{what} of at most {most} bytes", f"a length of {length}")
        return self.decoded(length, what)

    def decoded(self, length: int, what: str) -> str:
        """Read a text. The engine accepts invalid UTF-8, so it is shown with backslashes, and noted as a problem."""
        self._kept_text += length
        if self._kept_text > MAX_KEPT_TEXT:
            raise self.broken(f"keys, names and texts of at most {MAX_KEPT_TEXT >> 20} MiB", f"more in {what}")
        raw = self.take(length, what)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            text = raw[:_SHOWN_RAW].decode(errors="backslashreplace")
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(f"expected {what} as UTF-8, found {text[:80]}: convert the model again.")
        return text
