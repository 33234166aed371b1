# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the folder of the models against what the inventory says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..download import verification_record
from ..download.files import Target, plan_targets
from ..download.verification_record import FileIdentity
from .lock import options_of

#: What a fetch that has not ended leaves beside a file, and what stays of one that has.
UNFINISHED = ("incoming", "journal", "landed")
KEPT = ("verified", "lock", "progress")
_OURS = re.compile(rf"\.(?P<name>.+)\.(?P<suffix>{'|'.join((*UNFINISHED, *KEPT))})")
_SCRATCH = re.compile(r".+\.\d+\.tmp")


@dataclass(frozen=True)
class Segment:
    """A stretch of a file with the SHA-256 that it should have."""

    start: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one file.

    :ivar state: C(right), C(unread) (of the right size, and nobody has read it), C(missing) or C(wrong).
    """

    file: str
    state: str
    why: str = ""

    def to_data(self) -> dict[str, str]:
        """As plain data."""
        return {"file": self.file, "state": self.state, "why": self.why}


def targets_of(folder: str, entries: Sequence[Mapping[str, Any]]) -> tuple[Target, ...]:
    """The files that these entries of models are on a host."""
    found: list[Target] = []
    for entry in entries:
        options = options_of(entry)
        found += plan_targets(f"{folder.rstrip('/')}/{options.pop('file')}", **options)
    return tuple(found)


def size_of(target: Target) -> int | None:
    """Bytes that the file should have, None where the inventory does not know."""
    if target.size is not None:
        return target.size
    sizes = [part.size for part in target.parts]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def segments_of(target: Target) -> list[Segment]:
    """What can be compared if the file is read: the whole, or else its byte parts."""
    size = size_of(target)
    whole = target.sha256 or (target.parts[0].sha256 if len(target.parts) == 1 else None)
    if size is not None and whole:
        return [Segment(0, size, whole)]
    found: list[Segment] = []
    start = 0
    for part in target.parts:
        if part.size is None or part.sha256 is None:
            return []
        found.append(Segment(start, part.size, part.sha256))
        start += part.size
    return found


def judge(
    target: Target, found: FileIdentity | None, record: Mapping[str, Any], digests: Sequence[str] | None = None
) -> Verdict:
    """Say what a file is.

    :param record: its verification record; empty if there is none.
    :param digests: SHA-256 of C(segments_of), if the file was read.
    """
    name = target.name
    if found is None:
        return Verdict(name, "missing")
    size = size_of(target)
    if size is not None and found.size != size:
        return Verdict(name, "wrong", f"{found.size} bytes instead of {size}")
    if digests is not None:
        for segment, digest in zip(segments_of(target), digests):
            if digest != segment.sha256:
                where = f"bytes {segment.start} to {segment.start + segment.length - 1}"
                return Verdict(name, "wrong", f"SHA-256 {digest} of {where} instead of {segment.sha256}")
        if digests:
            return Verdict(name, "right", "read now")
        return Verdict(name, "unread", "the inventory has no checksum to compare with: run playbooks/lock_models.yml")
    if verification_record.confirms(record, found, target, checksums=True):
        return Verdict(name, "right", "unchanged since it was verified")
    if record.get("size") == found.size and record.get("sha256") and target.sha256 not in (None, record["sha256"]):
        return Verdict(name, "wrong", f"SHA-256 {record['sha256']} when it was fetched, not {target.sha256}")
    return Verdict(name, "unread", "never verified, or changed since: read it with -e model_store_rehash=true")


def strangers(names: Sequence[str], wanted: Sequence[str], other: Sequence[str]) -> dict[str, list[str]]:
    """Sort the names in the folder that are not wanted there.

    :param wanted: names of the files that this host should have.
    :param other: names of files of other models of the inventory.
    :returns: C(other), C(foreign), and C(leftover): of fetches that did not end, or of files that are gone.
    """
    sorted_in: dict[str, list[str]] = {"other": [], "foreign": [], "leftover": []}
    for name in sorted(set(names) - set(wanted)):
        ours = _OURS.fullmatch(name)
        if ours and ours["suffix"] in KEPT and ours["name"] in {*names, *wanted}:
            continue
        kind = "leftover" if ours or _SCRATCH.fullmatch(name) else "other" if name in other else "foreign"
        sorted_in[kind].append(name)
    return sorted_in
