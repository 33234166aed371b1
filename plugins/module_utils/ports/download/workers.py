# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of a transfer: some fetch, some hash, and one forces the bytes to disk.

The transfer (core/download/transfer.py) makes the decisions. It is called under one lock; slow work happens outside of
the lock. The GIL is no obstacle: sockets, files and SHA-256 release it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from ...core.errors import HerdError, TransientFailureError

if TYPE_CHECKING:
    from ...core.download.retry import BandwidthLimit
    from ...core.download.sources import ReportProgress
    from ...core.download.transfer import Snapshot, Transfer
    from ...core.download.transfer_state import PartRequest
    from .content import FileContent, HttpContent
    from .http_client import HttpClient
    from .partial_file import PartialFile

#: Most bytes of one write.
GATHER_BYTES = 1 << 20
#: Seconds after which received bytes are written.
GATHER_SECONDS = 0.02
#: Seconds of a capped bandwidth in one write, so that the bytes arrive evenly.
CAPPED_SECONDS = 0.1
#: First bytes of a write by which a file of another kind is recognised.
OPENING = 64
#: Bytes of one read for a checksum.
BLOCK = 1 << 20
#: Bytes, or seconds, after which the progress record is written.
RECORD_BYTES = 4 << 20
RECORD_SECONDS = 0.005
REPORT_SECONDS = 0.5
HASH_STREAMS = 2

Content = Union["HttpContent", "FileContent"]


@dataclass(frozen=True)
class DownloadWorkers:
    """Run transfers."""

    client: HttpClient
    connections: int
    limit: BandwidthLimit
    report: ReportProgress

    def run(
        self, transfer: Transfer, file: PartialFile, save: Callable[[Snapshot], None], record: Callable[[], None]
    ) -> None:
        """Run a transfer to its end. When this returns, no thread writes to the file.

        :param save: writes the journal of a snapshot, once its bytes are on the disk.
        :param record: writes the progress record; called by one thread at a time.
        """
        _TransferRun(self, transfer, file, save, record).run()


class _TransferRun:
    """One transfer with its lock."""

    def __init__(
        self,
        workers: DownloadWorkers,
        transfer: Transfer,
        file: PartialFile,
        save: Callable[[Snapshot], None],
        record: Callable[[], None],
    ) -> None:
        self._workers = workers
        self._transfer = transfer
        self._file = file
        self._save = save
        self._record = record
        self._lock = threading.Lock()
        #: Threads that wait for a request or for room, for bytes to hash, for a checkpoint, for the end.
        self._idle = threading.Condition(self._lock)
        self._readers = threading.Condition(self._lock)
        self._saver = threading.Condition(self._lock)
        self._end = threading.Condition(self._lock)
        self._writing = 0
        self._recorded_at = 0.0
        self._recorded_bytes = transfer.written.total
        rate = workers.limit.rate
        self._gather_bytes = max(4096, min(GATHER_BYTES, int(rate * CAPPED_SECONDS))) if rate else GATHER_BYTES

    def run(self) -> None:
        for _each in range(self._workers.connections):
            self._start(self._fetch)
        others = [self._start(self._hash, stream) for stream in range(HASH_STREAMS)]
        others.append(self._start(self._checkpoint))
        with self._lock:
            while not self._transfer.is_over:
                self._report()
                self._end.wait(REPORT_SECONDS)
            # A fetching thread may still wait for a silent server. It ends by itself and writes nothing.
            while self._writing:
                self._end.wait()
            self._wake(True)
        for thread in others:
            thread.join()

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
                or HerdError.plain(f"The download failed with {type(error).__name__}: {error}", "report this as a bug")
            )
            self._wake(True)

    def _wake(self, everybody: bool) -> None:
        """Wake the threads that a change of the transfer concerns.

        :param everybody: wake also those that wait for a request or for room.
        """
        over = self._transfer.is_over
        self._readers.notify_all()
        if over or everybody:
            self._idle.notify_all()
        if over or self._transfer.is_checkpoint_due():
            self._saver.notify()
        if over:
            self._end.notify()

    def _report(self) -> None:
        transfer, report = self._transfer, self._workers.report
        written, size = transfer.written.total, transfer.size
        for text in transfer.messages:
            report(text, written, size)
        transfer.messages.clear()
        if size is not None and written >= size:
            report(f"checking {transfer.target.name}", transfer.streams.position, size)
        else:
            report(f"fetching {transfer.target.name}", written, size)

    # --- fetching

    def _fetch(self) -> None:
        while True:
            with self._lock:
                request = self._transfer.next_request(time.monotonic())
                self._wake(False)
                if request is None:
                    return
                if isinstance(request, float):
                    self._idle.wait(request)
                    continue
            self._send(request)

    def _send(self, request: PartRequest) -> None:
        try:
            content = self._workers.client.open(request.url, request.start, request.end, request.ranged)
            with contextlib.closing(content):
                ended = self._receive(request, content)
        except HerdError as error:
            with self._lock:
                self._transfer.failed(request, error, time.monotonic())
                self._wake(True)
            return
        with self._lock:
            if ended:
                self._transfer.closed(request, time.monotonic())
            else:
                self._transfer.release(request)
            self._wake(True)

    def _receive(self, request: PartRequest, content: Content) -> bool:
        """Write the body of a response to the file; False if the response is useless."""
        with self._lock:
            going = self._transfer.opened(request, content.remote, content.ranged)
            # Other threads may wait for what this response tells about its server.
            self._wake(True)
        while going:
            pieces, size = self._gather(content)
            if not size:
                return True
            going, ended = self._write(request, pieces, size)
            if ended:
                return True
        return False

    def _gather(self, content: Content) -> tuple[list[bytes], int]:
        """Read the next bytes for one write; return them and their size."""
        began = now = time.monotonic()
        pieces: list[bytes] = []
        size = 0
        while size < self._gather_bytes and now - began < GATHER_SECONDS:
            try:
                data = content.read(self._gather_bytes - size)
            except TransientFailureError:
                if not pieces:
                    raise
                # The bytes before the failure are right; the next read fails again.
                break
            now = time.monotonic()
            if not data:
                break
            pieces.append(data)
            size += len(data)
        return pieces, size

    def _write(self, request: PartRequest, pieces: list[bytes], size: int) -> tuple[bool, bool]:
        """Write pieces to the file; return whether to go on, and whether the request is complete."""
        transfer = self._transfer
        with self._lock:
            while not transfer.has_room():
                self._idle.wait()
            pause = self._workers.limit.take(size, time.monotonic())
            needed = transfer.accept(request, size, pieces[0][:OPENING])
            if not needed:
                return False, request.left == 0 and request.end is not None
            self._writing += 1
        try:
            self._file.write(request.base + request.position, _first(pieces, needed))
        except HerdError as error:
            # The disk failed, not the server.
            self._abort(error)
        finally:
            with self._lock:
                self._writing -= 1
                self._end.notify()
        with self._lock:
            going = transfer.add_written(request, needed)
            self._record_progress()
            self._wake(False)
        if pause:
            self._rest(pause)
        return going, not going

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._lock:
            while not self._transfer.is_over and time.monotonic() < until:
                self._idle.wait(max(0.0, until - time.monotonic()))

    def _record_progress(self) -> None:
        now, written = time.monotonic(), self._transfer.written.total
        if now - self._recorded_at >= RECORD_SECONDS or written - self._recorded_bytes >= RECORD_BYTES:
            self._record()
            self._recorded_at, self._recorded_bytes = now, written

    # --- hashing

    def _hash(self, stream: int) -> None:
        buffer = memoryview(bytearray(BLOCK))
        while True:
            with self._lock:
                task = self._transfer.next_hash_task(stream)
                while task is None:
                    if self._transfer.is_over:
                        return
                    self._readers.wait()
                    task = self._transfer.next_hash_task(stream)
            position = task.start
            while position < task.end:
                size = self._file.read(position, buffer[: min(BLOCK, task.end - position)])
                if not size:
                    raise HerdError.plain(
                        f"The partial file ends before byte {position}, which was written", "check the disk"
                    )
                task.digest.update(buffer[:size])
                position += size
            with self._lock:
                self._transfer.hashed(stream, task)
                self._wake(True)

    # --- checkpoints

    def _checkpoint(self) -> None:
        while True:
            with self._lock:
                while not self._transfer.is_over and not self._transfer.is_checkpoint_due():
                    self._saver.wait()
                if self._transfer.is_over:
                    return
                snapshot = self._transfer.snapshot()
            self._file.sync()
            self._save(snapshot)
            with self._lock:
                self._transfer.checkpoint_done(snapshot)
                # Discarded bytes leave the progress record too, before others may be written in their place.
                self._record()
                self._wake(True)


def _first(pieces: list[bytes], size: int) -> list[bytes]:
    kept = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece[:size])
        size -= len(piece)
    return kept
