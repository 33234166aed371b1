# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a file that was verified, so that it need not be read again.

It lies beside the file, in C(.NAME.verified), and holds as long as size and time of the file are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .files import Target

SCHEMA = 1


class Found(Protocol):
    """A file as the disk describes it."""

    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...


def stamp(
    found: Found, sha256: str | None, verified: str, target: Target, pieces: Sequence[tuple[int, str | None]]
) -> dict[str, Any]:
    """The words of a stamp.

    :param verified: how the file was verified: C(sha256) or C(size).
    :param pieces: size and SHA-256 of each part.
    """
    parts = [
        {"url": part.identity, "size": size, "sha256": digest} for part, (size, digest) in zip(target.parts, pieces)
    ]
    return {
        "schema": SCHEMA,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "sha256": sha256,
        "verified": verified,
        "parts": parts,
    }


def stamped_sha256(stamp: Mapping[str, Any], found: Found | None) -> str | None:
    """SHA-256 of a file as it landed; None if that is not known, or the file changed since."""
    if not _is_of(stamp, found):
        return None
    return str(stamp["sha256"]) if stamp.get("sha256") else None


def vouches_for(stamp: Mapping[str, Any], found: Found | None, target: Target, checksums: bool) -> bool:
    """Whether a stamp says that this very file is what is wanted now.

    :param checksums: whether a file that was only measured is not good enough.
    """
    if found is None or not _is_of(stamp, found):
        return False
    whole = target.sha256
    if whole is not None and stamped_sha256(stamp, found) == whole:
        # The right bytes, whichever pieces they once came in: the publisher's, or another node's copy.
        return True
    parts = stamp.get("parts") or []
    if (checksums and stamp.get("verified") != "sha256") or len(parts) != len(target.parts):
        return False
    if target.size not in (None, found.size) or (whole is not None and stamp.get("sha256") != whole):
        return False
    for part, known in zip(target.parts, parts):
        if part.size not in (None, known["size"]) or part.sha256 not in (None, known["sha256"]):
            return False
        if part.sha256 is None and whole is None and part.identity != known["url"]:
            return False
    return True


def _is_of(stamp: Mapping[str, Any], found: Found | None) -> bool:
    """Whether a stamp is of this very file."""
    if found is None or stamp.get("schema") != SCHEMA:
        return False
    return (stamp.get("size"), stamp.get("mtime_ns")) == (found.size, found.mtime_ns)
