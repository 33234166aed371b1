# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse JSON from outside within bounds: its size, its depth, its numbers and its keys."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from ...errors import MismatchError

#: Most digits of a number. Larger ones are no size, and converting them takes quadratic time.
MAX_DIGITS = 20
#: Most braces, brackets and commas: each value takes many times its text as an object. The largest known header has
#: one tenth of it.
MAX_VALUES = 1 << 21
_BROKEN = "the file is damaged or of another kind; compare its checksum, and fetch it again"


def broken(name: str, expected: str, found: str) -> MismatchError:
    """Build the error of a file that vLLM would not load."""
    return MismatchError(f"{expected} in {name}", found, _BROKEN)


def parse_object(data: bytes, name: str) -> Mapping[str, Any]:
    """Parse a JSON object strictly: unique keys, no NaN, bounded numbers and a bounded number of values.

    :param name: of the file, in errors.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counts = Counter(key for key, _value in pairs)
            repeated = max(counts, key=counts.__getitem__)
            raise broken(name, "every key once", f"{repeated[:80]!r} twice")
        return found

    def whole(text: str) -> int:
        if len(text) > MAX_DIGITS:
            raise broken(name, f"numbers of at most {MAX_DIGITS} digits", f"one of {len(text)} digits")
        return int(text)

    def no_constant(text: str) -> NoReturn:
        raise broken(name, "finite numbers", text)

    values = sum(data.count(mark) for mark in (b"{", b"[", b","))
    if values > MAX_VALUES:
        raise broken(name, f"at most {MAX_VALUES} values", str(values))
    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_int=whole, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise broken(name, "text in UTF-8", f"byte {data[error.start]:#04x} at position {error.start}") from None
    except RecursionError:
        raise broken(name, "JSON of a few levels", "JSON that is nested too deeply") from None
    except ValueError as error:
        raise broken(name, "JSON", str(error)[:120]) from None
    if not isinstance(parsed, dict):
        raise broken(name, "a JSON object", f"a {type(parsed).__name__}")
    return parsed
