# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What identifies a file on a server or on a disk. The ports that read it make these values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

SHA256 = re.compile(r"[0-9a-f]{64}")


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


def public_url(url: str) -> str:
    """Remove the places in which a URL may hold credentials."""
    split = urlsplit(url)
    return split._replace(netloc=split.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()
