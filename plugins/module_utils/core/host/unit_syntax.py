# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The syntax of systemd's units: words with spaces, quotes and special characters."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def quote_word(word: str) -> str:
    """Quote a word of a setting such as Environment=, with C-style escapes and %% for a percent sign.

    Source: systemd.syntax(7), systemd.unit(5) on specifiers.
    """
    if _PLAIN.fullmatch(word):
        return word
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + re.sub(r"[\x01-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text) + '"'


def quote_argument(argument: str) -> str:
    """Quote an argument of a command line such as ExecStart=, with $$ for a dollar sign.

    Source: systemd.service(5), "Command lines".
    """
    return quote_word(argument.replace("$", "$$"))
