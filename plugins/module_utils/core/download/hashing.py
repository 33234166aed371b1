# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the sha256 of a file and of its parts in the order of the file, while its bytes arrive in any order.

A hash stream follows the bytes from the start. Bytes ahead of it wait in the page cache. The first stream covers the
whole file, and with it the first part. A second stream covers the other parts, so that two cores share the work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .extents import Extents
from .transfer_state import PartState

BLOCKS_AT_ONCE = 4


@dataclass(frozen=True)
class HashTask:
    """A range of the file to add to a digest. This takes time, so it is done without a lock."""

    start: int
    end: int
    digest: Any


class HashStream:
    """One digest that moves through the file.

    :param first: index of the first part that it covers.
    :param is_fresh: whether the digest starts anew with each part.
    """

    def __init__(self, first: int, start: int, is_fresh: bool) -> None:
        self.part = first
        self.position = start
        self._is_fresh = is_fresh
        self._first = first
        self.digest = hashlib.sha256()
        # The state at the start of each part, to go back to.
        self._states: dict[int, tuple[int, Any]] = {first: (start, self.digest.copy())}

    def finish(self, task: HashTask) -> bool:
        """Move on after a task; False if the stream went back meanwhile, so that the task does not count."""
        if task.digest is not self.digest:
            return False
        self.position = task.end
        return True

    def hexdigest(self) -> str:
        return str(self.digest.hexdigest())

    def next_part(self) -> None:
        self.part += 1
        if self._is_fresh:
            self.digest = hashlib.sha256()
        self._states[self.part] = (self.position, self.digest.copy())

    def go_back(self, part: int) -> None:
        """Go back to the start of a part, whose bytes are received again."""
        if not self._first <= part <= self.part:
            return
        self.part = part
        self.position, digest = self._states[part]
        self.digest = digest.copy()


class HashStreams:
    """The streams of one file."""

    def __init__(self, parts: Sequence[PartState]) -> None:
        self._parts = parts
        self._streams = [HashStream(0, 0, is_fresh=False)]
        self.follow_parts()

    @property
    def position(self) -> int:
        """Bytes of the file that are in its checksum."""
        return self._streams[0].position

    def next_task(self, number: int, written: Extents, block: int) -> HashTask | None:
        """Find the next task of a stream; None if there are too few bytes for one."""
        if number >= len(self._streams):
            return None
        stream = self._streams[number]
        if stream.part >= len(self._parts) or self._parts[stream.part].base is None:
            return None
        end = self._parts[stream.part].end
        limit = written.reach(stream.position)
        limit = limit if end is None else min(end, limit)
        size = limit - stream.position
        if size <= 0 or (size < block and limit != end):
            return None
        return HashTask(stream.position, min(limit, stream.position + BLOCKS_AT_ONCE * block), stream.digest)

    def finish(self, number: int, task: HashTask) -> bool:
        """Move a stream on after a task; False if the task does not count."""
        return number < len(self._streams) and self._streams[number].finish(task)

    def go_back(self, part: int) -> None:
        """Go back to the start of a part, whose bytes are received again."""
        for stream in self._streams:
            stream.go_back(part)
        self.follow_parts()

    def follow_parts(self) -> None:
        """Add the second stream as soon as the start of the second part is known."""
        is_known = len(self._parts) > 1 and self._parts[1].base is not None
        if is_known and len(self._streams) == 1:
            self._streams.append(HashStream(1, self._parts[1].base or 0, is_fresh=True))
        elif not is_known:
            del self._streams[1:]

    def settle(self, is_right: Callable[[int, str], bool]) -> str | None:
        """Compare the checksum of each part that is read to its end; the sha256 of the file once all are.

        :param is_right: receives the index of a part and its sha256, and returns whether to go on after the part.
        """
        self.follow_parts()
        for stream in self._streams:
            while stream.part < len(self._parts):
                part = self._parts[stream.part]
                if part.end is None or stream.position < part.end:
                    break
                covers_part_alone = stream is not self._streams[0] or part.index == 0
                if covers_part_alone and not is_right(part.index, stream.hexdigest()):
                    break
                stream.next_part()
        # While the start of the second part is unknown, its stream is missing.
        is_followed = len(self._streams) == min(2, len(self._parts))
        is_read = is_followed and all(stream.part >= len(self._parts) for stream in self._streams)
        return self._streams[0].hexdigest() if is_read else None
