# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sha256 of a file and of its parts, in the order of the file, while its bytes land in any order.

A lane follows the bytes from the front. What arrives ahead of it waits in the page cache. One lane covers the
whole file, and with it the first part; a second one covers the other parts, so that two cores share the work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """A piece of the file that goes into a digest, which is done without holding anybody up."""

    start: int
    end: int
    digest: Any


class Lane:
    """One digest that moves through the file.

    :param first: index of the first part that it covers.
    :param fresh: begin anew with each part, in place of going on.
    """

    def __init__(self, first: int, start: int, fresh: bool) -> None:
        self.part = first
        self.position = start
        self._fresh = fresh
        self._first = first
        self._digest = hashlib.sha256()
        # The state at the beginning of each part, to go back to.
        self._begin: dict[int, tuple[int, Any]] = {first: (start, self._digest.copy())}

    def work(self, landed_to: int) -> Work:
        """What may be read now."""
        return Work(self.position, landed_to, self._digest)

    def done(self, work: Work) -> bool:
        """After a piece was read; False if it does not count, because the lane went back meanwhile."""
        if work.digest is not self._digest:
            return False
        self.position = work.end
        return True

    def hexdigest(self) -> str:
        return str(self._digest.hexdigest())

    def next_part(self) -> None:
        """The part is read to its end."""
        self.part += 1
        if self._fresh:
            self._digest = hashlib.sha256()
        self._begin[self.part] = (self.position, self._digest.copy())

    def go_back(self, part: int) -> None:
        """The bytes from the beginning of a part on are to be read again, when they are there."""
        if not self._first <= part <= self.part:
            return
        self.part = part
        self.position, digest = self._begin[part]
        self._digest = digest.copy()
