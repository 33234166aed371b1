# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies a file on a server or on a disk. The ports that read it make these values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .. import text
from ..errors import InvalidInputError, MismatchError

#: The beginning of a Git LFS pointer: a text of about 130 bytes that stands for a large file in a repository.
POINTER = b"version https://git-lfs.github.com/spec/"
#: Bytes that a pointer has at most.
LONGEST_POINTER = 1024
#: Schemes of web servers.
WEB = ("http", "https")
#: Longest tag that is kept and sent back as it is, in characters.
LONGEST_TAG = 200
#: Longest part of a header that an error repeats, in characters.
LONGEST_SHOWN = 120
SHA256 = re.compile(r"[0-9a-f]{64}")
_USER = re.compile(r"//[^/]*@")


class OtherSizeError(MismatchError):
    """A server has a file of another size than expected."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its server describes it.

    :ivar sha256: the publisher's checksum (X-Linked-Etag), if there is one.
    :ivar tag: changes when the content changes: the ETag, or the time of the last change.
    :ivar commit: the revision of the hub's repository (X-Repo-Commit) that the address led to.
    """

    size: int | None
    sha256: str | None
    tag: str | None
    commit: str | None = None


@dataclass(frozen=True)
class FileIdentity:
    """Size in bytes and modification time of a file, which identify its content."""

    size: int
    mtime_ns: int


def is_address(url: str, schemes: Sequence[str] = WEB) -> bool:
    """Return whether a text is a complete URL of one of the schemes; a file's needs no host."""
    try:
        split = urlsplit(url)
        # Reading the port raises an error if it is none.
        return split.scheme in schemes and (split.scheme == "file" or bool(split.hostname and split.port != 0))
    except ValueError:
        return False


def public_url(url: str) -> str:
    """Remove the places in which a URL may hold credentials; the URL may be malformed."""
    try:
        split = urlsplit(url)
    except ValueError:
        return _USER.sub("//", re.split("[?#]", url)[0])
    return split._replace(netloc=split.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()


def tag_of(value: str | None) -> str | None:
    """Read an ETag or a date as a tag. A server marks the same tag as weak when it compresses other responses."""
    if not value:
        return None
    value = text.CONTROL.sub(" ", value).strip().removeprefix("W/")
    return value if len(value) <= LONGEST_TAG else hashlib.sha256(value.encode()).hexdigest()


def cleaned(value: str) -> str:
    """Bound a header for an error, and remove its control characters."""
    return text.plain(value)[:LONGEST_SHOWN]


def shown(value: str | None) -> str:
    """Quote a header for an error."""
    return repr(value if value is None else cleaned(value))


def checked_token(token: str | None) -> str | None:
    """Return a token without the blanks around it; refuse one that no header can hold."""
    token = (token or "").strip()
    if not (token.isascii() and token.isprintable()):
        raise InvalidInputError("a token of printable ASCII", "other characters in it", "copy the token again")
    return token or None
