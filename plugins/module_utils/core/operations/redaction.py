# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace known secrets, and words that look like secrets, in the text of a support bundle."""

from __future__ import annotations

import re
from collections.abc import Iterable

LEFT_OUT = "[left out]"
#: Shorter words are not replaced, since they occur elsewhere with another meaning.
SHORTEST = 6

_WORD = r"[\w.~+/=-]"
_NAME = r"api[_-]?keys?|token|secret|passw(?:or)?d|passphrase|credentials?"
# A quotation mark, which may be escaped.
_QUOTE = r"""(?:\\?["'])?"""
# The value after a name. A path is no secret, but a secret may also begin with a slash.
_VALUE = (
    rf"(?! {_QUOTE} /(?:data|dev|etc|home|mnt|opt|proc|root|run|srv|sys|tmp|usr|var)/ ) ({_QUOTE})"
    r"""(?: (?<=")[^"\n]{4,} | (?<=')[^'\n]{4,} | [^\s"',;}\]]{4,} )"""
)
_PATTERNS = (
    # Private keys.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), LEFT_OUT),
    (re.compile(rf"(?i)\b(bearer|basic) +{_WORD}{{{SHORTEST},}}"), rf"\1 {LEFT_OUT}"),
    # Tokens with a known prefix.
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[a-z]-)[\w-]{6,}"), LEFT_OUT),
    (re.compile(r"\bherd-\d+-[\w-]{20,}"), LEFT_OUT),
    # User name and password in a URL.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^/\s:@]+:[^/\s@]+@"), rf"\1{LEFT_OUT}@"),
    # Values of options, in a command line or in a list. An option whose name ends in -file has no secret.
    (
        re.compile(
            rf"(?ix) ( (?<![\w-]) (?: --(?:[\w-]*[_-])?(?:keys?|{_NAME}) | -hft ) {_QUOTE}"
            rf" (?: = | [ \t]+ | \s*,\s* | \s*\n\s*-[ ]+ ) ) (?! {_QUOTE}--) {_VALUE}"
        ),
        rf"\1\2{LEFT_OUT}",
    ),
    # Values of settings, variables and JSON members.
    (
        re.compile(rf"(?ix) ( (?<![\w-]) [\w-]* (?:{_NAME}) {_QUOTE} \s* [=:] \s* ) {_VALUE}"),
        rf"\1\2{LEFT_OUT}",
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace secrets in a text, the longest first, since a secret may contain another."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, LEFT_OUT)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def secrets_in(text: str) -> list[str]:
    """Return the secrets of a protected file: its words, without comments."""
    lines = (line.strip() for line in text.splitlines())
    return [
        word for line in lines if not line.startswith(("#", "-----")) for word in line.split() if len(word) >= SHORTEST
    ]
