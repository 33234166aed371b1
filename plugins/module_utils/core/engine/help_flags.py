# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the flags that a program accepts from its C(--help).

llama-server starts a flag's line at the margin, and the RPC worker indents it by two. Both fold long descriptions into
lines that are indented much further.
"""

from __future__ import annotations

import re

_FLAG = r"--?[A-Za-z0-9][A-Za-z0-9_-]*"
# A deeper indentation is a description, in all captured texts (tests/fixtures/help).
_LINE = re.compile(rf" {{0,4}}{_FLAG}(?:,\s*{_FLAG})*")


def accepted_flags(help_text: str) -> list[str]:
    """List the long and short flags of a help text, sorted, each once."""
    lines = filter(None, map(_LINE.match, help_text.splitlines()))
    return sorted({flag for line in lines for flag in re.findall(_FLAG, line[0])})
