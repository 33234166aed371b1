# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration as written: scalars, lists and mappings, each with its line.

A scalar keeps its text. The table of keys decides its type, so that YAML's own guesses never count: C(12:00:00) stays a
time, C(08006) is no octal number, and C(no) is only false where a truth value belongs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

#: Unquoted words that YAML takes for no value.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
#: The key whose value is one or more mappings to take over.
_MERGE = "<<"


@dataclass(frozen=True)
class Scalar:
    """:param quoted: whether quotes, or a block of text, exclude any other type."""

    text: str
    line: int
    quoted: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the value is null or the empty text."""
        return not self.text if self.quoted else self.text in _NULLS


@dataclass(frozen=True)
class Sequence:
    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True)
class Mapping:
    """:param entries: in the order of the file; a key that is written twice is there twice."""

    entries: tuple[Entry, ...]
    line: int
    file: str = "config.yaml"


Node = Union[Scalar, Sequence, Mapping]


def kind_of(node: Node) -> str:
    """Name what stands in the place of a value, for error messages."""
    if isinstance(node, Mapping):
        return f"keys ({shown(node.entries[0].key)}, …)" if node.entries else "an empty mapping"
    if isinstance(node, Sequence):
        return "a list"
    return shown(node)


def shown(scalar: Scalar) -> str:
    """Show a value as it is written, in at most 80 characters."""
    text = repr(scalar.text) if scalar.quoted or not scalar.text.isprintable() else scalar.text
    return text if len(text) <= 80 else f"{text[:79]}…"


def merged(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Replace each merge key by the entries of its mappings whose keys are not written beside it.

    A merge key whose value is no mapping stays, and the table of keys then refuses it.
    """
    written = tuple(entries)
    own = [entry for entry in written if not _mappings(entry)]
    names = {entry.key.text for entry in own}
    for entry in written:
        for mapping in _mappings(entry):
            own += [taken for taken in mapping.entries if taken.key.text not in names]
            names.update(taken.key.text for taken in mapping.entries)
    return tuple(own)


def _mappings(entry: Entry) -> tuple[Mapping, ...]:
    if entry.key.text != _MERGE or entry.key.quoted:
        return ()
    values = entry.value.items if isinstance(entry.value, Sequence) else (entry.value,)
    return tuple(value for value in values if isinstance(value, Mapping)) if values else ()


def in_file(root: Mapping, file: str) -> Mapping:
    """Return the root with the name of its file, which error messages begin with."""
    return dataclasses.replace(root, file=file)
