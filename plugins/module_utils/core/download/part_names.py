# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the counter in the names of byte parts, in any of the usual schemes.

The counter decides order and gaps. Schemes are those of split(1) (C(aa), C(00), C(0a)) and of people: C(part1of3),
C(.001), C(-split-a), C(part-00001-of-00003). Where names have no counter, only a checksum of the whole can tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = r"(?i:parts?|pt|split|chunk|piece|seg(?:ment)?|vol(?:ume)?|shard)"
_END = re.compile(r"\.(?:gguf|bin|dat|part|split)$", re.IGNORECASE)
_BEFORE = rf"(?:[._-]|{_WORD})"
_TOTAL = re.compile(r"(?P<stem>.+?)(?P<number>\d+)(?:[._ -]?of[._ -]?)(?P<count>\d+)", re.IGNORECASE)
_NUMBER = re.compile(rf"(?P<stem>.+{_BEFORE})(?P<number>\d+)", re.IGNORECASE)
_LETTERS = re.compile(rf"(?P<stem>.*(?:[._-]|\.gguf|{_WORD}[._-]?)|x)(?P<number>[a-z]{{1,4}}|[A-Z]{{1,4}})", re.ASCII)
_HEX = re.compile(rf"(?P<stem>.+(?:[._-]|{_WORD}))(?P<number>[0-9a-f]{{2,8}})")
_AFTER_MODEL = re.compile(rf".+\.gguf[._-]?(?:{_WORD})?[._-]?", re.IGNORECASE)
_DECIMAL, _HEXADECIMAL, _ALPHABET = 10, 16, 26
_MOST = 10_000


@dataclass(frozen=True)
class Counted:
    """A name with its counter.

    :ivar stem: what stands before the counter; C(end): what stands after it.
    :ivar count: number of parts, as text; empty if the name does not give it.
    :ivar between: what stands between number and count.
    """

    stem: str
    number: str
    end: str
    count: str = ""
    between: str = ""

    @property
    def is_part(self) -> bool:
        """Whether the counter follows the name of a model's file, so that the name can only be that of a part."""
        return bool(_AFTER_MODEL.fullmatch(self.stem))

    @property
    def is_certain(self) -> bool:
        """Whether the name alone tells that there are other parts."""
        return self.is_part or bool(self.count)

    def is_alone(self, pattern: re.Pattern[str]) -> bool:
        """Whether a name without others can only be that of a part: C(X.gguf.zip) is none."""
        is_word = bool(re.search(rf"{_WORD}[._-]?$", self.stem)) or pattern in (_TOTAL, _NUMBER)
        return self.is_certain and (is_word or set(self.number.lower()) == {"a"})

    def like(self, other: Counted) -> bool:
        """Return whether another name differs in the number only."""
        return (self.stem, self.end, self.count, self.between) == (other.stem, other.end, other.count, other.between)


def _matched(pattern: re.Pattern[str], name: str) -> Counted | None:
    end = _END.search(name)
    for plain in (name[: end.start()] if end else name, name):
        found = pattern.fullmatch(plain)
        if found:
            count = found.groupdict().get("count") or ""
            between = plain[found.end("number") : found.start("count")] if count else ""
            return Counted(found["stem"], found["number"], name[len(plain) :], count, between)
    return None


def is_part(name: str) -> bool:
    """Return whether a name can only be that of a byte part."""
    return any(found.is_part for found in (_matched(pattern, name) for pattern in _PATTERNS) if found)


def expected(names: Sequence[str]) -> list[str] | None:
    """Return the names of a complete set in order; None if the names give no order.

    The number of parts is in their names, or else that of the given names.
    """
    read = [[_matched(pattern, name) for name in names] for pattern in _PATTERNS]
    for pattern, found in zip(_PATTERNS, read):
        first = found[0]
        is_set = len(names) > 1 or (first is not None and first.is_alone(pattern))
        if first and is_set and all(one and one.like(first) for one in found):
            return _sequence(pattern, [one for one in found if one], len(names))
    # Names of other files among those of parts.
    for pattern, found in zip(_PATTERNS, read):
        first = next((one for one in found if one and one.is_certain), None)
        if first and len(names) > 1:
            return _sequence(pattern, [one for one in found if one and one.like(first)], len(names))
    return None


def _sequence(pattern: re.Pattern[str], found: Sequence[Counted], given: int) -> list[str] | None:
    """Name all parts in order."""
    first = found[0]
    width = min(len(one.number) for one in found)
    count = int(first.count or max(given, 2))
    base = _BASES[pattern]
    if not 0 < count <= _MOST or (base != _DECIMAL and count > base**width):
        return None
    begin = 0
    if base == _DECIMAL:
        begin = 0 if any(int(one.number) == 0 for one in found) else 1
    elif any(len(one.number) != width or _value(one.number, base) > count + base for one in found):
        # Words such as C(one) and C(two) are no counters.
        return None
    numbers = (_written(number, base, width) for number in range(begin, begin + count))
    if first.number.isupper():
        numbers = (number.upper() for number in numbers)
    return [f"{first.stem}{number}{first.between}{first.count}{first.end}" for number in numbers]


def _value(number: str, base: int) -> int:
    if base == _HEXADECIMAL:
        return int(number, base)
    value = 0
    for letter in number.lower():
        value = value * base + ord(letter) - ord("a")
    return value


def _written(number: int, base: int, width: int) -> str:
    if base == _DECIMAL:
        return f"{number:0{width}d}"
    if base == _HEXADECIMAL:
        return f"{number:0{width}x}"
    letters = ""
    while len(letters) < width:
        number, rest = divmod(number, base)
        letters = chr(ord("a") + rest) + letters
    return letters


_BASES = {_TOTAL: _DECIMAL, _NUMBER: _DECIMAL, _LETTERS: _ALPHABET, _HEX: _HEXADECIMAL}
_PATTERNS = tuple(_BASES)
