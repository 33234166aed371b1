# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read values from parsed JSON strictly: a key, its type and its range.

C(number), C(whole) and C(text) raise InvalidInputError, which names the key, the range and the value found.
C(finite) is for optional values: it returns None instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import InvalidInputError

#: Larger values are no time, size or count of ours.
LARGEST = 1e15
_SHOWN = 80


def invalid(expected: str, value: Any, remedy: str) -> InvalidInputError:
    """Make the error for a value, which is shown in at most 80 characters."""
    shown = repr(value)
    return InvalidInputError(expected, shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}…", remedy)


def finite(value: Any, least: float = 0.0, most: float = LARGEST) -> float | None:
    """Return a number within the range, None for anything else. True and False are no numbers."""
    # The range comes first: a whole number of hundreds of digits fits no float. Nothing compares with NaN.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        return None
    return value


def number(data: Mapping[str, Any], key: str, least: float, most: float, remedy: str) -> float:
    """Read a number within the range."""
    found = finite(data.get(key), least, most)
    if found is None:
        raise invalid(f"{key} from {least:g} to {most:g}", data.get(key), remedy)
    return found


def whole(data: Mapping[str, Any], key: str, least: int, most: int, remedy: str) -> int:
    """Read a whole number within the range."""
    found = number(data, key, least, most, remedy)
    if not isinstance(found, int):
        raise invalid(f"a whole number as {key}", found, remedy)
    return found


def text(data: Mapping[str, Any], key: str, longest: int, remedy: str) -> str:
    """Read one line of printable text of at most so many characters."""
    found = data.get(key)
    if not isinstance(found, str) or len(found) > longest or not found.isprintable():
        raise invalid(f"a line of text as {key}", found, remedy)
    return found
