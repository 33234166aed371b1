# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the transfer of one file: which request goes to which address, which bytes are right, what follows a failure.

A transfer knows no threads, sockets or clocks. The download workers (ports/download/workers.py) ask it for requests,
send them over several connections at once, and report the results. Only one thread at a time may call it.

- The requests stay near the front of the file, so that the checksum follows them closely.
- An address gets one request at a time until it has shown that it serves ranges, and after a failure. An address
  without ranges gets the whole part as one request, from its start.
- Bytes of two addresses are combined only where a sha256 says that they must be the same. If the checksum of such a
  combination is wrong, the part is fetched again from one address.
- Wrong bytes leave the journal before others are written in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ..errors import HerdError, TransientFailureError
from . import checks, takeover, transfer_state
from .extents import Extents
from .hashing import HashStreams, HashTask
from .identity import OtherSizeError, RemoteFile
from .parts import Target, server_of
from .retry import Backoff, Pace
from .servers import Servers
from .sources import Segment, combined
from .transfer_state import Address, PartRequest, PartState

#: Origin of bytes that an earlier run received, in place of an address.
EARLIER = "earlier"
#: Seconds after which an idle worker asks again, if nothing wakes it.
IDLE = 5.0

NextRequest = Optional[Union[PartRequest, float]]


@dataclass(frozen=True)
class Snapshot:
    """The bytes that a checkpoint forces to disk: those that were written when it began."""

    written: Extents
    parts: list[dict[str, Any]]
    held: list[tuple[PartState, int]]


class Transfer:
    """One file during its transfer.

    :ivar written: bytes that are in the file.
    :ivar taken: bytes that are written or requested.
    :ivar safe: bytes that the journal on disk lists.
    :ivar messages: failures that were retried, for the operator.
    :ivar exhausted: servers that failed until the retries ended; other parts ask them last.

    :param servers: the limits of the servers, which further files of the same run share.
    """

    def __init__(
        self,
        target: Target,
        segments: Sequence[Segment],
        kept: Extents,
        pace: Pace,
        backoff: Backoff,
        servers: Servers | None = None,
    ) -> None:
        self.target = target
        servers = servers or Servers()
        self.parts = [PartState(index, segment, servers) for index, segment in enumerate(segments)]
        self.pace = pace
        self.backoff = backoff
        self.written = kept.copy()
        self.taken = kept.copy()
        self.safe = kept.copy()
        self.kept_end = kept.end
        self.error: HerdError | None = None
        self.whole_sha256: str | None = None
        self.messages: list[str] = []
        self.exhausted: set[str] = set()
        self.journal_due = False
        transfer_state.place(self.parts)
        for part in self.parts:
            if part.base is not None and part.end is not None and kept.within(part.base, part.end):
                part.came_from.add(EARLIER)
        self.streams = HashStreams(self.parts)

    # --- state

    @property
    def size(self) -> int | None:
        end = self.parts[-1].end
        return self.target.size if end is None else end

    @property
    def is_over(self) -> bool:
        """Whether the transfer is complete or has failed."""
        return self.error is not None or self.whole_sha256 is not None

    @property
    def identities(self) -> list[dict[str, Any]]:
        return [part.identity() for part in self.parts]

    def digests(self) -> list[tuple[int, str | None]]:
        """List size and sha256 of each part."""
        return [(part.size or 0, part.sha256) for part in self.parts]

    def abort(self, error: HerdError) -> None:
        """End the transfer with an error from outside, for example of the disk."""
        self.error = self.error or error

    # --- requests

    def next_request(self, now: float) -> NextRequest:
        """Return the next request, or the seconds to wait for one, or None once the transfer is over."""
        if self.is_over:
            return None
        wait = IDLE
        for part in self.parts:
            if part.base is None:
                break
            address = self._preferred(part)
            if part.held or any(request.is_stale for request in part.requests):
                continue
            resume_at = max(address.resume_at, address.server.resume_at)
            if now < resume_at:
                wait = min(wait, resume_at - now)
                continue
            if not self._may_ask(part, address):
                continue
            request = self._whole(part, address) if address.ranges is False else self._piece(part, address)
            if request is not None:
                return self._begin(request, now)
        request = self._take_over(now)
        return wait if request is None else self._begin(request, now)

    def _begin(self, request: PartRequest, now: float) -> PartRequest:
        request.began = now
        request.part.requests.append(request)
        return request

    def _preferred(self, part: PartState) -> Address:
        """Prefer the first address whose server has not failed with another part."""
        best = min(part.addresses, key=lambda address: server_of(address.url) in self.exhausted)
        if best is not part.addresses[0]:
            part.addresses.remove(best)
            part.addresses.insert(0, best)
            if not part.can_combine:
                self._discard(part)
        return best

    def _may_ask(self, part: PartState, address: Address) -> bool:
        """Return whether one more request to this address is within the limits of its server."""
        width = self.pace.connections if address.ranges is True and not address.failures else 1
        limit = address.server.width
        return len(part.requests) < width and (
            limit is None or transfer_state.under_way(self.parts, address.server) < limit
        )

    def _piece(self, part: PartState, address: Address) -> PartRequest | None:
        base, end = part.base or 0, part.end
        if not part.can_continue(address):
            return self._whole(part, address)
        if end is None:
            # Without a known end, the part cannot be split into ranges.
            start = self.written.reach(base)
            return PartRequest(part, address, start - base, None, start > base) if not part.requests else None
        gap = self.taken.first_gap(base, end)
        if gap is None or self._too_far_ahead(gap[0]):
            return None
        start = gap[0]
        left = (self.size or end) - self.written.total
        stop = min(gap[1], start + self.pace.request_size(left))
        self.taken.add(start, stop)
        return PartRequest(part, address, start - base, stop - base, True)

    def _whole(self, part: PartState, address: Address) -> PartRequest | None:
        """Request all of a part at once, from an address that cannot begin in the middle."""
        base = part.base or 0
        if part.requests or (part.end is not None and self.written.reach(base) >= part.end):
            return None
        if self.written.reach(base) > base or (part.end is not None and self.taken.within(base, part.end)):
            self._discard(part)
            return None
        self.taken.add(base, part.end or base)
        return PartRequest(part, address, 0, part.size, False)

    def _too_far_ahead(self, position: int) -> bool:
        front = self.streams.position
        return position - front > self.pace.ahead and front >= self.kept_end

    def _take_over(self, now: float) -> PartRequest | None:
        """Take over bytes of another request, once none are left to request."""
        candidates = [
            request
            for part in self.parts
            for request in part.requests
            if request.ranged
            and not request.is_stale
            and part.addresses[0] is request.address
            and request.address.ranges
            and now >= request.address.server.resume_at
            and self._may_ask(part, request.address)
        ]
        return takeover.take_over(candidates, self.pace, now)

    # --- results of a request

    def opened(self, request: PartRequest, remote: RemoteFile, ranged: bool) -> bool:
        """Take a response before its body; False if it is useless, without being a failure.

        :param ranged: whether the body begins at the requested position; otherwise it begins at the start of the file.
        """
        part, address = request.part, request.address
        if request.is_stale or self.is_over:
            return False
        checks.check_identity(part, address, remote)
        if not address.has_tag:
            address.tag, address.has_tag = remote.tag, True
            # Until the journal is written again, it has this address without a tag.
            self.journal_due = True
        if part.size is None and remote.size is not None:
            part.size, part.sized_by = remote.size, address.url
            request.end = part.size
            transfer_state.place(self.parts)
            self._check_total()
        if not request.ranged:
            return not self.is_over
        if ranged:
            address.ranges = True if address.ranges is None else address.ranges
            return not self.is_over
        # The server ignored the range.
        address.ranges = False
        if request.start or len(part.requests) > 1:
            return False
        self.taken.add(request.base, part.end or request.base)
        request.end, request.ranged = part.size, False
        return not self.is_over

    def accept(self, request: PartRequest, length: int, opening: bytes) -> int:
        """Return how many received bytes are needed; 0 if the request is over.

        :param opening: the first few of the bytes.
        """
        if request.is_stale or self.is_over:
            return 0
        if request.end is not None:
            length = max(0, min(length, request.end - request.position))
        checks.check_magic(request, opening[:length])
        request.pending = length
        return length

    def has_room(self) -> bool:
        """Return whether more bytes may be written before the next checkpoint."""
        return self.is_over or self.written.total - self.safe.total < self.pace.unsafe

    def add_written(self, request: PartRequest, length: int) -> bool:
        """Add bytes that were written to the file; False if the request is over."""
        part, address = request.part, request.address
        request.pending = 0
        if request.is_stale or self.error is not None:
            return False
        start = request.base + request.position
        self.written.add(start, start + length)
        self.taken.add(start, start + length)
        request.position += length
        part.came_from.add(address.url)
        if request.made_progress(self.pace.progress):
            address.failures = 0
        return request.end is None or request.position < request.end

    def closed(self, request: PartRequest, now: float) -> None:
        """Take the end of a response, or its close after all requested bytes."""
        part = request.part
        is_stale = request.is_stale
        if not is_stale and request.end is None and self.error is None:
            # The end of the body is the end of the part. Known sizes are compared with it.
            part.size, part.sized_by = request.position, request.address.url
            transfer_state.place(self.parts)
            self._check_total()
        is_short = request.end is not None and request.position < request.end
        if is_short and not is_stale and not self.is_over:
            found = f"the server closed the connection after {request.position} of {request.end} bytes"
            self.failed(request, TransientFailureError.of_content(request.address.label, found), now)
            return
        if not is_stale:
            request.address.completed(request.rate(now))
        self.release(request)
        self._settle()

    def failed(self, request: PartRequest, error: HerdError, now: float) -> None:
        """Take the failure of a request: retry later, use another address, or end the transfer."""
        part, address = request.part, request.address
        made_progress = request.made_progress(self.pace.progress)
        if not request.ranged:
            part.furthest = max(part.furthest, request.position)
        self.release(request)
        if request.is_stale or request.is_complete or self.is_over or address not in part.addresses:
            return
        if isinstance(error, OtherSizeError) and part.is_corrected_by(address):
            self._forget_size(part)
            return
        if not isinstance(error, TransientFailureError):
            self._refuse(part, address, error)
            return
        if made_progress and error.pause is None and self.backoff.retries:
            self.messages.append(f"{error.found}; continuing")
            return
        others = transfer_state.under_way(self.parts, address.server)
        if error.overloaded:
            address.server.refused(others, None if error.pause is None else now + error.pause)
        if request.epoch != address.epoch and self.backoff.retries:
            return
        if error.overloaded and others and error.pause is None:
            # The server accepts some of the requests: send fewer at a time.
            return
        address.failures += 1
        address.epoch += 1
        pause = self.backoff.pause(address.failures, error.pause)
        # If there is another address, one retry is enough.
        if pause is None or (len(part.addresses) > 1 and address.failures > 1):
            self.exhausted.add(server_of(address.url))
            self._refuse(part, address, error.after_retries(address.failures))
            return
        address.resume_at = now + pause
        self.messages.append(f"{error.found}; trying again in {pause:.0f} s")

    def _refuse(self, part: PartState, address: Address, error: HerdError) -> None:
        """Send no further request for this part to this address."""
        part.addresses.remove(address)
        part.last = address
        part.refused.append((address.label, error))
        if not part.addresses:
            self.error = self.error or combined(part.refused)
            return
        self.messages.append(f"{error.found} at {address.label}; continuing with {part.addresses[0].label}")
        if not part.can_combine:
            self._discard(part)

    def _forget_size(self, part: PartState) -> None:
        """Discard a part whose size only a mirror stated, so that another address tells it."""
        self.messages.append(f"the size of {part.segment.part.label} at a mirror is wrong; fetching it again")
        part.forget_size()
        self._discard(part)

    def release(self, request: PartRequest) -> None:
        """Take back a request that is over, and the bytes that it did not deliver."""
        request.part.requests.remove(request)
        if request.is_stale:
            return
        start, end = request.base + request.position, request.base + (request.end or request.position)
        self.taken.cut(start, end)
        for low, high in self.written.within(start, end):
            self.taken.add(low, high)

    # --- verification

    def _check_total(self) -> None:
        end = self.parts[-1].end
        if end is not None and self.target.size not in (None, end):
            self._reject_all(checks.wrong_size(self.target, end))

    def _reject_all(self, error: HerdError) -> None:
        for part in self.parts:
            self._discard(part)
        self.abort(error)

    def next_hash_task(self, stream: int) -> HashTask | None:
        """Find the next task of a hash stream; None if there is nothing to read yet."""
        return None if self.is_over else self.streams.next_task(stream, self.written, self.pace.block)

    def hashed(self, stream: int, task: HashTask) -> None:
        if self.streams.finish(stream, task):
            self._settle()

    def _settle(self) -> None:
        """Compare the checksums of all parts that are read to their end."""
        whole = None if self.is_over else self.streams.settle(self._check_part)
        if whole is not None and not self.is_over:
            self._check_whole(whole)

    def _check_part(self, index: int, found: str) -> bool:
        """Compare the checksum of a part; discard its bytes if it is wrong."""
        if self.is_over:
            return False
        part = self.parts[index]
        if part.segment.sha256 not in (None, found):
            self._wrong_part(part, found)
            return False
        part.sha256 = found
        return True

    def _wrong_part(self, part: PartState, found: str) -> None:
        came_from, address = part.came_from, part.addresses[0]
        self._discard(part)
        if came_from == {address.url}:
            self._refuse(part, address, checks.wrong_part(part, found))
        else:
            part.single_source = True
            self.messages.append(
                f"the bytes of {part.segment.part.label} are wrong; fetching them again from one address"
            )

    def _check_whole(self, found: str) -> None:
        if self.target.sha256 in (None, found):
            self.whole_sha256 = found
        else:
            self._reject_all(checks.wrong_file(self.target, found))

    def _discard(self, part: PartState) -> None:
        """Discard all bytes of a part, so that neither this run nor a later one uses them."""
        base = part.base or 0
        end = part.end if part.end is not None else max(base, self.written.end)
        for extents in (self.written, self.taken, self.safe):
            extents.cut(base, end)
        part.generation += 1
        part.held = self.journal_due = True
        part.came_from = set()
        part.sha256 = None
        if part.segment.size is None:
            # Only the bytes told the size. Without them, the positions of all later parts are unknown.
            for later in self.parts[part.index + 1 :]:
                if later.base is not None:
                    self._discard(later)
            part.size = None
            transfer_state.place(self.parts)
        self.streams.go_back(part.index)

    # --- checkpoints

    def is_checkpoint_due(self) -> bool:
        return self.journal_due or self.written.total - self.safe.total >= self.pace.checkpoint

    def snapshot(self) -> Snapshot:
        """Begin a checkpoint, before the bytes are forced to disk."""
        self.journal_due = False
        held = [(part, part.generation) for part in self.parts if part.held]
        return Snapshot(self.written.copy(), self.identities, held)

    def checkpoint_done(self, snapshot: Snapshot) -> None:
        """End a checkpoint, after its journal was forced to disk."""
        for start, end in snapshot.written:
            for low, high in self.written.within(start, end):
                self.safe.add(low, high)
        for part, generation in snapshot.held:
            part.held = part.held and part.generation != generation
