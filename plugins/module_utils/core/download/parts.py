# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the files of a download from the options of the inventory: their parts, addresses, sizes and checksums.

*Byte parts* (C(.gguf.part1of2), C(.gguf-split-a)) are pieces of one file; concatenated, they are that file. *Shards*
(C(-00001-of-00003.gguf)) are files that the engine opens together; they must not be concatenated. The names tell which
is which. An incomplete set is refused before a server is asked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import InvalidInputError
from . import part_names
from .identity import SHA256, WEB, is_address, public_url

SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
#: Suffixes of the hidden files beside a file: those of an interrupted download, and those that stay after it.
WRITTEN = "written"
UNFINISHED = ("incoming", "journal", WRITTEN)
KEPT = ("verified", "lock", "progress")
HIDDEN = re.compile(rf"\.(?P<name>.+)\.(?P<suffix>{'|'.join((*UNFINISHED, *KEPT))})(?P<scratch>\.\d+\.tmp)?")


@dataclass(frozen=True)
class Part:
    """One file on a server, whose bytes are a segment of the destination.

    :ivar mirrors: other addresses of the same bytes, asked first, in this order.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The URL for messages: without user, password and signature."""
        return public_url(self.url)

    @property
    def identity(self) -> str:
        return url_identity(self.url)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses in the order of requests; the publisher's is the last."""
        return (*(mirror for mirror in self.mirrors if mirror != self.url), self.url)


@dataclass(frozen=True)
class Target:
    """One file of the destination: its parts in order, and size and sha256 of the whole if they are known."""

    path: str
    parts: tuple[Part, ...]
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def beside(self, suffix: str) -> str:
        """Name a hidden file in the same directory."""
        return f"{self.path[: len(self.path) - len(self.name)]}.{self.name}.{suffix}"


def url_identity(url: str) -> str:
    """Identify a URL, including its query, which is not shown."""
    query = urlsplit(url).query
    shown = public_url(url)
    return f"{shown}#{hashlib.sha256(query.encode()).hexdigest()[:12]}" if query else shown


def server_of(url: str) -> str:
    """Return scheme, host and port of a URL."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}"


def file_name(url: str) -> str:
    """Return the last component of a URL's path."""
    return unquote(urlsplit(url).path).rsplit("/", 1)[-1]


def shard_names(stem: str, count: int) -> list[str]:
    return [f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


def plan_targets(
    dest: str,
    url: str | None = None,
    parts: Sequence[Mapping[str, Any]] | None = None,
    shards: Sequence[Mapping[str, Any]] | None = None,
    size: int | None = None,
    sha256: str | None = None,
    mirrors: Sequence[str] | None = None,
    join: str | None = None,
) -> tuple[Target, ...]:
    """Plan one target for each file. Exactly one of C(url), C(parts) and C(shards) is given.

    :param mirrors: asked before the address of each file, in this order. The file's name is added to one that ends in
        a slash.
    :param join: C(parts) for parts with the names of shards.
    :raises InvalidInputError: if the set is incomplete, or an option is invalid.
    """
    if not dest.startswith("/") or dest.endswith("/"):
        raise InvalidInputError(
            "dest to be the absolute path of a file", repr(dest), "write the full path with the file's name"
        )
    given = [name for name, value in (("url", url), ("parts", parts), ("shards", shards)) if value]
    if len(given) != 1:
        raise InvalidInputError(
            "exactly one of url, parts and shards", " and ".join(given) or "none", "keep the one that applies"
        )
    complete = [mirror for mirror in mirrors or () if not mirror.endswith("/")]
    if complete and max(len(parts or ()), len(shards or ())) > 1:
        raise InvalidInputError(
            "mirrors that end in a slash, for a model of several files",
            ", ".join(public_url(mirror) for mirror in complete),
            "name the directory, or put each file's address at its entry",
        )
    if shards:
        if size is not None or sha256 is not None:
            raise InvalidInputError(
                "size and sha256 at each shard",
                "them at the whole model, which is not one file",
                "move them to the entries of shards",
            )
        return _shard_targets(dest, [(_part(entry, mirrors), entry.get("file")) for entry in shards])
    segments = tuple(_part(entry, mirrors) for entry in (parts or [{"url": url}]))
    # A joined file with the name of a shard would make the engine look for the others.
    _check_parts(segments, sha256, join == "parts" and not SHARD.fullmatch(dest.rsplit("/", 1)[-1]))
    target = Target(dest, segments, _size(size, dest), _sha256(sha256, dest))
    sizes = [part.size for part in segments if part.size is not None]
    if target.size is not None and len(sizes) == len(segments) and sum(sizes) != target.size:
        raise InvalidInputError(
            f"the sizes of the parts to add up to size {target.size}",
            f"{sum(sizes)} bytes",
            "compare both with what the publisher shows",
        )
    return (target,)


def _part(entry: Mapping[str, Any], mirrors: Sequence[str] | None) -> Part:
    url = _address(str(entry["url"]))
    others = [str(other) for other in (*(entry.get("mirrors") or ()), *(mirrors or ()))]
    return Part(
        url,
        _size(entry.get("size"), url),
        _sha256(entry.get("sha256"), url),
        tuple(_mirror(other, file_name(url)) for other in others),
    )


def _mirror(place: str, name: str) -> str:
    """Build the address of a file on a mirror."""
    if not place.endswith("/"):
        return _address(place)
    return _address(place + (name if place.startswith("/") else quote(name)))


def _address(text: str) -> str:
    """Check a URL; turn a path into one."""
    url = f"file://{quote(text)}" if text.startswith("/") else text
    if not is_address(url, (*WEB, "file")) or not file_name(url):
        raise InvalidInputError(
            "an http, https or file URL, or a path, that ends in a file name",
            repr(public_url(url)),
            "correct the model's source",
        )
    if "@" in urlsplit(url).netloc:
        raise InvalidInputError(
            "a URL without a user and a password", repr(public_url(url)), "give the credential as the token instead"
        )
    return url


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


def _check_parts(parts: Sequence[Part], sha256: str | None, is_joined: bool) -> None:
    """Refuse parts that are incomplete or not in order, and shards among them.

    :param sha256: of the whole file.
    :param is_joined: whether the inventory says that these are parts, whatever their names.
    """
    names = [file_name(part.url) for part in parts]
    for name in names:
        shard = SHARD.fullmatch(name)
        is_shard = shard is not None and not is_joined and not part_names.is_part(name)
        if shard and is_shard and (len(parts) > 1 or int(shard["count"]) > 1):
            raise InvalidInputError(
                "byte parts or one whole file",
                f"{name}, one of {int(shard['count'])} shards, which are never joined",
                "list all shards under shards instead, or set join: parts if these are pieces of one file",
            )
    doubles = sorted({part.label for part in parts if sum(part.url == other.url for other in parts) > 1})
    if doubles:
        raise InvalidInputError("each part once", f"{', '.join(doubles)} more than once", "correct the list of parts")
    wanted = part_names.expected(names)
    if wanted is not None:
        _check_names(names, wanted, "parts")
    elif len(names) > 1 and sha256 is None:
        raise InvalidInputError(
            "the sha256 of the whole file, as the names of its parts give no order",
            ", ".join(names),
            "give sha256 from the publisher's page, or parts with a counter in their names",
        )


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
    _check_names(names, shard_names(first["stem"], count), "shards")
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
