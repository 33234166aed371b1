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
_NAME = r"api[_-]?keys?|token|secret|passw(?:or)?d|passphrase|credentials?"
# A quotation mark, which is escaped in a text within a text.
_QUOTE = r"""(?:\\?["'])?"""
# What stands behind the name; a path says where a secret is, and is none. A secret may begin with a stroke as well.
_VALUE = (
    rf"(?! {_QUOTE} /(?:data|dev|etc|home|mnt|opt|proc|root|run|srv|sys|tmp|usr|var)/ ) ({_QUOTE})"
    r"""(?: (?<=")[^"\n]{4,} | (?<=')[^'\n]{4,} | [^\s"',;}\]]{4,} )"""
)
_PATTERNS = (
    # Private keys, whole.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(rf"(?i)\b(bearer|basic) +{_WORD}{{{SHORTEST},}}"), rf"\1 {LEFT_OUT}"),
    # Tokens that say by their beginning what they are.
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-)[\w-]{6,}"), LEFT_OUT),
    (re.compile(r"\bherd-\d+-[\w-]{20,}"), LEFT_OUT),
    # Name and password in front of a host.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^/\s:@]+:[^/\s@]+@"), rf"\1{LEFT_OUT}@"),
    # Options with their values, in a command line or in a list of words. One whose name ends in -file says no secret.
    (
        re.compile(
            rf"(?ix) ( (?<![\w-]) (?: --(?:[\w-]*[_-])?(?:keys?|{_NAME}) | -hft ) {_QUOTE}"
            rf" (?: = | [ \t]+ | \s*,\s* | \s*\n\s*-[ ]+ ) ) (?! {_QUOTE}--) {_VALUE}"
        ),
        rf"\1\2{LEFT_OUT}",
    ),
    # Names of settings, of variables and of JSON.
    (
        re.compile(rf"(?ix) ( (?<![\w-]) [\w-]* (?:{_NAME}) {_QUOTE} \s* [=:] \s* ) {_VALUE}"),
        rf"\1\2{LEFT_OUT}",
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
