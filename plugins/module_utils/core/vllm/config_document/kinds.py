# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of the configuration's values. Each reads a scalar as written, and describes itself as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError
from ...slurm import queue
from ...text import bytes_of
from . import findings, tree

#: Longest text, in characters.
LONGEST = 256
_DIGITS = re.compile(r"[+-]?[0-9]{1,18}")
_OTHER_BASE = re.compile(r"0[xX][0-9a-fA-F]{1,15}|0o[0-7]{1,15}|0b[01]{1,50}")
_FLOAT = re.compile(r"\+?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,2})?")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
#: A path that needs no quotes in a shell script, in a directive of sbatch or in PATH.
_PATH = re.compile(r"/[A-Za-z0-9_./@+,=~-]*")
#: Formats of C(sbatch --time).
TIME = r"[0-9]{1,6}(:[0-9]{1,2}){0,2}|[0-9]{1,3}-[0-9]{1,2}(:[0-9]{1,2}){0,2}"
_MEMORY = re.compile(r"([0-9]{1,12})([KMGT]?)", re.IGNORECASE)
#: Longest time limit, in seconds.
LONGEST_TIME = 366 * 86400


class Kind:
    """A type of values."""

    @property
    def expected(self) -> str:
        """The value as a noun phrase, for errors and pages."""
        raise NotImplementedError

    def read(self, node: tree.Node, variables: Mapping[str, str] | None) -> Any:
        """Return the value of a node that is not empty.

        :param variables: environment variables for paths; None leaves paths as they are written.
        :raises InvalidInputError: if it has another type, or is out of range.
        """
        if not isinstance(node, tree.Scalar):
            raise InvalidInputError(self.expected, tree.kind_of(node), "write one value after the colon")
        return self._value(node, variables)

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> Any:
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return JSON Schema's description of the type."""
        raise NotImplementedError

    def notice(self, value: Any) -> str:
        """Return a sentence about a valid value that may surprise its author; empty for none."""
        del value
        return ""


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number in decimal digits."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> int:
        del variables
        text = scalar.text
        if scalar.quoted:
            remedy = "remove the quotes" if _DIGITS.fullmatch(text) else "write digits only, without quotes"
            raise InvalidInputError(self.expected, f"the text {tree.shown(scalar)}", remedy)
        if not _DIGITS.fullmatch(text) and not re.fullmatch(r"[+-]?[0-9]+", text):
            raise InvalidInputError(self.expected, tree.shown(scalar), self._remedy(text))
        if len(text.lstrip("+-")) > 1 and text.lstrip("+-").startswith("0"):
            raise InvalidInputError(
                self.expected, text, f"write {int(text)}, since YAML takes a number with a leading zero for octal"
            )
        if not _DIGITS.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise InvalidInputError(self.expected, tree.shown(scalar), "write a number of this range")
        return int(text)

    @staticmethod
    def _remedy(text: str) -> str:
        if _OTHER_BASE.fullmatch(text):
            return f"write {int(text, 0)}"
        plain = re.sub(r"\.0*$|[_,' ]", "", text)
        return f"write {plain}" if _DIGITS.fullmatch(plain) else "write digits only"

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Fraction(Kind):
    """A number above 0 and up to 1."""

    @property
    def expected(self) -> str:
        return "a number above 0 and up to 1"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> float:
        del variables
        number = scalar.text.replace(",", ".")
        if scalar.quoted and _FLOAT.fullmatch(scalar.text):
            raise InvalidInputError(self.expected, f"the text {tree.shown(scalar)}", "remove the quotes")
        if number.endswith("%") and _FLOAT.fullmatch(number[:-1]):
            raise InvalidInputError(self.expected, tree.shown(scalar), f"write {float(number[:-1]) / 100:g}")
        if scalar.quoted or not _FLOAT.fullmatch(scalar.text):
            remedy = f"write {number}" if _FLOAT.fullmatch(number) else "write a number such as 0.90"
            raise InvalidInputError(self.expected, tree.shown(scalar), remedy)
        if not 0 < float(number) <= 1:
            raise InvalidInputError(self.expected, scalar.text, "write a fraction such as 0.90")
        return float(number)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    @property
    def expected(self) -> str:
        return "true or false"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> bool:
        del variables
        word = scalar.text.lower()
        if scalar.quoted or word not in (*_TRUE, *_FALSE):
            remedy = "remove the quotes" if scalar.quoted and word in (*_TRUE, *_FALSE) else "write true or false"
            raise InvalidInputError(self.expected, tree.shown(scalar), remedy)
        return word in _TRUE

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text(Kind):
    """A line of text.

    :param pattern: regular expression of the whole text, the same in Python and in JSON Schema.
    :param noun: the value as a noun phrase.
    """

    pattern: str
    noun: str
    remedy: str

    @property
    def expected(self) -> str:
        return self.noun

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> str:
        del variables
        if len(scalar.text) > LONGEST or not re.fullmatch(self.pattern, scalar.text):
            raise InvalidInputError(self.expected, tree.shown(scalar), self.remedy)
        return scalar.text

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({self.pattern})$", "maxLength": LONGEST}


@dataclass(frozen=True)
class Choice(Kind):
    """One of some words, in any case.

    :param values: in the case that the program wants.
    :param remedies: the next step for words that a user may well expect to be there.
    :param noun: the value as a noun phrase, if there are too many values for a sentence.
    """

    values: tuple[str, ...]
    remedies: Mapping[str, str]
    noun: str = ""

    @property
    def expected(self) -> str:
        return self.noun or findings.either(self.values)

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> str:
        del variables
        for value in self.values:
            if scalar.text.lower() == value.lower():
                return value
        near = findings.nearest(scalar.text, self.values)
        choose = f"choose {findings.either(self.values)}" if self.noun else "choose one of them"
        only = near or (self.values[0] if len(self.values) == 1 else "")
        remedy = self.remedies.get(scalar.text.lower()) or (f"write {only}" if only else choose)
        raise InvalidInputError(self.expected, tree.shown(scalar), remedy)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


@dataclass(frozen=True)
class TimeLimit(Kind):
    """A time limit in a format of C(sbatch --time)."""

    @property
    def expected(self) -> str:
        return "a time limit (minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS)"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> str:
        del variables
        if not re.fullmatch(TIME, scalar.text):
            raise InvalidInputError(self.expected, tree.shown(scalar), "write one such as 12:00:00 or 1-12:00:00")
        limit = queue.seconds(scalar.text)
        if limit < 60:
            raise InvalidInputError(
                self.expected, f"{tree.shown(scalar)}, which is {limit} seconds", "write at least one minute"
            )
        if limit > LONGEST_TIME:
            raise InvalidInputError(self.expected, f"{tree.shown(scalar)}, which is over a year", "write a shorter one")
        return scalar.text

    def notice(self, value: Any) -> str:
        parts = value.split(":")
        if len(parts) == 2 and "-" not in value:
            return f"Slurm reads {value} as {int(parts[0])} minutes and {int(parts[1])} seconds; hours need HH:MM:SS."
        return ""

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": f"^({TIME})$", "minimum": 1}


@dataclass(frozen=True)
class Memory(Kind):
    """A size of memory as Slurm reads it, such as C(64G)."""

    @property
    def expected(self) -> str:
        return "a size of at least 1G, as a whole number with K, M, G or T"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> str:
        del variables
        text = scalar.text
        found = _MEMORY.fullmatch(text)
        if not found:
            short = re.sub(r"(?i)^([0-9]{1,12})\s*([KMGT])(i?b|)$", r"\1\2", text)
            remedy = f"write {short.upper()}" if _MEMORY.fullmatch(short) else "write one such as 64G"
            raise InvalidInputError(self.expected, tree.shown(scalar), remedy)
        size = bytes_of(text if found[2] else f"{text}M") or 0
        if not 1 << 30 <= size <= 1 << 50:
            unit = "" if found[2] else ", which Slurm reads as MiB"
            remedy = f"write {text}G" if not found[2] and int(text) else "write one such as 64G"
            raise InvalidInputError(self.expected, f"{text}{unit}", remedy)
        return text.upper()

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"], "pattern": "^[0-9]+[KMGTkmgt]?$", "minimum": 1024}


@dataclass(frozen=True)
class Directory(Kind):
    """An absolute path, which may begin with ~ and may name environment variables ($USER)."""

    @property
    def expected(self) -> str:
        return "an absolute path of ASCII letters, digits and . _ - / @ + , = ~"

    def _value(self, scalar: tree.Scalar, variables: Mapping[str, str] | None) -> str:
        text = f"$HOME{scalar.text[1:]}" if scalar.text == "~" or scalar.text.startswith("~/") else scalar.text
        for name in [braced or bare for braced, bare in _VARIABLE.findall(text)]:
            if variables is not None and not variables.get(name):
                raise InvalidInputError(
                    "variables that are set where the command runs",
                    f"${name} in {tree.shown(scalar)}",
                    "set it, or write the path out",
                )
        path = _VARIABLE.sub(lambda found: (variables or {}).get(found[1] or found[2], "/variable"), text)
        if len(path) > 4 * LONGEST or not _PATH.fullmatch(path):
            remedy = "begin it with /" if not text.startswith(("/", "$", "~")) else "choose such a path"
            raise InvalidInputError(self.expected, tree.shown(scalar), remedy)
        return text if variables is None else path

    def notice(self, value: Any) -> str:
        if "YOUR_USERNAME" in value or value.startswith("/path/to/"):
            return f"{value} is the placeholder of an example; write your own path, or leave it empty."
        return ""

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[/~$][^\s:;%'\"()\\]*$", "maxLength": 4 * LONGEST}


@dataclass(frozen=True)
class Arguments(Kind):
    """A list of arguments for the command line of vLLM.

    :param reserved: options that the job sets, each with what the user writes instead.
    """

    reserved: Mapping[str, str]

    @property
    def expected(self) -> str:
        return 'a list of arguments such as ["--enable-prefix-caching"]'

    def read(self, node: tree.Node, variables: Mapping[str, str] | None) -> tuple[str, ...]:
        del variables
        if not isinstance(node, tree.Sequence):
            remedy = "write each argument as an item of a list"
            if isinstance(node, tree.Scalar) and node.text.startswith("-"):
                remedy = f"write [{', '.join(repr(word) for word in node.text.split()[:8])}]"
            raise InvalidInputError(self.expected, tree.kind_of(node), remedy)
        return tuple(self.argument(item) for item in node.items)

    def argument(self, item: tree.Node) -> str:
        """Return one argument of the list.

        :raises InvalidInputError: if it is no argument, or one that the job sets.
        """
        if not isinstance(item, tree.Scalar) or item.is_empty or len(item.text) > 4 * LONGEST:
            raise InvalidInputError(self.expected, f"{tree.kind_of(item)} as an item", "write one argument an item")
        if not item.text.isprintable():
            raise InvalidInputError("printable arguments", tree.shown(item), "remove the control characters")
        if item.text.startswith("-") and re.search(r"\s", item.text.partition("=")[0]):
            words = ", ".join(repr(word) for word in item.text.split()[:8])
            raise InvalidInputError("one argument an item", tree.shown(item), f"write {words}")
        option = item.text.partition("=")[0].replace("_", "-")
        # vLLM also accepts the beginning of an option's name.
        is_short = len(option) > 4 and option.startswith("--")
        for reserved, remedy in self.reserved.items():
            if option == reserved or (is_short and reserved.startswith(option)):
                raise InvalidInputError("arguments that the job does not set", tree.shown(item), remedy)
        return item.text

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": ["string", "number"]}}
