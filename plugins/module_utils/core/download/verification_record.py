# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verification record of a file: its checksums, so that a verified file is not read again.

The record lies beside the file, in C(.NAME.verified). It is valid as long as size and time of the file are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .identity import FileIdentity
from .parts import Target

SCHEMA = 1


def new_record(
    file: FileIdentity, sha256: str | None, verified: str, target: Target, pieces: Sequence[tuple[int, str | None]]
) -> dict[str, Any]:
    """Build the record of a verified file.

    :param verified: how the file was verified: C(sha256) or C(size).
    :param pieces: size and SHA-256 of each part.
    """
    parts = [
        {"url": part.identity, "size": size, "sha256": digest} for part, (size, digest) in zip(target.parts, pieces)
    ]
    return {
        "schema": SCHEMA,
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "sha256": sha256,
        "verified": verified,
        "parts": parts,
    }


def recorded_sha256(record: Mapping[str, Any], file: FileIdentity | None) -> str | None:
    """Read the SHA-256 of a file from its record; None if it is unknown, or the file changed since."""
    if not _is_of(record, file):
        return None
    return str(record["sha256"]) if record.get("sha256") else None


def confirms(record: Mapping[str, Any], file: FileIdentity | None, target: Target, checksums: bool) -> bool:
    """Return whether a record confirms that this file is the target.

    :param checksums: whether a file that was verified by its size alone is rejected.
    """
    if file is None or not _is_of(record, file):
        return False
    whole = target.sha256
    if whole is not None and recorded_sha256(record, file) == whole:
        # The same bytes, even if they came in other pieces, for example as a copy from another node.
        return True
    parts = record.get("parts") or []
    if (checksums and record.get("verified") != "sha256") or len(parts) != len(target.parts):
        return False
    if target.size not in (None, file.size) or (whole is not None and record.get("sha256") != whole):
        return False
    for part, known in zip(target.parts, parts):
        if part.size not in (None, known["size"]) or part.sha256 not in (None, known["sha256"]):
            return False
        if part.sha256 is None and whole is None and part.identity != known["url"]:
            return False
    return True


def _is_of(record: Mapping[str, Any], file: FileIdentity | None) -> bool:
    if file is None or record.get("schema") != SCHEMA:
        return False
    return (record.get("size"), record.get("mtime_ns")) == (file.size, file.mtime_ns)
