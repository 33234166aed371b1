# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a transfer: connections that fetch, lanes that hash, and one that makes the bytes safe.

What is to be done is decided by the transfer (core/fetch_transfer.py), which is asked and told under one lock; what
takes time happens outside of it. Python's big lock is no hindrance: sockets, files and SHA-256 let go of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from ...core.errors import HerdError, TransientFailureError

if TYPE_CHECKING:
    from ...core.download.retry import Bucket, Drip
    from ...core.download.transfer import Order, Transfer
    from ..files import Landing
    from .http import Web

#: Bytes that are written at once, if they come quickly.
GATHER = 1 << 20
#: Seconds after which those that came are written.
PATIENCE = 0.02
#: Seconds of a capped bandwidth that come as one piece.
EVENLY = 0.1
#: Bytes that are read for a checksum at once.
BLOCK = 1 << 20
#: Bytes, or seconds, after which it is noted what has landed.
NOTE_BYTES = 4 << 20
NOTE_SECONDS = 0.005
PROGRESS_SECONDS = 0.5
LANES = 2

Say = Callable[[str, float, Optional[float]], None]


class Crew:
    """Carries out transfers.

    :param drip: makes the judge of one connection's pace.
    :param say: told how far the work is.
    """

    def __init__(self, web: Web, connections: int, bucket: Bucket, drip: Callable[[], Drip], say: Say) -> None:
        self._web = web
        self._connections = connections
        self._bucket = bucket
        self._drip = drip
        self._say = say

    def run(self, transfer: Transfer, landing: Landing, save: Callable[[Any], None], note: Callable[[], None]) -> None:
        """Until the transfer is over. Nobody writes to the landing any more when this returns.

        :param save: brings the journal of a snapshot to the disk, when the bytes are there.
        :param note: notes what has landed; called by one thread at a time.
        """
        _Run(self, transfer, landing, save, note).until_over()

    def parts(self) -> tuple[Web, int, Bucket, Callable[[], Drip], Say]:
        return self._web, self._connections, self._bucket, self._drip, self._say


class _Run:
    """One transfer with its lock."""

    def __init__(
        self,
        crew: Crew,
        transfer: Transfer,
        landing: Landing,
        save: Callable[[Any], None],
        note: Callable[[], None],
    ) -> None:
        self._web, self._connections, self._bucket, self._drip, self._say = crew.parts()
        self._transfer = transfer
        self._landing = landing
        self._save = save
        self._note = note
        self._lock = threading.Lock()
        #: Those who wait: for an order or for room, for bytes to hash, for bytes to make safe, for the end.
        self._idle = threading.Condition(self._lock)
        self._readers = threading.Condition(self._lock)
        self._saver = threading.Condition(self._lock)
        self._end = threading.Condition(self._lock)
        self._writing = 0
        self._noted_at = 0.0
        self._noted_bytes = transfer.landed.total
        rate = self._bucket.rate
        # With a cap, pieces are so small that the bytes come evenly.
        self._gather = GATHER if not rate else max(4096, min(GATHER, int(rate * EVENLY)))

    def until_over(self) -> None:
        workers = [self._start(self._fetch) for _each in range(self._connections)]
        others = [self._start(self._hash, number) for number in range(LANES)]
        others.append(self._start(self._make_safe))
        with self._lock:
            while not self._transfer.over:
                self._tell()
                self._end.wait(PROGRESS_SECONDS)
            # A worker may sit in front of a silent server; it finds out later that nobody needs it any more.
            while self._writing:
                self._end.wait()
            self._wake(True)
        for thread in others:
            thread.join()
        del workers

    def _start(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:
                self._abort(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _abort(self, error: Exception) -> None:
        with self._lock:
            known = error if isinstance(error, HerdError) else None
            self._transfer.abort(
                known
                or HerdError("to fetch and write the file", f"{type(error).__name__}: {error}", "report this as a bug")
            )
            self._wake(True)

    def _wake(self, everybody: bool) -> None:
        """After something was told to the transfer.

        :param everybody: also those who wait for an order or for room.
        """
        over = self._transfer.over
        self._readers.notify_all()
        if over or everybody:
            self._idle.notify_all()
        if over or self._transfer.checkpoint_due():
            self._saver.notify()
        if over:
            self._end.notify()

    def _tell(self) -> None:
        transfer = self._transfer
        landed, size = transfer.landed.total, transfer.size
        for text in transfer.news:
            self._say(text, landed, size)
        transfer.news.clear()
        if size is not None and landed >= size:
            self._say(f"checking {transfer.target.name}", transfer.lanes[0].position, size)
        else:
            self._say(f"fetching {transfer.target.name}", landed, size)

    # --- fetching

    def _fetch(self) -> None:
        while True:
            with self._lock:
                order = self._transfer.next_order(time.monotonic())
                self._wake(False)
                if order is None:
                    return
                if isinstance(order, float):
                    self._idle.wait(order)
                    continue
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        try:
            reply = self._web.open(order.url, order.start, order.end, order.ranged)
            with contextlib.closing(reply):
                ended = self._bring(order, reply)
        except HerdError as trouble:
            with self._lock:
                self._transfer.failed(order, trouble, time.monotonic())
                self._wake(True)
            return
        with self._lock:
            if ended:
                self._transfer.closed(order, time.monotonic())
            else:
                self._transfer.useless(order)
            self._wake(True)

    def _bring(self, order: Order, reply: Any) -> bool:
        """The body of one answer; False if it was of no use."""
        with self._lock:
            useful = self._transfer.opened(order, reply)
            # The others may have waited for what this answer says of its server.
            self._wake(True)
        drip = self._drip()
        going = useful
        while going:
            pieces, size, waited = self._gather_pieces(reply)
            if not size:
                return True
            going, ended = self._put(order, pieces, size)
            if ended:
                return True
            if going and drip.too_slow(size, waited):
                raise TransientFailureError(
                    f"the content of {order.address.label}",
                    f"less than {drip.slowest * drip.window:.0f} bytes in {drip.window:.0f} s",
                    "see that the server is up and reachable from this host",
                )
        return False

    def _gather_pieces(self, reply: Any) -> tuple[list[bytes], int, float]:
        """What comes in a moment; the seconds spent waiting for it."""
        began = now = time.monotonic()
        pieces: list[bytes] = []
        size = 0
        while size < self._gather and now - began < PATIENCE:
            try:
                data = reply.read(self._gather - size)
            except TransientFailureError:
                if not pieces:
                    raise
                # What has come is good; the next read tells again what went wrong.
                break
            now = time.monotonic()
            if not data:
                break
            pieces.append(data)
            size += len(data)
        return pieces, size, now - began

    def _put(self, order: Order, pieces: list[bytes], size: int) -> tuple[bool, bool]:
        """Bring pieces to the disk; whether to go on, and whether the order has brought all it should."""
        transfer = self._transfer
        with self._lock:
            while not transfer.room():
                self._idle.wait()
            pause = self._bucket.take(size, time.monotonic())
            wanted = transfer.accept(order, size, pieces[0][:16])
            if not wanted:
                return False, order.left == 0 and order.end is not None
            self._writing += 1
        try:
            self._landing.write(order.base + order.position, _first(pieces, wanted))
        except HerdError as error:
            # The disk's fault, and not the server's.
            self._abort(error)
        finally:
            with self._lock:
                self._writing -= 1
                self._end.notify()
        with self._lock:
            going = transfer.put(order, wanted)
            self._note_it()
            self._wake(False)
        if pause:
            self._rest(pause)
        return going, not going

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._lock:
            while not self._transfer.over and time.monotonic() < until:
                self._idle.wait(max(0.0, until - time.monotonic()))

    def _note_it(self) -> None:
        now, landed = time.monotonic(), self._transfer.landed.total
        if now - self._noted_at >= NOTE_SECONDS or landed - self._noted_bytes >= NOTE_BYTES:
            self._note()
            self._noted_at, self._noted_bytes = now, landed

    # --- checking

    def _hash(self, lane: int) -> None:
        buffer = memoryview(bytearray(BLOCK))
        while True:
            with self._lock:
                work = self._transfer.hash_work(lane)
                while work is None:
                    if self._transfer.over:
                        return
                    self._readers.wait()
                    work = self._transfer.hash_work(lane)
            position = work.start
            while position < work.end:
                came = self._landing.read(position, buffer[: min(BLOCK, work.end - position)])
                if not came:
                    raise HerdError(
                        f"the bytes that were written at {position}", "the end of the file", "look after the disk"
                    )
                work.digest.update(buffer[:came])
                position += came
            with self._lock:
                self._transfer.hashed(lane, work)
                self._wake(True)

    # --- making safe

    def _make_safe(self) -> None:
        while True:
            with self._lock:
                while not self._transfer.over and not self._transfer.checkpoint_due():
                    self._saver.wait()
                if self._transfer.over:
                    return
                snapshot = self._transfer.snapshot()
            self._landing.sync()
            self._save(snapshot)
            with self._lock:
                self._transfer.made_safe(snapshot)
                # Bytes that were given up leave the note too, before others may be written in their place.
                self._note()
                self._wake(True)


def _first(pieces: list[bytes], size: int) -> list[bytes]:
    """So many bytes of pieces."""
    kept = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece[:size])
        size -= len(piece)
    return kept
