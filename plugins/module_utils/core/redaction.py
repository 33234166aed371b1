# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets taken out of text that leaves a host: those that are known by their bytes, and what looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterable

LEFT_OUT = "[left out]"
#: A shorter word would be found where it means something else.
SHORTEST = 6

_WORD = r"[\w.~+/=-]"
_PATTERNS = (
    # Private keys, whole.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(rf"(?i)\b(bearer|basic) +{_WORD}{{{SHORTEST},}}"), rf"\1 {LEFT_OUT}"),
    # Tokens that say by their beginning what they are.
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-)[\w-]{6,}"), LEFT_OUT),
    (re.compile(r"\bherd-\d+-[\w-]{20,}"), LEFT_OUT),
    # Name and password in front of a host.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@]+:[^/\s@]+@"), rf"\1{LEFT_OUT}@"),
    # Names of settings, of variables and of JSON; the name may say a file, which is no secret.
    (
        re.compile(
            r"""(?ix) ( ["']? [\w-]* (?: api[_-]?keys? | token | secret | passw(?:or)?d | passphrase | credentials? )
                ["']? \s* [=:] \s* ["']? ) (?! /) [^\s"',;}\]]{4,}"""
        ),
        rf"\1{LEFT_OUT}",
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Take secrets out; the longest first, since one may be a part of another."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, LEFT_OUT)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def secrets_in(text: str) -> list[str]:
    """Name the secrets of a file that only a service may read: its words, line by line."""
    lines = (line.strip() for line in text.splitlines())
    return [
        word for line in lines if not line.startswith(("#", "-----")) for word in line.split() if len(word) >= SHORTEST
    ]
