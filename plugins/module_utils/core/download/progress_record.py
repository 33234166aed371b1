# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of an interrupted download, and the bytes that the next run may keep of it.

Two records lie beside the bytes:

- The *journal* lists the remote files and the bytes of them that are on the disk. It is written after these bytes were
  forced to disk, and is itself forced to disk. So it is valid after a loss of power.
- The *progress record* lists the bytes that the kernel has. It is cheap and is written all the time. It is valid as
  long as the machine runs, so a killed process loses next to nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .extents import Extents
from .sources import Segment

SCHEMA = 2


def new_journal(parts: Sequence[Mapping[str, Any]], safe: Extents) -> dict[str, Any]:
    """Build the journal of these parts (identities, see Segment) with the bytes that are on the disk."""
    return {"schema": SCHEMA, "parts": list(parts), "safe": list(safe)}


def progress_line(parts: Sequence[Mapping[str, Any]], written: Extents, boot: str) -> bytes:
    """Build the progress record: one line with a checksum, because a writer may be killed in the middle of it."""
    body = json.dumps({"boot": boot, "of": _fingerprint(parts), "written": list(written)}).encode()
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body + b"\n"


def kept(segments: Sequence[Segment], journal: Mapping[str, Any], progress: bytes, boot: str, size: int) -> Extents:
    """Find the bytes of the partial file, which has this size, that belong to these segments.

    :param boot: the machine's boot id. It is empty if unknown, as are C(journal) and C(progress).
    """
    if journal.get("schema") != SCHEMA:
        return Extents()
    entries = journal.get("parts") or []
    there = Extents(journal.get("safe") or [])
    for start, end in _in_progress(progress, boot, entries):
        there.add(start, end)
    there = there.within(0, size)
    found = Extents()
    start = was = 0
    for index, segment in enumerate(segments):
        if index >= len(entries) or segment.size is None or entries[index].get("size") is None:
            # Without the size of this part, the start of the next one is unknown.
            break
        if start == was and _same_content(segment, entries[index]):
            for low, high in there.within(start, start + segment.size):
                found.add(low, high)
        start, was = start + segment.size, was + int(entries[index]["size"])
    return found


def written_bytes(line: bytes) -> int | None:
    """Return the bytes that a progress record lists, of whatever parts; None if it is no whole record."""
    checksum, _space, body = line.split(b"\n", 1)[0].partition(b" ")
    if hashlib.sha256(body).hexdigest()[:16].encode() != checksum:
        return None
    try:
        return Extents(json.loads(body)["written"]).total
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _in_progress(line: bytes, boot: str, parts: Sequence[Mapping[str, Any]]) -> Extents:
    checksum, _space, body = line.split(b"\n", 1)[0].partition(b" ")
    if not boot or hashlib.sha256(body).hexdigest()[:16].encode() != checksum:
        return Extents()
    value = json.loads(body)
    return Extents(value["written"] if (value["boot"], value["of"]) == (boot, _fingerprint(parts)) else [])


def _fingerprint(parts: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True).encode()).hexdigest()[:16]


def _same_content(segment: Segment, entry: Mapping[str, Any]) -> bool:
    wanted = segment.identity()
    if entry.get("size") != wanted["size"] or entry.get("sha256") != wanted["sha256"]:
        return False
    if wanted["sha256"] is not None:
        # The checksum says that the bytes are the same. A mirror may use another tag, but a new tag at the same
        # address means that the file there is being replaced.
        return bool(entry.get("url") != wanted["url"] or entry.get("tag") == wanted["tag"])
    return wanted["tag"] is not None and (entry.get("url"), entry.get("tag")) == (wanted["url"], wanted["tag"])
