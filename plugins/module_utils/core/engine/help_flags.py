# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the flags that a program accepts from its C(--help).

llama-server starts a flag's line at the margin, and the RPC worker indents it by two. Both fold long descriptions into
lines that are indented much further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A deeper indentation is a description, in all captured texts (tests/fixtures/help).
DEEPEST_FLAG_COLUMN = 4
FLAG = re.compile(r"(?P<flag>--?[A-Za-z0-9][A-Za-z0-9_-]*)(?P<comma>,\s*(?=-))?")


def accepted_flags(help_text: str) -> list[str]:
    """List the long and short flags of a help text, sorted, each once."""
    return sorted(set(_flags(help_text.splitlines())))


def _flags(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        rest = line.lstrip(" ")
        if len(line) - len(rest) > DEEPEST_FLAG_COLUMN:
            continue
        while True:
            found = FLAG.match(rest)
            if found is None:
                break
            yield found.group("flag")
            if not found.group("comma"):
                break
            rest = rest[found.end() :]
