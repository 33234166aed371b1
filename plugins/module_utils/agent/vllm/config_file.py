# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read C(config.yaml) of vLLM's jobs with the line of each value.

The file is not trusted. Its size, depth and number of values are bounded, also after its aliases are expanded. Tags,
which could construct objects, are refused. PyYAML only splits the text into events; the types come from the table of
keys.
"""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ...core.errors import InvalidInputError, NotFoundError
from ...core.vllm import config
from ...core.vllm.config_document import tree
from ...core.vllm.config_document.findings import Finding, InvalidConfigError
from ..common.regular_files import read_regular

try:
    import yaml

    HAS_YAML = True
except ImportError:
    HAS_YAML = False

MOST_BYTES = 256 << 10
MOST_DEPTH = 8
#: Values of the document, counted again for each alias.
MOST_VALUES = 20_000
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: What PyYAML says, and what the author does about it.
_REMEDIES = (
    ("'\\t'", "a tab stands where YAML allows only spaces: write spaces"),
    ("mapping values are not allowed here", "a colon stands where no key can be: correct the indentation, "
     "write a space after the colon of the line before, or quote the value"),
    ("expected <block end>", "the indentation differs from that of the lines above: align the keys of a section"),
    ("could not find expected ':'", "a key has no colon: write KEY: VALUE, with a space after the colon"),
    ("unexpected end of stream", "a quote is not closed: add the missing quotation mark"),
    ("expected ',' or", "a bracket is not closed, or a comma is missing: correct the list"),
    ("found undefined alias", "an alias names no earlier anchor: define it with & above"),
    ("found duplicate anchor", "an anchor is defined twice: rename one"),
    ("cannot start any token", "a value begins with a character that YAML reserves: quote the value"),
    ("unknown escape character", "a backslash begins no known escape: use single quotes"),
)  # fmt: skip


def load(path: Path) -> config.Config:
    """Read a configuration, with the environment variables that its paths name.

    :raises InvalidConfigError: with all errors of the file.
    """
    return config.parse(read(path), {**_account(), **os.environ})


def _account() -> dict[str, str]:
    """Return HOME and USER of the account, which an environment without a login lacks."""
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return {}
    return {"HOME": entry.pw_dir, "USER": entry.pw_name}


def read(path: Path) -> tree.Mapping:
    """Read a file as a tree with lines.

    :raises NotFoundError: if there is no such file, or no PyYAML.
    :raises InvalidConfigError: if the file is not one YAML document of keys.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise NotFoundError.plain(
            f"there is no configuration at {path}", "create it, or name another file with --config"
        ) from error
    except OSError as error:
        # The text of an OSError of the system repeats its number and the path; others have no strerror.
        reason = f"{path} cannot be read: {error.strerror}" if error.strerror else str(error)
        raise InvalidInputError.plain(reason, "name a configuration file of your own with --config") from error
    return parse(_text(data, str(path)), str(path))


def parse(text: str, file: str) -> tree.Mapping:
    """Parse a text as a tree with lines.

    :param file: its name in error messages.
    """
    if not HAS_YAML:
        raise NotFoundError.plain(
            f"PyYAML is not installed for {sys.executable}", f"install it: {sys.executable} -m pip install PyYAML"
        )
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        _refuse(file, mark.line + 1 if mark else builder.line, _sentence(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(file, line, f"the character {error.character:#06x} is not allowed in YAML: remove it.")
    except (ValueError, OverflowError):
        # PyYAML converts an escape such as "\UFFFFFFFF" without a check.
        _refuse(file, builder.line, "a value here or below has an escape of no character: use single quotes.")
    return builder.root()


def _refuse(file: str, line: int, text: str) -> NoReturn:
    raise InvalidConfigError(file, [Finding(line, "", text)])


def _text(data: bytes, file: str) -> str:
    """Decode a file; a byte order mark of UTF-8 is allowed."""
    if data.startswith(_UTF16):
        _refuse(file, 1, "the file is in UTF-16: save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(file, line, f"byte {data[error.start]:#04x} is not UTF-8: save the file as UTF-8.")


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """Explain what PyYAML found, and what to do about it."""
    said = ", ".join(str(text) for text in (error.context, error.problem) if text)
    for part, remedy in _REMEDIES:
        if part in said:
            return f"this is not YAML, because {remedy}."
    return f"this is not YAML: {said[:200]}."


@dataclass
class _Open:
    """A mapping or list whose end is not read yet."""

    start: yaml.NodeEvent
    line: int
    before: int
    nodes: list[tree.Node] = field(default_factory=list)


class _Builder:
    """Build the tree from PyYAML's events, within the bounds."""

    def __init__(self, file: str) -> None:
        self.file, self.line, self.values = file, 1, 0
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[tree.Node, int]] = {}
        self._roots: list[tree.Node] = []

    def add(self, event: yaml.Event) -> None:
        """Take the next event."""
        self.line = event.start_mark.line + 1 if event.start_mark else self.line
        if isinstance(event, yaml.DocumentStartEvent) and self._roots:
            _refuse(self.file, self.line, "a second document begins here: remove the line ---, or what follows it.")
        if isinstance(event, yaml.AliasEvent):
            node, size = self._anchor(event.anchor or "")
            self._count(size)
            self._place(node)
        elif isinstance(event, yaml.ScalarEvent):
            self._begin(event)
            self._end(event, tree.Scalar(event.value, self.line, event.style is not None), self.values - 1)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event)
            self._open.append(_Open(event, self.line, self.values - 1))
            if len(self._open) > MOST_DEPTH:
                _refuse(self.file, self.line, f"values are nested more than {MOST_DEPTH} deep: remove the inner ones.")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            done = self._open.pop()
            self._end(done.start, self._collection(done), done.before)

    def root(self) -> tree.Mapping:
        """Return the document's keys."""
        root = self._roots[0] if self._roots else tree.Scalar("", 1)
        if isinstance(root, tree.Scalar) and root.is_empty:
            _refuse(self.file, 1, "the file has no keys: write active_model, slurm and models.")
        if not isinstance(root, tree.Mapping):
            _refuse(self.file, root.line, f"expected keys such as active_model, found {tree.kind_of(root)}.")
        return tree.in_file(root, self.file)

    def _begin(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = str(tag).replace("tag:yaml.org,2002:", "!!")[:40]
            _refuse(self.file, self.line, f"the tag {name!r} is not allowed: write the value without a tag.")
        self._count(1)

    def _count(self, size: int) -> None:
        self.values += size
        if self.values > MOST_VALUES:
            _refuse(self.file, self.line, f"the file has more than {MOST_VALUES} values: remove some, or its aliases.")

    def _end(self, start: yaml.NodeEvent, node: tree.Node, before: int) -> None:
        if start.anchor:
            self._anchors[start.anchor] = node, self.values - before
        self._place(node)

    def _place(self, node: tree.Node) -> None:
        (self._open[-1].nodes if self._open else self._roots).append(node)

    def _collection(self, done: _Open) -> tree.Node:
        if isinstance(done.start, yaml.SequenceStartEvent):
            return tree.Sequence(tuple(done.nodes), done.line)
        entries = []
        for key, value in zip(done.nodes[::2], done.nodes[1::2]):
            if not isinstance(key, tree.Scalar):
                kind = "a list" if isinstance(key, tree.Sequence) else "a mapping"
                _refuse(
                    self.file,
                    key.line,
                    f"{kind} stands in the place of a key: write a name, and no {{{{ template }}}}.",
                )
            entries.append(tree.Entry(key, value))
        return tree.Mapping(tree.merged(entries), done.line)

    def _anchor(self, name: str) -> tuple[tree.Node, int]:
        if name not in self._anchors:
            _refuse(self.file, self.line, f"the alias *{name[:40]} names no value above it: define &{name[:40]} first.")
        return self._anchors[name]
