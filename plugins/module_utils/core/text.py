# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for people and terminals: tables, and text from outside without control characters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: Control characters and lone surrogates.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TERMINAL = re.compile(r"(?![\n\t])" + CONTROL.pattern)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP]?)", re.IGNORECASE)
_UNITS = ("", "K", "M", "G", "T", "P")
#: Longest text of another host, in characters.
LONGEST = 300


def plain(text: str) -> str:
    """Replace control characters by spaces and cut the text to LONGEST characters."""
    return CONTROL.sub(" ", text)[:LONGEST]


def terminal_text(text: str) -> str:
    """Replace control characters by spaces, but for line ends and tabs: a model's answer may have any."""
    return _TERMINAL.sub(" ", text)


def bytes_of(text: str) -> int | None:
    """Parse a size in bytes or with a unit, such as C(200G) or C(46.5M); None for any other text."""
    found = _SIZE.fullmatch(text.strip())
    return int(float(found[1]) * 1024 ** _UNITS.index(found[2].upper())) if found else None


def size(count: int) -> str:
    """Format a number of bytes: C(43.50 GiB), C(12.0 MiB)."""
    return f"{count / 1024**3:.2f} GiB" if count >= 1 << 28 else f"{count / 1024**2:.1f} MiB"


def text_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Set rows under headings, each column as wide as its widest cell."""
    lines = [[column.upper() for column in columns]]
    lines += [["-" if row.get(column) in (None, "") else str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
