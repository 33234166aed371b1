# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide a download: what is already there, what can be kept, what must be fetched, what is right.

Disk, servers and threads come in as objects (C(Disk), C(SourceClient) and C(DownloadWorkers), see ports/download), so
that every path can be tested without a disk or a server.

Hidden files beside a destination C(model.gguf):

- C(.model.gguf.incoming): the partial file. It gets its final name once it is verified.
- C(.model.gguf.journal): the remote files, with their identity, and the bytes of them that are on the disk.
- C(.model.gguf.written): the progress record, the bytes that the kernel has. It is valid as long as the machine runs.
- C(.model.gguf.verified): the verification record: size, time and checksums of the verified destination. While size
  and time are the same, nothing is hashed and no server is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from .. import text
from ..errors import InsufficientError, MismatchError, NotFoundError
from . import progress_record, sources, verification_record
from .extents import Extents
from .identity import FileIdentity
from .parts import Target
from .retry import Backoff, Pace
from .servers import Servers
from .sources import ReportProgress, Segment, SourceClient, Warn, total_size
from .transfer import Snapshot, Transfer

#: Receives the number of bytes that were hashed since the former call.
CountBytes = Callable[[int], None]


#: Receives the path of a file, the name that it will get, and whether it is joined from parts; raises an error if it
#: cannot be that model.
Inspect = Callable[[str, str, bool], None]


def _inspect_nothing(_path: str, _name: str, _is_joined: bool) -> None:
    """Accept every file."""


def _warn_nobody(_text: str) -> None:
    """Drop a warning."""


class PartialFile(Protocol):
    def reserve(self, size: int) -> None: ...
    def truncate(self, size: int) -> None: ...
    def write(self, position: int, pieces: Sequence[bytes]) -> None: ...
    def read(self, position: int, into: memoryview) -> int: ...
    def sync(self) -> None: ...
    def identity(self) -> FileIdentity: ...
    def set_owner(self, uid: int, gid: int, mode: int | None) -> None: ...
    def publish(self, dest: str) -> None: ...
    def close(self) -> None: ...


class LineFile(Protocol):
    def write(self, line: bytes) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    def identity(self, path: str) -> FileIdentity | None: ...
    def read_json(self, path: str) -> dict[str, Any]: ...
    def write_json(self, path: str, value: dict[str, Any]) -> None: ...
    def read_line(self, path: str) -> bytes: ...
    def open_line_file(self, path: str) -> LineFile: ...
    def open_partial_file(self, path: str) -> PartialFile: ...
    def boot_id(self) -> str: ...
    def remove(self, path: str) -> None: ...
    def free(self, path: str) -> int: ...
    def allocated(self, path: str) -> int: ...
    def hash_range(self, path: str, start: int, length: int, digests: list[Any], count: CountBytes) -> None: ...


class DownloadWorkers(Protocol):
    def run(
        self, transfer: Transfer, file: Any, save: Callable[[Snapshot], None], record: Callable[[], None]
    ) -> None: ...


@dataclass(frozen=True)
class DownloadPorts:
    """Disk, servers and threads of a download.

    :ivar inspect: judges a file before it gets its name.
    :ivar client: None if no server can be asked: in check mode on a host without the library requests.
    :ivar servers: the limits of the servers, for all files of a run.
    :ivar warn: receives a sentence about each mirror that is left out because it has another file.
    """

    disk: Disk
    client: SourceClient | None
    workers: DownloadWorkers | None
    report: ReportProgress
    servers: Servers = field(default_factory=Servers)
    inspect: Inspect = _inspect_nothing
    warn: Warn = _warn_nobody


@dataclass(frozen=True)
class DownloadPolicy:
    """The operator's choices beside the source.

    :ivar checksums: refuse a file whose sha256 neither the inventory nor the publisher knows.
    :ivar rehash: read a verified file again instead of trusting its size and time.
    :ivar uid: owner of the new file; -1 keeps it, as in chown(2). So do a gid of -1 and a mode of None.
    """

    checksums: bool = True
    rehash: bool = False
    uid: int = -1
    gid: int = -1
    mode: int | None = None
    pace: Pace = field(default_factory=Pace)
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class FileState:
    """A destination as it is, or will be: one side of a diff.

    :ivar verified: C(sha256), C(size), C(no) or C(absent).
    """

    path: str
    size: int | None
    sha256: str | None
    verified: str


@dataclass(frozen=True)
class DownloadOutcome:
    """State of one destination before and after.

    :ivar after: as it was planned.
    :ivar now: as C(after), with the facts that only the bytes could tell.
    :ivar to_fetch: bytes that had, or have, to be fetched; None if their number is unknown.
    """

    before: FileState
    after: FileState
    now: FileState
    to_fetch: int | None

    @property
    def changed(self) -> bool:
        return self.before != self.after or self.to_fetch != 0

    def diff(self) -> dict[str, Any]:
        headers = {"before_header": self.before.path, "after_header": self.after.path}
        return {"before": asdict(self.before), "after": asdict(self.after), **headers}


def preview(downloads: list[Download]) -> list[DownloadOutcome]:
    """Return the outcomes without writing; refuse a download that cannot work."""
    for download in downloads:
        download.prepare()
    _check_space(downloads)
    return [download.outcome() for download in downloads]


def may_change(downloads: list[Download]) -> bool:
    """Return whether there may be work; ask the servers and read the free space, but no file."""
    for download in downloads:
        download.estimate()
    _check_space(downloads)
    return any(download.segments for download in downloads)


def run(downloads: list[Download]) -> list[DownloadOutcome]:
    """Download. All files and the space for all of them are checked before the first byte of any."""
    for download in downloads:
        download.prepare()
    _check_space(downloads)
    for download in downloads:
        download.run()
    return [download.outcome() for download in downloads]


def _check_space(downloads: list[Download]) -> None:
    needed = sum(download.room_needed() for download in downloads)
    first = downloads[0]
    free = first.disk.free(first.partial)
    if needed > free:
        raise InsufficientError(
            f"{needed} free bytes ({text.size(needed)}) for {first.target.path}",
            f"{free} ({text.size(free)})",
            f"free {text.size(needed - free)} or more there, or choose another directory",
        )


class Download:
    """One destination and its source."""

    def __init__(self, target: Target, policy: DownloadPolicy, ports: DownloadPorts) -> None:
        self.target = target
        self.policy = policy
        self.disk = ports.disk
        self.ports = ports
        self.partial = target.beside("incoming")
        self.journal = target.beside("journal")
        self.progress = target.beside("written")
        self.record = target.beside("verified")
        self.before = FileState(target.path, None, None, "absent")
        self.after = self.now = self.before
        self.segments: list[Segment] = []
        self.kept = Extents()
        self.is_settled = False

    def is_recorded(self) -> bool:
        """Return whether the verification record alone confirms the destination: the fast path."""
        return not self.policy.rehash and self._confirmed(self.disk.identity(self.target.path)) is not None

    def prepare(self) -> None:
        """Check the destination; if it is not right, ask the servers and find the bytes that can be kept."""
        found = self.disk.identity(self.target.path)
        self.is_settled = found is not None and self._accept(found)
        if not self.is_settled and not self.segments:
            self.segments = self._resolve()
            self.is_settled = found is not None and self._published_matches(found)
        if self.is_settled:
            self.after = self.now = self.before
            return
        self.kept = self._kept()
        self.after = self.now = FileState(self.target.path, self._size(), self._expected(), self._how())

    def estimate(self) -> None:
        """Ask the servers, unless the destination is right, or may prove right once it is read."""
        if self.is_recorded():
            self.is_settled = True
            return
        found = self.disk.identity(self.target.path)
        given = sources.given(self.target)
        if found is not None and self._can_hash(given) and total_size(given) in (None, found.size):
            self.segments, self.is_settled = given, True
            return
        self.segments = self._resolve()
        self.is_settled = found is not None and found.size == self._size()

    def room_needed(self) -> int:
        """Compute the bytes of disk space that are still needed."""
        size = self._size()
        return 0 if self.is_settled or size is None else max(0, size - self.disk.allocated(self.partial))

    def outcome(self) -> DownloadOutcome:
        size = self._size()
        left = 0 if self.is_settled else None if size is None else size - self.kept.total
        return DownloadOutcome(self.before, self.after, self.now, left)

    def run(self) -> None:
        """Fetch, verify and publish; or record that the existing file is right."""
        if self.is_settled:
            if self.segments:
                self._record_existing()
            self._clean()
            return
        if self.ports.workers is None:
            raise NotFoundError.plain('Python library "requests" is not installed on the host', "install it")
        transfer = Transfer(
            self.target, self.segments, self.kept, self.policy.pace, self.policy.backoff, self.ports.servers
        )
        file = self.disk.open_partial_file(self.partial)
        try:
            self._transfer(transfer, file, self.ports.workers)
            self._warn_of_refused(transfer)
            self._publish(transfer, file)
        finally:
            file.close()

    # --- the existing file

    def _accept(self, found: FileIdentity) -> bool:
        """Return whether the destination is right by all that is known without a server; set C(before)."""
        self.before = FileState(self.target.path, found.size, None, "no")
        known, given = self._confirmed(found), sources.given(self.target)
        if known is not None:
            trusted = not self.policy.rehash or known["verified"] != "sha256"
            if trusted or self._hashes_agree(known["parts"], known.get("sha256")):
                self.before = replace(self.before, sha256=known.get("sha256"), verified=str(known["verified"]))
                return True
        elif not self._can_hash(given):
            return False
        elif self._right(found, given):
            self.segments = given
            return True
        # The bytes are wrong. The facts that the servers publish could not confirm them.
        self.segments = self._resolve()
        return False

    def _published_matches(self, found: FileIdentity) -> bool:
        """Return whether the destination is right by the facts that the servers publish; set C(before)."""
        if self._can_hash(self.segments):
            return self._right(found, self.segments)
        if not self.policy.checksums and found.size == total_size(self.segments):
            self.before = FileState(self.target.path, found.size, None, "size")
            return True
        return False

    def _can_hash(self, segments: list[Segment]) -> bool:
        sizes_known = len(segments) == 1 or total_size(segments) is not None
        return sizes_known and (self.target.sha256 is not None or all(segment.sha256 for segment in segments))

    def _right(self, found: FileIdentity, segments: list[Segment]) -> bool:
        wanted = [segment.identity() for segment in segments]
        if len(wanted) == 1 and wanted[0]["size"] is None:
            wanted[0]["size"] = found.size
        whole = self.target.sha256
        if sum(part["size"] for part in wanted) != found.size or not self._hashes_agree(wanted, whole):
            return False
        self.before = FileState(self.target.path, found.size, self._expected(segments), "sha256")
        return True

    def _confirmed(self, found: FileIdentity | None) -> dict[str, Any] | None:
        """Read the verification record if it confirms this file as the target."""
        known = self.disk.read_json(self.record)
        is_right = verification_record.confirms(known, found, self.target, self.policy.checksums)
        return known if is_right else None

    def _hashes_agree(self, parts: list[dict[str, Any]], whole: str | None) -> bool:
        """Read the destination and compare it with the known checksums."""
        size = sum(int(part["size"]) for part in parts)
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            self.ports.report(f"checking {self.target.name}", done, size)

        all_bytes = hashlib.sha256()
        start = 0
        for part in parts:
            digest = hashlib.sha256()
            digests = [digest] if whole is None else [digest, all_bytes]
            self.disk.hash_range(self.target.path, start, int(part["size"]), digests, count)
            start += int(part["size"])
            if part.get("sha256") not in (None, digest.hexdigest()):
                return False
        return whole in (None, all_bytes.hexdigest())

    # --- the source

    def _resolve(self) -> list[Segment]:
        """Ask the servers, and compare their answers with the inventory."""
        if self.ports.client is None:
            return sources.given(self.target)
        ports = self.ports
        return sources.resolve(self.target, self.ports.client, self.policy.checksums, ports.report, ports.warn)

    def _expected(self, segments: list[Segment] | None = None) -> str | None:
        """Return the sha256 of the whole file if it is known."""
        segments = self.segments if segments is None else segments
        return segments[0].sha256 if len(segments) == 1 else self.target.sha256

    def _size(self) -> int | None:
        size = total_size(self.segments)
        return self.target.size if size is None else size

    def _how(self) -> str:
        known = self.target.sha256 is not None or all(segment.sha256 for segment in self.segments)
        return "sha256" if known or self.policy.checksums else "size"

    def _kept(self) -> Extents:
        """Find the bytes that an interrupted run left and that can be kept."""
        found = self.disk.identity(self.partial)
        if found is None:
            return Extents()
        journal, progress = self.disk.read_json(self.journal), self.disk.read_line(self.progress)
        return progress_record.kept(self.segments, journal, progress, self.disk.boot_id(), found.size)

    # --- the transfer

    def _transfer(self, transfer: Transfer, file: PartialFile, workers: DownloadWorkers) -> None:
        """Fetch all bytes; right bytes are kept even if this fails."""

        def save(snapshot: Snapshot) -> None:
            self.disk.write_json(self.journal, progress_record.new_journal(snapshot.parts, snapshot.written))

        def record() -> None:
            line_file.write(progress_record.progress_line(transfer.identities, transfer.written, boot_id))

        boot_id = self.disk.boot_id()
        size = self._size()
        # Before the first byte: from now on, the file holds bytes of these parts only.
        file.sync()
        save(transfer.snapshot())
        if size is not None:
            file.truncate(size)
            file.reserve(size)
        line_file = self.disk.open_line_file(self.progress)
        try:
            record()
            workers.run(transfer, file, save, record)
            if transfer.error is not None and transfer.written:
                file.sync()
                save(transfer.snapshot())
                record()
        finally:
            line_file.close()
        if transfer.error is not None:
            if not transfer.written:
                self._clean()
            raise transfer.error

    def _warn_of_refused(self, transfer: Transfer) -> None:
        """Warn of the mirrors that turned out to have another file."""
        for label, error in (refused for part in transfer.parts for refused in part.refused):
            if isinstance(error, MismatchError):
                self.ports.warn(sources.left_out(label, error))

    def _publish(self, transfer: Transfer, file: PartialFile) -> None:
        """Give the verified file its owner, its verification record and then its name."""
        file.truncate(transfer.size or 0)
        file.set_owner(self.policy.uid, self.policy.gid, self.policy.mode)
        file.sync()
        self.ports.inspect(self.partial, self.target.name, len(self.target.parts) > 1)
        self.now = replace(self.after, size=transfer.size, sha256=transfer.whole_sha256)
        self.after = replace(self.after, size=transfer.size)
        # Before the rename: otherwise a kill between the two would cost a second read of the whole file.
        self._write_record(file.identity(), self.now, transfer.digests())
        file.publish(self.target.path)
        self._clean()

    # --- the hidden files

    def _record_existing(self) -> None:
        """Record that an existing file is right."""
        found = self.disk.identity(self.target.path)
        if found is not None:
            one = len(self.segments) == 1
            sizes = [found.size if one else int(segment.size or 0) for segment in self.segments]
            digests = [segment.sha256 for segment in self.segments]
            self._write_record(found, self.after, list(zip(sizes, digests)))

    def _write_record(self, file: FileIdentity, state: FileState, pieces: Sequence[tuple[int, str | None]]) -> None:
        record = verification_record.new_record(file, state.sha256, state.verified, self.target, pieces)
        self.disk.write_json(self.record, record)

    def _clean(self) -> None:
        # The journal first: without it, no later run uses the others.
        for path in (self.journal, self.progress, self.partial):
            self.disk.remove(path)
