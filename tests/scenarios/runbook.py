# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the pages of docs/operations as data: commands, their hosts, and the output that a page shows.

A fenced block C(console) has commands, each behind a prompt that names its host, and below each command its output.
In the output, C(…) stands for any text; each other part must be printed word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Every page of a symptom has these headings, in this order.
CHECK, CAUSE, FIX, VERIFY = SECTIONS = ("Check", "Cause", "Fix", "Verify")
#: The hosts that a prompt names: the controller, in the root of the clone; root on a host of the herd, or on a
#: former one; a user on the login node, in the work space of vLLM's jobs.
PROMPTS = {
    "$": "controller", "head#": "head", "worker#": "worker", "former#": "former", "slurm-ctl#": "slurm-ctl",
    "login$": "login", "monitoring#": "monitoring",
}  # fmt: skip
#: Stands for any text.
ANYTHING = "…"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_MESSAGE = re.compile(r"^- `([^`]+)`", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command to type, and lines of its output."""

    where: str
    text: str
    shows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A page: the messages in its index, and the commands of each section."""

    name: str
    title: str
    messages: tuple[str, ...]
    text: str
    sections: dict[str, tuple[Command, ...]] = field(default_factory=dict)


def _commands(text: str) -> Iterator[Command]:
    for block in _BLOCK.findall(text):
        found: list[tuple[str, str, list[str]]] = []
        for line in block.splitlines():
            prompt, _space, rest = line.partition(" ")
            if prompt in PROMPTS and rest:
                found.append((PROMPTS[prompt], rest, []))
            elif not found:
                raise ValueError(f"{line!r} stands before any command")
            elif line.strip():
                found[-1][2].append(line)
        for where, command, shows in found:
            yield Command(where, command, tuple(shows))


def read(path: Path) -> Page:
    """Read one page."""
    text = path.read_text(encoding="utf-8")
    parts = _HEADING.split(text)
    before, rest = parts[0], parts[1:]
    title = before.splitlines()[0].removeprefix("# ")
    sections = {name: tuple(_commands(body)) for name, body in zip(rest[::2], rest[1::2], strict=True)}
    if "```" in before:
        sections = {"": tuple(_commands(before)), **sections}
    return Page(path.stem, title, tuple(_MESSAGE.findall(before)), text, sections)


def missing(command: Command, output: str) -> list[str]:
    """Return the lines of a page that the command did not print in this order."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    at = 0
    for index, shown in enumerate(command.shows):
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in " ".join(shown.split()).split(ANYTHING)))
        hit = next((number for number in range(at, len(lines)) if pattern.search(lines[number])), None)
        if hit is None:
            return list(command.shows[index:])
        at = hit + 1
    return []
