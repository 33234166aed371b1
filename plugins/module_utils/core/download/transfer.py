# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer of one file, as decisions: who fetches what from where, what is right, what to do when it is not.

It knows no threads, sockets or clocks. A crew (see the port of that name) asks it for orders, carries them out
with several connections at once, and tells it what came of them; it must be asked by one thread at a time.

- The connections work near the front of the file, so that the checksum follows them closely.
- Until an address has shown that it serves ranges, and after it failed, it gets one request at a time. One that
  serves none gets the whole part as one request, from the beginning.
- Bytes of two addresses come together only where a sha256 says that they must be the same. Where the sum of such
  a mixture is wrong, the part is fetched again from one address alone.
- Bytes that turn out to be wrong leave the journal before others are written in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol, Union

from ..errors import HerdError, MismatchError, RemoteFailureError, TransientFailureError
from .extents import Extents
from .files import Target, public_url, server_of
from .hashing import Lane, Work
from .retry import Backoff, Pace
from .sources import Segment, agree, combined

MAGIC = b"GGUF"
#: Something that tells bytes of an earlier run from those of an address.
EARLIER = "earlier"
#: Seconds after which a crew that has nothing to do asks again, if nobody wakes it.
IDLE = 5.0

Next = Optional[Union["Order", float]]


class Reply(Protocol):
    """An answer, before its body.

    :ivar ranged: whether it begins where it was asked to; otherwise at the beginning.
    :ivar total: size of the whole file.
    """

    @property
    def ranged(self) -> bool: ...
    @property
    def total(self) -> int | None: ...
    @property
    def tag(self) -> str | None: ...
    @property
    def sha256(self) -> str | None: ...


class Address:
    """One place that may have a part, and what we know of it."""

    def __init__(self, url: str, tag: str | None, met: bool) -> None:
        self.url = url
        self.label = public_url(url)
        self.tag = tag
        #: Whether the tag is known: it may be known to be None.
        self.met = met
        self.ranges: bool | None = None
        self.failures = 0
        #: Of those that fail together only the first counts.
        self.epoch = 0
        self.resume_at = float("-inf")
        #: How many requests at a time the server bears; None if it never complained.
        self.width: int | None = None


class Order:
    """One request: bytes of one part from one address; positions count from the beginning of the part.

    :ivar end: None for all bytes to the end, wherever that is.
    :ivar ranged: whether to ask for a range.
    """

    def __init__(self, part: PartState, address: Address, start: int, end: int | None, ranged: bool) -> None:
        self.part = part
        self.address = address
        self.start = start
        self.end = end
        self.ranged = ranged
        self.position = start
        #: Where in the file the part begins.
        self.base = part.base or 0
        self.generation = part.generation
        self.epoch = address.epoch

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def tag(self) -> str | None:
        return self.address.tag if self.address.met else None

    @property
    def left(self) -> int:
        return 0 if self.end is None else self.end - self.position


class PartState:
    """A part on its way."""

    def __init__(self, index: int, segment: Segment) -> None:
        self.index = index
        self.segment = segment
        self.size = segment.size
        self.base: int | None = None
        known = segment.tag is not None or segment.url != ""
        self.addresses = [Address(segment.url or segment.part.url, segment.tag, known)]
        self.addresses += [Address(url, None, False) for url in segment.others]
        #: Where the bytes came from when no address is left.
        self.last = self.addresses[0]
        self.orders: list[Order] = []
        #: Grows when the bytes that landed so far are given up.
        self.generation = 0
        #: Its bytes were given up, and the journal on disk does not say so yet.
        self.held = False
        #: No bytes of two addresses, although the checksum is known: a mixture was wrong.
        self.alone = False
        self.came_from: set[str] = set()
        #: Addresses that are asked no more, with the reason.
        self.refused: list[tuple[str, HerdError]] = []
        #: The furthest that a request for the whole part came.
        self.furthest = 0
        self.sha256: str | None = None

    @property
    def end(self) -> int | None:
        return None if self.base is None or self.size is None else self.base + self.size

    @property
    def mixes(self) -> bool:
        """Whether bytes of different addresses may come together."""
        return self.segment.sha256 is not None and not self.alone

    def identity(self) -> dict[str, Any]:
        """For the journal: whose bytes these are."""
        address = self.addresses[0] if self.addresses else self.last
        from_here = Segment(
            self.segment.part, self.size, self.segment.sha256, address.tag if address.met else None, address.url
        )
        return from_here.identity()


class Snapshot:
    """What a checkpoint makes safe: the bytes that had landed when it began."""

    def __init__(self, landed: Extents, parts: list[dict[str, Any]], held: list[tuple[PartState, int]]) -> None:
        self.landed = landed
        self.parts = parts
        self.held = held


class Transfer:
    """One file on its way to the disk."""

    def __init__(
        self, target: Target, segments: Sequence[Segment], kept: Extents, pace: Pace, backoff: Backoff
    ) -> None:
        self.target = target
        self.parts = [PartState(index, segment) for index, segment in enumerate(segments)]
        self.pace = pace
        self.backoff = backoff
        self.landed = kept.copy()
        #: Landed, or being fetched.
        self.taken = kept.copy()
        self.safe = kept.copy()
        self.kept_end = kept.end
        self.error: HerdError | None = None
        self.whole_sha256: str | None = None
        #: Told what an operator should see of failures that are forgiven.
        self.news: list[str] = []
        #: Servers that failed until patience ended; other parts ask them last.
        self.worn: set[str] = set()
        self.journal_due = False
        self._place_parts()
        for part in self.parts:
            if part.base is not None and part.end is not None and kept.within(part.base, part.end):
                part.came_from.add(EARLIER)
        self.lanes = [Lane(0, 0, fresh=False)]
        self._follow_parts()

    # --- what there is to say

    @property
    def size(self) -> int | None:
        end = self.parts[-1].end
        return self.target.size if end is None else end

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do, for better or worse."""
        return self.error is not None or self.complete

    @property
    def complete(self) -> bool:
        return self.whole_sha256 is not None

    @property
    def identities(self) -> list[dict[str, Any]]:
        return [part.identity() for part in self.parts]

    def digests(self) -> list[tuple[int, str | None]]:
        """Size and sha256 of each part."""
        return [(part.size or 0, part.sha256) for part in self.parts]

    def abort(self, error: HerdError) -> None:
        """Something outside went wrong: the disk, or a person's patience."""
        self.error = self.error or error

    # --- orders

    def next_order(self, now: float) -> Next:
        """An order; or seconds to wait for one; or None when there will be none."""
        if self.over:
            return None
        wait = IDLE
        for part in self.parts:
            if part.base is None:
                break
            address = self._preferred(part)
            if part.held or any(order.generation != part.generation for order in part.orders):
                continue
            if now < address.resume_at:
                wait = min(wait, address.resume_at - now)
                continue
            if len(part.orders) >= self._width(part, address):
                continue
            order = self._whole(part, address) if address.ranges is False else self._piece(part, address)
            if order is not None:
                part.orders.append(order)
                return order
        return self._steal() or wait

    def _preferred(self, part: PartState) -> Address:
        """The first address whose server has not failed us with another part, if there is one."""
        best = min(part.addresses, key=lambda address: server_of(address.url) in self.worn)
        if best is not part.addresses[0]:
            part.addresses.remove(best)
            part.addresses.insert(0, best)
            if not part.mixes:
                self._give_up(part)
        return best

    def _width(self, part: PartState, address: Address) -> int:
        if address.ranges is not True or address.failures:
            return 1
        return self.pace.connections if address.width is None else address.width

    def _piece(self, part: PartState, address: Address) -> Order | None:
        base, end = part.base or 0, part.end
        if not self._can_continue(part, address):
            return self._whole(part, address)
        if end is None:
            # Where it ends is not known, so it cannot be cut in pieces.
            start = self.landed.reach(base)
            return Order(part, address, start - base, None, start > base) if not part.orders else None
        gap = self.taken.first_gap(base, end)
        if gap is None or self._too_far_ahead(gap[0]):
            return None
        start = gap[0]
        left = (self.size or end) - self.landed.total
        stop = min(gap[1], start + self.pace.request(left))
        self.taken.add(start, stop)
        return Order(part, address, start - base, stop - base, True)

    def _whole(self, part: PartState, address: Address) -> Order | None:
        """All of a part in one request, from an address that cannot begin in the middle."""
        base = part.base or 0
        if part.orders or (part.end is not None and self.landed.reach(base) >= part.end):
            return None
        if self.landed.reach(base) > base or (part.end is not None and self.taken.within(base, part.end)):
            self._give_up(part)
            return None
        self.taken.add(base, part.end or base)
        return Order(part, address, 0, part.size, False)

    def _can_continue(self, part: PartState, address: Address) -> bool:
        """With nothing that identifies the content, a later range could be of another file."""
        return part.segment.sha256 is not None or not address.met or address.tag is not None

    def _too_far_ahead(self, position: int) -> bool:
        front = self.lanes[0].position
        return position - front > self.pace.ahead and front >= self.kept_end

    def _steal(self) -> Order | None:
        """With nothing left to give out, the second half of what the slowest still has to do."""
        candidates = [
            order
            for part in self.parts
            for order in part.orders
            if order.ranged
            and order.generation == part.generation
            and part.addresses[0] is order.address
            and order.address.ranges
            and len(part.orders) < self._width(part, order.address)
            and order.left >= 4 * self.pace.smallest
        ]
        if not candidates:
            return None
        victim = max(candidates, key=lambda order: order.left)
        middle = victim.position + victim.left // 2
        order = Order(victim.part, victim.address, middle, victim.end, True)
        victim.end = middle
        victim.part.orders.append(order)
        return order

    # --- what becomes of an order

    def opened(self, order: Order, reply: Reply) -> bool:
        """The server has answered; False if the answer is of no use, without anybody's fault."""
        part, address = order.part, order.address
        if order.generation != part.generation or self.over:
            return False
        self._check_identity(part, address, reply)
        if not address.met:
            address.tag, address.met = reply.tag, True
            # The journal on disk names this address without a tag until it is written again.
            self.journal_due = True
        if part.size is None and reply.total is not None:
            part.size = order.end = reply.total
            self._place_parts()
            self._check_total()
        if not order.ranged:
            return not self.over
        if reply.ranged:
            address.ranges = True if address.ranges is None else address.ranges
            return not self.over
        # It began at the beginning, wherever it was asked to.
        address.ranges = False
        if order.start or len(part.orders) > 1:
            return False
        self.taken.add(order.base, part.end or order.base)
        order.end, order.ranged = part.size, False
        return not self.over

    @staticmethod
    def _check_identity(part: PartState, address: Address, reply: Reply) -> None:
        """Refuse the content of another file."""
        unknown = reply.tag is None and part.segment.sha256 is not None
        if address.met and reply.tag != address.tag and not unknown:
            raise MismatchError(
                f"the same {address.label} as before (ETag {address.tag}, {part.size} bytes)",
                f"ETag {reply.tag}, {reply.total} bytes",
                "the file was replaced while it was fetched: run again to fetch the new one",
            )
        agree("size", address.label, part.size, reply.total)
        agree("sha256", address.label, part.segment.sha256, reply.sha256)

    def accept(self, order: Order, length: int, opening: bytes) -> int:
        """How many bytes of a piece are wanted; none if the order is over.

        :param opening: the first few of them.
        """
        if order.generation != order.part.generation or self.over:
            return 0
        if order.end is not None:
            length = max(0, min(length, order.end - order.position))
        if length and order.base + order.position < len(MAGIC):
            self._check_magic(order, opening[:length])
        return length

    def room(self) -> bool:
        """Whether more may be written before something is made safe."""
        return self.over or self.landed.total - self.safe.total < self.pace.unsafe

    def put(self, order: Order, length: int) -> bool:
        """So many bytes are in the file; False if the order is over."""
        part, address = order.part, order.address
        if order.generation != part.generation or self.error is not None:
            return False
        start = order.base + order.position
        self.landed.add(start, start + length)
        self.taken.add(start, start + length)
        order.position += length
        part.came_from.add(address.url)
        if self._moved(order):
            address.failures = 0
        return order.end is None or order.position < order.end

    def _moved(self, order: Order) -> bool:
        """Whether an order brought enough to say that the server works."""
        if not order.ranged:
            return order.position - order.part.furthest >= self.pace.progress
        came = order.position - order.start
        # A third of what was asked for is much, also where that is a handful of bytes and an odd number.
        return came >= self.pace.progress or 2 * came >= order.left

    def closed(self, order: Order, now: float) -> None:
        """The answer ended, or was left because it had brought everything."""
        part = order.part
        stale = order.generation != part.generation
        if not stale and order.end is None and self.error is None:
            # It ended where the server said, or the server said nothing; the sizes that are known are held against it.
            part.size = order.position
            self._place_parts()
            self._check_total()
        short = order.end is not None and order.position < order.end
        if short and not stale and not self.over:
            error = TransientFailureError(
                f"the content of {order.address.label}",
                f"the server closed the connection after {order.position} of {order.end} bytes",
                "see that the server is up and reachable from this host",
            )
            self.failed(order, error, now)
            return
        order.address.failures = 0 if not stale else order.address.failures
        self._release(order)
        self._settle()

    def useless(self, order: Order) -> None:
        """The answer was of no use, without anybody's fault."""
        self._release(order)

    def failed(self, order: Order, error: HerdError, now: float) -> None:
        """The order could not be carried out, or not to its end."""
        part, address = order.part, order.address
        moved = self._moved(order)
        if not order.ranged:
            part.furthest = max(part.furthest, order.position)
        self._release(order)
        if order.generation != part.generation or self.over or address not in part.addresses:
            return
        if not isinstance(error, TransientFailureError):
            self._refuse(part, address, error)
            return
        others = len(part.orders)
        if moved and error.pause is None and self.backoff.retries:
            self.news.append(f"{error.found}; going on")
            return
        if order.epoch != address.epoch and self.backoff.retries:
            return
        if error.crowded and others and error.pause is None:
            # It serves some and not all: fewer at a time.
            address.width = others
            return
        address.failures += 1
        address.epoch += 1
        pause = self.backoff.pause(address.failures, error.pause)
        # Where there is another address, one more try is patience enough.
        if pause is None or (len(part.addresses) > 1 and address.failures > 1):
            self.worn.add(server_of(address.url))
            self._refuse(part, address, self._patience_ended(address, error))
            return
        address.resume_at = now + pause
        self.news.append(f"{error.found}; trying again in {pause:.0f} s")

    def _patience_ended(self, address: Address, error: TransientFailureError) -> HerdError:
        if error.pause is not None and error.pause > self.backoff.patience:
            return RemoteFailureError(
                error.expected,
                f"{error.found} and asks to come back in {error.pause:.0f} s",
                "run again then: it continues where it stopped; or name a mirror",
            )
        return RemoteFailureError(
            error.expected,
            f"{error.found}, {address.failures} times in a row",
            "see that the server is up and reachable from this host, then run again: it continues where it stopped",
        )

    def _refuse(self, part: PartState, address: Address, error: HerdError) -> None:
        """Ask this address no more for this part."""
        part.addresses.remove(address)
        part.last = address
        part.refused.append((address.label, error))
        if not part.addresses:
            self.error = self.error or combined(part.refused)
            return
        self.news.append(f"{error.found} at {address.label}; going on with {part.addresses[0].label}")
        if not part.mixes:
            self._give_up(part)

    def _release(self, order: Order) -> None:
        part = order.part
        part.orders.remove(order)
        if order.generation != part.generation:
            return
        start, end = order.base + order.position, order.base + (order.end or order.position)
        self.taken.cut(start, end)
        for low, high in self.landed.within(start, end):
            self.taken.add(low, high)

    # --- what is right

    def _check_magic(self, order: Order, data: bytes) -> None:
        at = order.base + order.position
        wanted = MAGIC[at : at + len(data)]
        if data[: len(wanted)] == wanted:
            return
        opening = data[:40].lstrip()
        page = " (a web page, such as one that asks for a login)" if opening[:1] == b"<" else ""
        raise MismatchError(
            f"a GGUF file, which begins with the letters GGUF, from {order.address.label}",
            f"{opening!r}{page}",
            "open the address by hand; a gated model needs a token",
        )

    def _place_parts(self) -> None:
        base: int | None = 0
        for part in self.parts:
            part.base = base
            base = None if base is None or part.size is None else base + part.size

    def _check_total(self) -> None:
        end = self.parts[-1].end
        if end is not None and self.target.size not in (None, end):
            for part in self.parts:
                self._give_up(part)
            self.abort(
                MismatchError(
                    f"{self.target.size} bytes in {self.target.name}",
                    str(end),
                    "the file was removed; compare the size with the publisher's and run again",
                )
            )

    def hash_work(self, lane_number: int) -> Work | None:
        """What a lane may read now, if it is worth the while."""
        if self.over or lane_number >= len(self.lanes):
            return None
        lane = self.lanes[lane_number]
        if lane.part >= len(self.parts) or self.parts[lane.part].base is None:
            return None
        end = self.parts[lane.part].end
        limit = self.landed.reach(lane.position)
        limit = limit if end is None else min(end, limit)
        come = limit - lane.position
        if come <= 0 or (come < self.pace.block and limit != end):
            return None
        return lane.work(min(limit, lane.position + 4 * self.pace.block))

    def hashed(self, lane_number: int, work: Work) -> None:
        """A lane has read."""
        if lane_number < len(self.lanes) and self.lanes[lane_number].done(work):
            self._settle()

    def _follow_parts(self) -> None:
        """A second lane as soon as it is known where the second part begins."""
        known = len(self.parts) > 1 and self.parts[1].base is not None
        if known and len(self.lanes) == 1:
            self.lanes.append(Lane(1, self.parts[1].base or 0, fresh=True))
        elif not known:
            del self.lanes[1:]

    def _settle(self) -> None:
        """See which lanes have come to the end of a part, and hold the sums against those that are known."""
        self._follow_parts()
        for lane in self.lanes:
            while lane.part < len(self.parts) and not self.over:
                part = self.parts[lane.part]
                if part.end is None or lane.position < part.end:
                    break
                if lane is not self.lanes[0] or part.index == 0:
                    found = lane.hexdigest()
                    if part.segment.sha256 not in (None, found):
                        self._wrong_part(part, found)
                        break
                    part.sha256 = found
                lane.next_part()
        # Without a second part in sight there is no second lane yet.
        followed = len(self.lanes) == min(2, len(self.parts))
        if not self.over and followed and all(lane.part >= len(self.parts) for lane in self.lanes):
            self._check_whole(self.lanes[0].hexdigest())

    def _wrong_part(self, part: PartState, found: str) -> None:
        came_from = part.came_from
        error = MismatchError(
            f"sha256 {part.segment.sha256} of {part.addresses[0].label}",
            found,
            "its bytes were removed and are fetched again next time; if it happens twice, compare the checksum"
            " with the publisher's",
        )
        self._give_up(part)
        if came_from == {part.addresses[0].url}:
            self._refuse(part, part.addresses[0], error)
        else:
            part.alone = True
            self.news.append(f"the bytes of {part.segment.part.label} are wrong; fetching them again from one place")

    def _check_whole(self, found: str) -> None:
        if self.target.sha256 not in (None, found):
            for part in self.parts:
                self._give_up(part)
            self.abort(
                MismatchError(
                    f"sha256 {self.target.sha256} of the whole {self.target.name}",
                    found,
                    "compare the checksum with the publisher's; all parts were removed and are fetched again next time",
                )
            )
            return
        self.whole_sha256 = found

    def _give_up(self, part: PartState) -> None:
        """Take back all bytes of a part, so that neither this run nor a later one builds on them."""
        base = part.base or 0
        end = part.end if part.end is not None else max(base, self.landed.end)
        for extents in (self.landed, self.taken, self.safe):
            extents.cut(base, end)
        part.generation += 1
        part.held = self.journal_due = True
        part.came_from = set()
        part.sha256 = None
        if part.segment.size is None:
            # Nobody but the bytes said how long it is, and with them the places of all that come after it are gone.
            for later in self.parts[part.index + 1 :]:
                if later.base is not None:
                    self._give_up(later)
            part.size = None
            self._place_parts()
        for lane in self.lanes:
            lane.go_back(part.index)
        self._follow_parts()

    # --- making safe

    def checkpoint_due(self) -> bool:
        return self.journal_due or self.landed.total - self.safe.total >= self.pace.checkpoint

    def snapshot(self) -> Snapshot:
        """Before the bytes are forced to disk."""
        self.journal_due = False
        held = [(part, part.generation) for part in self.parts if part.held]
        return Snapshot(self.landed.copy(), self.identities, held)

    def made_safe(self, snapshot: Snapshot) -> None:
        """After the journal of a snapshot was forced to disk."""
        for start, end in snapshot.landed:
            for low, high in self.landed.within(start, end):
                self.safe.add(low, high)
        for part, generation in snapshot.held:
            part.held = part.held and part.generation != generation
