# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the files to remove from a worker's tensor cache while the worker is down.

The engine keeps each large tensor in a file that is named after the hash of its bytes. It never removes a file, and
never checks the hash again. A file that was truncated by a full disk, a kill or a loss of power is loaded silently, and
the model answers nonsense. So files that may be truncated are removed first, then old ones, then those over the limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

MIB = 1 << 20
DAY_S = 86400.0
#: The engine only keeps larger tensors (HASH_THRESHOLD), so a smaller file was truncated.
SMALLEST = 10 * MIB
#: Below these free bytes, a file may have been truncated for lack of space.
NO_ROOM = 16 * MIB
#: Seconds after an observation for which a disk may still have been full. Disks are checked every five seconds.
FULL_S = 15.0
#: A process that has just ended may have been writing files that are younger than these seconds.
WRITING_S = 5.0
#: Data older than these seconds before the last write is on the disk (the kernel's limit is about 35 seconds).
FLUSHED_S = 60.0

_NAME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class RpcCacheLimits:
    """Limits of a cache; 0 is no limit.

    :ivar most: bytes of all its files.
    :ivar keep_free: bytes that stay free on its file system; see C(on).
    :ivar days: a file is removed if no load used it in this many days before the last load.
    """

    most: int = 0
    keep_free: int = 0
    days: float = 0.0

    def on(self, total: int) -> RpcCacheLimits:
        """Adapt the limits to a file system of this size: at most a tenth of it stays free."""
        return replace(self, keep_free=min(self.keep_free, total // 10))


@dataclass(frozen=True)
class CacheFile:
    """A file with the times of its last write and read, in seconds since the epoch."""

    name: str
    size: int
    written: float
    read: float = 0.0

    @property
    def used(self) -> float:
        """Return when a load last used the file. Without access times, this is the time of its write."""
        return max(self.written, self.read)


@dataclass(frozen=True)
class Removal:
    """A file to remove, and the reason."""

    file: CacheFile
    why: str


def is_ours(name: str) -> bool:
    """Return whether the engine made a file of this name. Other files are never touched."""
    return _NAME.fullmatch(name) is not None


def _truncated(
    files: Sequence[CacheFile], free: int, proved: float | None, ended: float | None, full: float | None
) -> Iterable[Removal]:
    """Find the files that may be truncated."""
    new = [file for file in files if proved is None or file.written > proved]
    last = max((file.written for file in new), default=0.0)
    since = last - FLUSHED_S if ended is None else ended - WRITING_S
    for file in files:
        if file.size <= SMALLEST:
            yield Removal(file, "it is truncated")
        elif file in new and (free < NO_ROOM or (full is not None and file.written <= full + FULL_S)):
            yield Removal(file, "the disk was full")
        elif file in new and file.written > since:
            yield Removal(file, "it may be truncated")


def plan(
    files: Sequence[CacheFile],
    limits: RpcCacheLimits,
    free: int,
    proved: float | None = None,
    ended: float | None = None,
    full: float | None = None,
) -> list[Removal]:
    """Choose the files to remove.

    :param free: free bytes on their file system.
    :param proved: time until which all writes are known to be complete; None if unknown.
    :param ended: time of the worker's end; None if unknown.
    :param full: time at which the disk was last full; None if it never was.
    """
    removals = {removal.file.name: removal for removal in _truncated(files, free, proved, ended, full)}
    # Counted back from the last load, not from now: a worker that ran for a year needs its files at its next start.
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
    """Summarise the removals in one line of the journal; empty if there are none."""
    if not removals:
        return ""
    reasons: dict[str, int] = {}
    for removal in removals:
        reasons[removal.why] = reasons.get(removal.why, 0) + 1
    size = sum(removal.file.size for removal in removals) // MIB
    count = f"{len(removals)} files" if len(removals) > 1 else "1 file"
    return f"{count} of {size} MiB: " + ", ".join(f"{why} ({number})" for why, number in sorted(reasons.items()))


def fnv(data: bytes, found: int = 0xCBF29CE484222325) -> int:
    """Compute the hash that names a file in the cache: FNV-1a, 64 bits."""
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
