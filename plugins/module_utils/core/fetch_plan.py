# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be fetched: from the words of the inventory to files and the byte segments they are made of.

Two things look alike and are not. *Byte parts* (C(.gguf.part1of2), C(.gguf-split-a)) are one file cut
with a knife; laid end to end they are that file. *Shards* (C(-00001-of-00003.gguf)) are files of their
own, which the engine opens together; laid end to end they are rubbish. This module knows the difference
by name, and refuses a set that is not whole before anything is asked of a server.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import InvalidInputError

SCHEMES = ("http", "https", "file")
SHA256 = re.compile(r"[0-9a-f]{64}")
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
NUMBERED_PART = re.compile(r"(?P<stem>.+\.gguf)\.part(?P<number>\d+)of(?P<count>\d+)")
LETTERED_PART = re.compile(r"(?P<stem>.+\.gguf)-split-(?P<letters>[a-z]+)")


@dataclass(frozen=True)
class Part:
    """One thing on a server; its bytes are a segment of the destination."""

    url: str
    size: int | None = None
    sha256: str | None = None

    @property
    def label(self) -> str:
        """The URL as it may be shown: without user, password and signature."""
        return public_url(self.url)

    @property
    def identity(self) -> str:
        """What tells this address from others, also if they differ only in the part that is not shown."""
        query = urlsplit(self.url).query
        return f"{self.label}#{hashlib.sha256(query.encode()).hexdigest()[:12]}" if query else self.label


@dataclass(frozen=True)
class Target:
    """One file of the destination: its parts, in order, and what is known of the whole."""

    path: str
    parts: tuple[Part, ...]
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def beside(self, suffix: str) -> str:
        """A hidden file of ours in the same directory."""
        return f"{self.path[: len(self.path) - len(self.name)]}.{self.name}.{suffix}"


def public_url(url: str) -> str:
    """A URL without the places in which credentials hide."""
    split = urlsplit(url)
    host = split.netloc.rsplit("@", 1)[-1]
    return split._replace(netloc=host, query="", fragment="").geturl()


def file_name(url: str) -> str:
    """The last component of a URL's path."""
    return unquote(urlsplit(url).path).rsplit("/", 1)[-1]


def plan_targets(
    dest: str,
    url: str | None = None,
    parts: Sequence[Mapping[str, Any]] | None = None,
    shards: Sequence[Mapping[str, Any]] | None = None,
    size: int | None = None,
    sha256: str | None = None,
) -> tuple[Target, ...]:
    """Exactly one of url, parts and shards is given; the result has one target a file."""
    if not dest.startswith("/") or dest.endswith("/"):
        raise InvalidInputError(
            "dest to be the absolute path of a file", repr(dest), "write the full path with the file's name"
        )
    given = [name for name, value in (("url", url), ("parts", parts), ("shards", shards)) if value]
    if len(given) != 1:
        raise InvalidInputError(
            "exactly one of url, parts and shards", " and ".join(given) or "none", "keep the one that applies"
        )
    if shards:
        if size is not None or sha256 is not None:
            raise InvalidInputError(
                "size and sha256 at each shard",
                "them at the whole model, which is not one file",
                "move them to the entries of shards",
            )
        return _shard_targets(dest, [(_part(entry), entry.get("file")) for entry in shards])
    segments = tuple(_part(entry) for entry in (parts or [{"url": url}]))
    _check_parts(segments)
    target = Target(dest, segments, _size(size, dest), _sha256(sha256, dest))
    sizes = [part.size for part in segments if part.size is not None]
    if target.size is not None and len(sizes) == len(segments) and sum(sizes) != target.size:
        raise InvalidInputError(
            f"the sizes of the parts to add up to size {target.size}",
            f"{sum(sizes)} bytes",
            "compare both with what the publisher shows",
        )
    return (target,)


def _part(entry: Mapping[str, Any]) -> Part:
    url = str(entry["url"])
    split = urlsplit(url)
    if split.scheme not in SCHEMES or not file_name(url) or not (split.hostname or split.scheme == "file"):
        raise InvalidInputError(
            "an http, https or file URL that ends in a file name", repr(public_url(url)), "correct the model's source"
        )
    if "@" in split.netloc:
        raise InvalidInputError(
            "a URL without a user and a password", repr(public_url(url)), "give the credential as the token instead"
        )
    return Part(url, _size(entry.get("size"), url), _sha256(entry.get("sha256"), url))


def _size(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if int(value) <= 0:
        raise InvalidInputError(
            f"the size of {public_url(where)} in bytes", str(value), "leave size out if it is not known"
        )
    return int(value)


def _sha256(value: Any, where: str) -> str | None:
    if value is None:
        return None
    digest = str(value).lower()
    if not SHA256.fullmatch(digest):
        raise InvalidInputError(
            f"a sha256 of 64 hexadecimal digits for {public_url(where)}",
            repr(value),
            "copy it again from the publisher's page",
        )
    return digest


def _check_parts(parts: Sequence[Part]) -> None:
    names = [file_name(part.url) for part in parts]
    for name in names:
        shard = SHARD.fullmatch(name)
        if shard and (len(parts) > 1 or int(shard["count"]) > 1):
            raise InvalidInputError(
                "byte parts or one whole file",
                f"{name}, one of {int(shard['count'])} shards, which are never joined",
                "list all shards under shards instead",
            )
    doubles = sorted({part.label for part in parts if sum(part.url == other.url for other in parts) > 1})
    if doubles:
        raise InvalidInputError("each part once", f"{', '.join(doubles)} more than once", "correct the list of parts")
    numbered = [NUMBERED_PART.fullmatch(name) for name in names]
    lettered = [LETTERED_PART.fullmatch(name) for name in names]
    if any(numbered):
        first = next(match for match in numbered if match)
        wanted = [f"{first['stem']}.part{number}of{first['count']}" for number in range(1, int(first["count"]) + 1)]
        _check_names(names, wanted, "parts")
    elif any(lettered):
        first_letters = next(match for match in lettered if match)
        width = len(first_letters["letters"])
        wanted = [f"{first_letters['stem']}-split-{_letters(index, width)}" for index in range(max(2, len(names)))]
        _check_names(names, wanted, "parts")


def _letters(index: int, width: int) -> str:
    """The suffixes of split(1): a, b, … or aa, ab, …"""
    letters = ""
    while len(letters) < width:
        index, rest = divmod(index, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def _check_names(names: Sequence[str], wanted: Sequence[str], what: str) -> None:
    if list(names) == list(wanted):
        return
    missing = [name for name in wanted if name not in names]
    foreign = [name for name in names if name not in wanted]
    if missing:
        found = f"{', '.join(missing)} missing"
        remedy = f"list all {what}; a model with a piece left out does not load"
    elif foreign:
        found = f"{', '.join(foreign)} among them"
        remedy = f"list the {what} of one model only"
    elif len(set(names)) < len(names):
        found = "one of them more than once"
        remedy = f"list each of the {what} once"
    else:
        found = f"the order {', '.join(names)}"
        remedy = f"list the {what} in the order of their numbers"
    raise InvalidInputError(f"the {what} {wanted[0]} to {wanted[-1]}, in order", found, remedy)


def _shard_targets(dest: str, entries: Sequence[tuple[Part, str | None]]) -> tuple[Target, ...]:
    names = [name or file_name(part.url) for part, name in entries]
    first = SHARD.fullmatch(names[0])
    if first is None:
        raise InvalidInputError(
            "shards named <name>-00001-of-0000N.gguf, the names that the engine looks for",
            names[0],
            "give the right name as file, or list byte parts under parts",
        )
    count = int(first["count"])
    _check_names(
        names, [f"{first['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)], "shards"
    )
    folder, _slash, dest_name = dest.rpartition("/")
    if dest_name != names[0]:
        raise InvalidInputError(
            f"dest to end in the first shard's name, {names[0]}",
            dest_name,
            "the engine opens the first shard by that name",
        )
    return tuple(
        Target(f"{folder}/{name}", (part,), part.size, part.sha256) for name, (part, _name) in zip(names, entries)
    )
