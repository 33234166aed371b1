# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a worker's cache are given up while the worker is down.

The engine keeps each large tensor in a file that is named after the hash of its bytes, never removes one, and never
looks at the hash again: a file that was cut short, by a full disk, a kill or a loss of power, is loaded without a
word and the model answers nonsense. So what may have been cut short goes, and then what is too old or too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MIB = 1 << 20
DAY_S = 86400.0
#: The engine keeps nothing that is not larger (HASH_THRESHOLD): a smaller file was cut short.
SMALLEST = 10 * MIB
#: With less than this free, a file may have been cut short by the lack of room.
NO_ROOM = 16 * MIB
#: Disks are looked at every five seconds: so long after it was seen one may have been full still.
FULL_S = 15.0
#: A process that has just ended may have been writing what is younger.
WRITING_S = 5.0
#: What was written that long before the last write has reached the disk (the kernel's limit is about 35 seconds).
FLUSHED_S = 60.0

_NAME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class RpcCacheLimits:
    """What a cache may take; 0 is no limit.

    :ivar most: bytes of all its files.
    :ivar keep_free: bytes that stay free on its file system, see C(on).
    :ivar days: a file that the last load did not use, and no load in as many days before it, goes.
    """

    most: int = 0
    keep_free: int = 0
    days: float = 0.0

    def on(self, total: int) -> RpcCacheLimits:
        """The same on a file system of that many bytes: a small one has no more than a tenth to keep free."""
        return replace(self, keep_free=min(self.keep_free, total // 10))


@dataclass(frozen=True)
class CacheFile:
    """One file: when it was written and when it was last read, in seconds since the epoch."""

    name: str
    size: int
    written: float
    read: float = 0.0

    @property
    def used(self) -> float:
        """When a load last needed it. A file system without times of reading only knows the first time."""
        return max(self.written, self.read)


@dataclass(frozen=True)
class Removal:
    """A file that goes, and why."""

    file: CacheFile
    why: str


def is_ours(name: str) -> bool:
    """Whether a name is one that the engine gives; nothing else is ever touched."""
    return _NAME.fullmatch(name) is not None


def _cut_short(
    files: Sequence[CacheFile], free: int, proved: float | None, ended: float | None, full: float | None
) -> Iterable[Removal]:
    """Files that may hold less than they should."""
    new = [file for file in files if proved is None or file.written > proved]
    last = max((file.written for file in new), default=0.0)
    since = last - FLUSHED_S if ended is None else ended - WRITING_S
    for file in files:
        if file.size <= SMALLEST:
            yield Removal(file, "it was cut short")
        elif file in new and (free < NO_ROOM or (full is not None and file.written <= full + FULL_S)):
            yield Removal(file, "the disk was full")
        elif file in new and file.written > since:
            yield Removal(file, "it may have been cut short")


def plan(
    files: Sequence[CacheFile],
    limits: RpcCacheLimits,
    free: int,
    proved: float | None = None,
    ended: float | None = None,
    full: float | None = None,
) -> list[Removal]:
    """Say which files go.

    :param free: bytes that are free on their file system.
    :param proved: everything that was written until then is known to be whole; None if nothing is.
    :param ended: now, if the worker has ended a moment ago; None if nobody knows when it did.
    :param full: when the disk was last seen without room; None if it never was.
    """
    removals = {removal.file.name: removal for removal in _cut_short(files, free, proved, ended, full)}
    # Counted to the last load and not to now: a worker that ran for a year needs its files when it starts again.
    last = max((file.used for file in files), default=0.0)
    for file in files:
        if limits.days and last - file.used > limits.days * DAY_S:
            removals.setdefault(file.name, Removal(file, f"no load used it for {limits.days:g} days"))
    kept = sorted((file for file in files if file.name not in removals), key=lambda file: (file.used, file.name))
    total = sum(file.size for file in kept)
    room = free + sum(removal.file.size for removal in removals.values())
    for file in kept:
        if limits.most and total > limits.most:
            why = f"the cache is larger than {limits.most // MIB} MiB"
        elif room < limits.keep_free:
            why = f"less than {limits.keep_free // MIB} MiB are free"
        else:
            break
        removals[file.name] = Removal(file, why)
        total -= file.size
        room += file.size
    return sorted(removals.values(), key=lambda removal: removal.file.name)


def summary(removals: Sequence[Removal]) -> str:
    """One line for the journal; nothing where nothing goes."""
    if not removals:
        return ""
    reasons: dict[str, int] = {}
    for removal in removals:
        reasons[removal.why] = reasons.get(removal.why, 0) + 1
    size = sum(removal.file.size for removal in removals) // MIB
    count = f"{len(removals)} files" if len(removals) > 1 else "1 file"
    return f"{count} of {size} MiB: " + ", ".join(f"{why} ({number})" for why, number in sorted(reasons.items()))


def fnv(data: bytes, found: int = 0xCBF29CE484222325) -> int:
    """The hash of which the engine makes a file's name: FNV-1a, 64 bits."""
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
