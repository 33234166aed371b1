# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fetch that was killed leaves behind, and what the next one may keep of it.

Two records lie beside the bytes. The *journal* says which bytes of which remote files are safely on disk; it
is written after they were forced there, and forced there itself, so it holds after a loss of power. The
*note* says which bytes were handed to the kernel. It costs nearly nothing and is written all the time; it
holds as long as the machine runs, so a process that was killed loses next to nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .extents import Extents
from .sources import Segment

SCHEMA = 2
#: Version 0.1.0 fetched from front to back, and noted how far it was.
FRONT_TO_BACK = 1


def journal(parts: Sequence[Mapping[str, Any]], safe: Extents) -> dict[str, Any]:
    """The journal of these parts (identities, see Segment) with so many bytes on disk."""
    return {"schema": SCHEMA, "parts": list(parts), "safe": safe.pairs()}


def note(parts: Sequence[Mapping[str, Any]], landed: Extents, boot: str) -> bytes:
    """One line with its own checksum: a writer may die in the middle of it."""
    body = json.dumps({"boot": boot, "of": _fingerprint(parts), "landed": landed.pairs()}).encode()
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body + b"\n"


def kept(segments: Sequence[Segment], record: Mapping[str, Any], noted: bytes, boot: str, size: int) -> Extents:
    """Which bytes of the incoming file are of the very files that are wanted now.

    :param record: the journal; empty if there is none.
    :param noted: the note; empty if there is none.
    :param boot: what identifies this start of the machine; empty if unknown.
    :param size: of the incoming file.
    """
    entries = record.get("parts") or []
    if record.get("schema") == FRONT_TO_BACK:
        there = Extents([(0, int(record.get("landed", 0)))])
    elif record.get("schema") == SCHEMA:
        there = Extents(record.get("safe") or [])
        for start, end in _noted(noted, boot, entries):
            there.add(start, end)
    else:
        return Extents()
    there = there.within(0, size)
    wanted = Extents()
    start = was = 0
    for index, segment in enumerate(segments):
        if index >= len(entries) or segment.size is None or entries[index].get("size") is None:
            # A part of unknown length: nothing says where the next one begins.
            break
        if start == was and _same_content(segment, entries[index]):
            for low, high in there.within(start, start + segment.size):
                wanted.add(low, high)
        start, was = start + segment.size, was + int(entries[index]["size"])
    return wanted


def _noted(line: bytes, boot: str, parts: Sequence[Mapping[str, Any]]) -> Extents:
    checksum, _space, body = line.split(b"\n", 1)[0].partition(b" ")
    if not boot or hashlib.sha256(body).hexdigest()[:16].encode() != checksum:
        return Extents()
    value = json.loads(body)
    return Extents(value["landed"] if (value["boot"], value["of"]) == (boot, _fingerprint(parts)) else [])


def _fingerprint(parts: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True).encode()).hexdigest()[:16]


def _same_content(segment: Segment, entry: Mapping[str, Any]) -> bool:
    wanted = segment.identity()
    if entry.get("size") != wanted["size"] or entry.get("sha256") != wanted["sha256"]:
        return False
    if wanted["sha256"] is not None:
        # The same bytes by checksum; a mirror may name them differently, but a change of the tag at the
        # same address says that the file there is being replaced.
        return bool(entry.get("url") != wanted["url"] or entry.get("tag") == wanted["tag"])
    return wanted["tag"] is not None and (entry.get("url"), entry.get("tag")) == (wanted["url"], wanted["tag"])
