# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the parts of a transfer: their addresses, and the requests that are under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import HerdError
from .identity import public_url
from .servers import Server, Servers
from .sources import Segment


class Address:
    """One address of a part, and the behaviour of its server so far.

    :ivar has_tag: whether the tag is known; a known tag may be None.
    :ivar ranges: whether the server serves ranges; None if unknown.
    :ivar epoch: grows with each failure. Of requests that fail together, only the first failure counts.
    :ivar rate: bytes per second of the fastest request so far; 0 if none is complete.
    """

    def __init__(self, url: str, tag: str | None, has_tag: bool, server: Server) -> None:
        self.url = url
        self.server = server
        self.label = public_url(url)
        self.tag = tag
        self.has_tag = has_tag
        self.ranges: bool | None = None
        self.failures = 0
        self.epoch = 0
        self.resume_at = float("-inf")
        self.rate = 0.0

    def completed(self, rate: float) -> None:
        """Note a complete request, which ran at this rate."""
        self.failures = 0
        self.rate = max(self.rate, rate)
        self.server.completed()


class PartRequest:
    """One request: bytes of one part from one address. Positions count from the start of the part.

    :ivar end: None for all bytes to the end, wherever that is.
    :ivar ranged: whether to ask for a range.
    :ivar base: position of the part in the file.
    :ivar began: the moment of the request.
    :ivar pending: bytes after the position that are being written.
    :ivar takeovers: requests that delivered too slowly before this one took their bytes over.
    """

    def __init__(
        self, part: PartState, address: Address, start: int, end: int | None, ranged: bool, takeovers: int = 0
    ) -> None:
        self.part = part
        self.address = address
        self.start = start
        self.end = end
        self.ranged = ranged
        self.position = start
        self.base = part.base or 0
        self.generation = part.generation
        self.epoch = address.epoch
        self.began = 0.0
        self.pending = 0
        self.takeovers = takeovers

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def left(self) -> int:
        """Bytes that are still to come; 0 if the end is unknown."""
        return 0 if self.end is None else self.end - self.position

    def made_progress(self, enough: int) -> bool:
        """Return whether it delivered enough bytes to show that the server works."""
        if not self.ranged:
            return self.position - self.part.furthest >= enough
        received = self.position - self.start
        # A third of the requested bytes is enough, even where these are few.
        return received >= enough or 2 * received >= self.left

    @property
    def is_stale(self) -> bool:
        """Whether the part was discarded since the request was made."""
        return self.generation != self.part.generation

    @property
    def is_complete(self) -> bool:
        """Whether all its bytes are here, or another request has taken the others over."""
        return self.end is not None and self.position >= self.end

    def rate(self, now: float) -> float:
        """Return the bytes per second so far."""
        return (self.position - self.start) / (now - self.began) if now > self.began else 0.0

    def delay(self, now: float) -> float:
        """Return the seconds by which this request ends later than the fastest of its address would."""
        rate = self.rate(now)
        if not self.address.rate or 3 * rate >= self.address.rate:
            return 0.0
        return (self.left / rate if rate else float("inf")) - self.left / self.address.rate


class PartState:
    """A part during the transfer.

    :ivar sized_by: the address that states the size; empty if the inventory does.
    :ivar last: the last address that was in use, when none is left.
    :ivar generation: grows when the received bytes are discarded.
    :ivar held: whether bytes were discarded and the journal on disk does not say so yet.
    :ivar single_source: whether bytes of two addresses may not be combined, because such a combination was wrong.
    :ivar refused: addresses that get no further request, with the reason.
    :ivar furthest: the furthest position that a request for the whole part reached.
    """

    def __init__(self, index: int, segment: Segment, servers: Servers) -> None:
        self.index = index
        self.segment = segment
        self.size = segment.size
        self.sized_by = segment.sized_by
        self.base: int | None = None
        has_tag = segment.tag is not None or segment.url != ""
        url = segment.url or segment.part.url
        self.addresses = [Address(url, segment.tag, has_tag, servers.of(url))]
        self.addresses += [Address(other, None, False, servers.of(other)) for other in segment.others]
        self.last = self.addresses[0]
        self.requests: list[PartRequest] = []
        self.generation = 0
        self.held = False
        self.single_source = False
        self.came_from: set[str] = set()
        self.refused: list[tuple[str, HerdError]] = []
        self.furthest = 0
        self.sha256: str | None = None

    @property
    def end(self) -> int | None:
        return None if self.base is None or self.size is None else self.base + self.size

    @property
    def can_combine(self) -> bool:
        """Whether bytes of different addresses may be combined."""
        return self.segment.sha256 is not None and not self.single_source

    def can_continue(self, address: Address) -> bool:
        """Return whether a later range is known to be of the same file: by a checksum or a tag."""
        return self.segment.sha256 is not None or not address.has_tag or address.tag is not None

    def is_corrected_by(self, address: Address) -> bool:
        """Return whether another size at this address is believed: the publisher's, or any once a mirror failed."""
        if self.sized_by in ("", address.url):
            return False
        is_failed = all(other.url != self.sized_by for other in self.addresses)
        return is_failed or address.url == self.segment.part.url

    def forget_size(self) -> None:
        """Forget the size, once the bytes are discarded; the next response tells it."""
        self.segment, self.sized_by = replace(self.segment, size=None), ""

    def identity(self) -> dict[str, Any]:
        """Identify the bytes for the journal."""
        address = self.addresses[0] if self.addresses else self.last
        tag = address.tag if address.has_tag else None
        return Segment(self.segment.part, self.size, self.segment.sha256, tag, address.url).identity()


def place(parts: list[PartState]) -> None:
    """Set the position of each part in the file, as far as the sizes before it are known."""
    base: int | None = 0
    for part in parts:
        part.base = base
        base = None if base is None or part.size is None else base + part.size


def under_way(parts: Sequence[PartState], server: Server) -> int:
    """Count the requests to a server."""
    return sum(request.address.server is server for part in parts for request in part.requests)
