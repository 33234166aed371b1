# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors and notices about a configuration: each is one sentence with the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import HerdError, InvalidInputError

#: Errors that are shown; a file with more of them is seldom a configuration.
MOST_SHOWN = 50


@dataclass(frozen=True, order=True)
class Finding:
    """Something about a document.

    :param line: 0 for a document that is no file, but a variable of the inventory.
    :param key: path of the key such as C(models.glm-4.7.port), or empty for the file.
    """

    line: int
    key: str
    text: str

    def sentence(self, file: str) -> str:
        """Return the finding in the form that editors and compilers use: C(FILE:LINE: KEY: TEXT)."""
        where = f"{file}:{self.line}" if self.line else file
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class InvalidConfigError(InvalidInputError):
    """A configuration file has errors.

    :ivar findings: all of them, by line.
    """

    def __init__(self, file: str, findings: Iterable[Finding]) -> None:
        self.file = file
        self.findings = tuple(sorted(findings))
        super().__init__("", f"{file} has {len(self.findings)} errors", "correct them, then run the command again")

    def __str__(self) -> str:
        sentences = [finding.sentence(self.file) for finding in self.findings[:MOST_SHOWN]]
        if len(sentences) > 1:
            sentences.insert(0, f"{self.found}:")
        if len(self.findings) > MOST_SHOWN:
            sentences.append(f"{len(self.findings) - MOST_SHOWN} more errors are not shown.")
        return "\n".join(sentences)


@dataclass
class Report:
    """Collect the findings of one file."""

    file: str
    errors: list[Finding] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)

    def error(self, line: int, key: str, error: HerdError) -> None:
        """Add an error; its text becomes the sentence."""
        self.errors.append(Finding(line, key, str(error)))

    def notice(self, line: int, key: str, text: str) -> None:
        """Add a sentence that the user should know, with which the configuration is still valid."""
        self.notices.append(Finding(line, key, text))

    def finish(self) -> tuple[Finding, ...]:
        """Return the notices by line.

        :raises InvalidConfigError: with all errors, if there is one.
        """
        if self.errors:
            raise InvalidConfigError(self.file, self.errors)
        return tuple(sorted(self.notices))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like another one; empty if none is like it. Case does not count."""
    by_lower = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.55)
    return by_lower[near[0]] if near else ""


def either(words: Sequence[str]) -> str:
    """Join words as alternatives: C(a, b or c)."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def both(words: Sequence[str]) -> str:
    """Join words as a list: C(a, b and c)."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
