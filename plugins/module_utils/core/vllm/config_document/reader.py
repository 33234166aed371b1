# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read each key of the document by the table of keys, and collect the errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError
from .. import config_keys
from ..config_keys import MODEL, REQUIRED, Key
from . import findings, kinds, tree
from .findings import Report

#: Lines of a repeated key that an error names.
_MOST_LINES = 10


@dataclass(frozen=True)
class Document:
    """Values that were read; a key with an error is absent, one that is not written has its default.

    :param sections: values by section, C("") for the top level.
    :param lines: line of each written key, by path.
    """

    sections: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    lines: dict[str, int]


class _Reader:
    def __init__(self, report: Report, variables: Mapping[str, str] | None) -> None:
        self.report, self.variables = report, variables
        self.lines: dict[str, int] = {}

    def entries(self, mapping: tree.Mapping, path: str) -> dict[str, list[tree.Entry]]:
        """Group a mapping's entries by key, and report keys that are written twice."""
        groups: dict[str, list[tree.Entry]] = {}
        for entry in mapping.entries:
            groups.setdefault(entry.key.text, []).append(entry)
        for name, group in groups.items():
            full = f"{path}{name}"
            self.lines[full] = group[-1].key.line
            if len(group) > 1:
                numbers = [str(entry.key.line) for entry in group[:_MOST_LINES]]
                lines = findings.both([*numbers, "more"] if len(group) > _MOST_LINES else numbers)
                nested = all(isinstance(entry.value, tree.Mapping) for entry in group)
                self.report.error(
                    group[-1].key.line,
                    _shown(full),
                    InvalidInputError.plain(
                        f"the key is written on lines {lines}, and YAML keeps only the last one",
                        f"write {_shown(name)} once, with the keys of all" if nested else "remove all but one",
                    ),
                )
        return groups

    def mapping(self, entry: tree.Entry, path: str, hint: str) -> tree.Mapping | None:
        """Return a section's mapping, empty if it has no value; None, with an error, for other values."""
        node = entry.value
        if isinstance(node, tree.Mapping):
            return node
        if isinstance(node, tree.Scalar) and node.is_empty:
            return tree.Mapping((), entry.key.line)
        self.report.error(node.line, path, InvalidInputError(f"keys below {path}", tree.kind_of(node), hint))
        return None

    def joined(self, entries: list[tree.Entry], path: str, hint: str) -> dict[str, list[tree.Entry]] | None:
        """Return the entries of all occurrences of a section; None if no occurrence has keys."""
        joined: dict[str, list[tree.Entry]] = {}
        mappings = [self.mapping(entry, path, hint) for entry in entries]
        for mapping in mappings:
            for name, group in self.entries(mapping, f"{path}.").items() if mapping else ():
                joined.setdefault(name, []).extend(group)
        return joined if any(mapping is not None for mapping in mappings) else None

    def section(
        self, groups: Mapping[str, list[tree.Entry]], section: str, path: str, line: int, also: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Read the values of a section's keys.

        :param path: its path with a dot, or empty for the top level.
        :param line: where a missing key is reported.
        :param also: known names that are no values.
        """
        keys = config_keys.in_section(section)
        for name, group in groups.items():
            if name not in keys and name not in also:
                self.report.error(group[0].key.line, _shown(f"{path}{name}"), _unknown(name, section, (*keys, *also)))
        values: dict[str, Any] = {}
        for name, key in keys.items():
            if name not in groups:
                self.default(key, path, line, values)
            # Every occurrence is read, so that all errors of a repeated section are found at once.
            for entry in groups.get(name, ()):
                self.value(key, entry, path, values)
        return values

    def default(self, key: Key, path: str, line: int, values: dict[str, Any]) -> None:
        if key.default == REQUIRED:
            error = InvalidInputError.plain(f"the key {key.name} is missing", f"add it: {key.meaning}")
            self.report.error(line, f"{path}{key.name}", error)
        else:
            values[key.name] = key.default

    def value(self, key: Key, entry: tree.Entry, path: str, values: dict[str, Any]) -> None:
        node, full = entry.value, f"{path}{key.name}"
        if isinstance(node, tree.Scalar) and node.is_empty:
            if key.default == REQUIRED:
                error = InvalidInputError.plain("the value is empty", f"write {key.meaning}")
                self.report.error(entry.key.line, full, error)
            else:
                values[key.name] = key.default
            return
        if isinstance(node, tree.Sequence) and isinstance(key.kind, kinds.Arguments):
            self.arguments(key.kind, node, full)
        try:
            values[key.name] = key.kind.read(node, self.variables)
        except InvalidInputError as error:
            if not isinstance(node, tree.Sequence) or not isinstance(key.kind, kinds.Arguments):
                self.report.error(node.line, full, error)
            return
        notice = key.kind.notice(values[key.name])
        if notice:
            self.report.notice(node.line, full, notice)

    def arguments(self, kind: kinds.Arguments, node: tree.Sequence, path: str) -> None:
        """Report each wrong argument of a list at its own line."""
        for item in node.items:
            try:
                kind.argument(item)
            except InvalidInputError as error:
                self.report.error(item.line, path, error)

    def models(self, entries: list[tree.Entry]) -> dict[str, dict[str, Any]]:
        """Read the models of all occurrences of the section."""
        found: dict[str, dict[str, Any]] = {}
        for section in entries:
            mapping = self.mapping(section, "models", "write each model as a key, and its settings below it")
            if mapping is not None and not mapping.entries:
                self.report.error(section.key.line, "models", InvalidInputError.plain("there is no model", "add one"))
            for key, group in self.entries(mapping, "models.").items() if mapping else ():
                path = _shown(f"models.{key}")
                if key in config_keys.in_section(MODEL) and not isinstance(group[0].value, tree.Mapping):
                    error = InvalidInputError.plain("the key belongs to a model", "indent it below the model's key")
                    self.report.error(group[0].key.line, path, error)
                    continue
                if not re.fullmatch(config_keys.MODEL_KEY, key):
                    error = InvalidInputError(
                        "a key of at most 64 letters, digits, dots, underscores and hyphens",
                        tree.shown(group[0].key),
                        "rename it; the name for the API goes to name",
                    )
                    self.report.error(group[0].key.line, path, error)
                groups = self.joined(group, path, "write huggingface_id, port and the other keys below it")
                values = {} if groups is None else self.section(groups, MODEL, f"{path}.", group[0].key.line)
                # A key that cannot name files is no model for later rules, which would show it.
                if re.fullmatch(config_keys.MODEL_KEY, key):
                    found[key] = values
        return found


def read(root: tree.Mapping, report: Report, variables: Mapping[str, str] | None) -> Document:
    """Read the document's values by the table of keys."""
    reader = _Reader(report, variables)
    top = reader.entries(root, "")
    sections = {"": reader.section(top, "", "", root.line, (*config_keys.SECTIONS, "models"))}
    for name in config_keys.SECTIONS:
        sections[name] = {}
        entries = top.get(name) or [tree.Entry(tree.Scalar(name, root.line), tree.Mapping((), root.line))]
        groups = reader.joined(entries, name, f"write its keys below {name}, each with two more spaces")
        if groups is not None:
            sections[name] = reader.section(groups, name, f"{name}.", entries[0].key.line)
    if "models" not in top:
        missing = InvalidInputError.plain("the key models is missing", "add it, with a key for each model below it")
        report.error(root.line, "models", missing)
    return Document(sections, reader.models(top.get("models", [])), reader.lines)


def _shown(path: str) -> str:
    text = path if path.isprintable() else repr(path)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _unknown(name: str, section: str, known: tuple[str, ...]) -> InvalidInputError:
    """Make the error for an unknown key, with the key or the place that its author most likely meant."""
    near, option = findings.nearest(name, known), f"--{name.replace('_', '-')}"
    homes = [key.section for key in config_keys.KEYS if key.name == name and key.section]
    elsewhere = f"below {findings.either([home.replace(MODEL, 'a model') for home in homes])}"
    if name != name.strip():
        remedy = "replace the no-break spaces around it by spaces"
    elif name == "<<":
        remedy = "write the alias of a mapping after <<, such as <<: *defaults"
    elif homes:
        remedy = f"write {near} here, or {name} {elsewhere}" if near else f"write it {elsewhere}"
    elif section in ("vllm", MODEL) and option in config_keys.RESERVED_OPTIONS:
        remedy = config_keys.RESERVED_OPTIONS[option]
    elif near:
        remedy = f"write {near}, the nearest known key"
    elif section == "vllm":
        remedy = f"write {_shown(option)} as an item of extra_arguments"
    else:
        place = section.replace(MODEL, "a model") or "the top level"
        remedy = f"remove it; {place} has {findings.both(known)}"
    return InvalidInputError.plain("the key is unknown", remedy)
