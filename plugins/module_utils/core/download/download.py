# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetch itself, as decisions: what is there, what can be kept, what must be fetched, what is right.

The world comes in as three objects (C(Disk), C(Asker) and C(Crew), see the ports files, web and crew), so that
every path through here can be tried without a disk or a server.

Files of ours beside a destination C(model.gguf):

- C(.model.gguf.incoming): all bytes land here, each in its place. It gets the final name when it is verified.
- C(.model.gguf.journal): of which remote files, with which identity, which bytes are safely on disk.
- C(.model.gguf.landed): which bytes the kernel has, as long as the machine runs.
- C(.model.gguf.verified): size, time and checksums of the destination when it was verified; as long as
  size and time are the same, nothing is hashed and no server is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..errors import InsufficientError, NotFoundError
from . import journal, sources
from .extents import Extents
from .files import Target
from .retry import Backoff, Pace
from .sources import Asker, Say, Segment, total
from .transfer import Snapshot, Transfer
from .verified_stamp import Found, stamp, vouches_for

Count = Callable[[int], None]


class Landing(Protocol):
    def reserve(self, size: int) -> None: ...
    def cut(self, size: int) -> None: ...
    def write(self, position: int, pieces: Sequence[bytes]) -> None: ...
    def read(self, position: int, into: memoryview) -> int: ...
    def sync(self) -> None: ...
    def found(self) -> Found: ...
    def own(self, uid: int, gid: int, mode: int | None) -> None: ...
    def publish(self, dest: str) -> None: ...
    def close(self) -> None: ...


class Notebook(Protocol):
    def write(self, line: bytes) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    def look(self, path: str) -> Found | None: ...
    def read_json(self, path: str) -> dict[str, Any]: ...
    def write_json(self, path: str, value: dict[str, Any]) -> None: ...
    def read_line(self, path: str) -> bytes: ...
    def notebook(self, path: str) -> Notebook: ...
    def boot(self) -> str: ...
    def remove(self, path: str) -> None: ...
    def free(self, path: str) -> int | None: ...
    def allocated(self, path: str) -> int: ...
    def hash_range(self, path: str, start: int, length: int, digests: list[Any], count: Count) -> None: ...
    def landing(self, path: str) -> Landing: ...


class Crew(Protocol):
    def run(
        self, transfer: Transfer, landing: Any, save: Callable[[Snapshot], None], note: Callable[[], None]
    ) -> None: ...


@dataclass(frozen=True)
class World:
    """All that is not decided here.

    :ivar web: None where no server can be asked: in check mode on a host that has no requests yet.
    :ivar say: told what is being done, how much of it is done, and how much there is.
    """

    disk: Disk
    web: Asker | None
    crew: Crew | None
    say: Say


@dataclass(frozen=True)
class Policy:
    """What the operator wants beside the bytes.

    :ivar checksums: refuse a file of which neither inventory nor publisher knows the sha256.
    :ivar rehash: read a verified file again instead of trusting its size and time.
    :ivar uid: owner of the new file; -1 leaves it, as in chown(2). So do gid and a mode of None.
    """

    checksums: bool = True
    rehash: bool = False
    uid: int = -1
    gid: int = -1
    mode: int | None = None
    pace: Pace = field(default_factory=Pace)
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class State:
    """A destination as it is, or will be: one side of a diff."""

    path: str
    size: int | None
    sha256: str | None
    verified: str

    def shown(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256, "verified": self.verified}


@dataclass(frozen=True)
class Outcome:
    """Before and after of one destination.

    :ivar now: as after, with what only the bytes themselves could tell.
    :ivar to_fetch: bytes that had, or have, to come; None if their number is not known.
    """

    before: State
    after: State
    now: State
    to_fetch: int | None

    @property
    def changed(self) -> bool:
        return self.before != self.after or self.to_fetch != 0

    def diff(self) -> dict[str, Any]:
        """As Ansible shows it."""
        headers = {"before_header": self.before.path, "after_header": self.after.path}
        return {"before": self.before.shown(), "after": self.after.shown(), **headers}


def preview(fetches: list[Fetch]) -> list[Outcome]:
    """What would be done; writes nothing, but refuses what cannot work."""
    for fetch in fetches:
        fetch.prepare()
    _check_space(fetches)
    return [fetch.outcome() for fetch in fetches]


def foresee(fetches: list[Fetch]) -> bool:
    """Whether there may be work; asks the servers and looks at the disk, but reads no file."""
    for fetch in fetches:
        fetch.foresee()
    _check_space(fetches)
    return any(fetch.segments for fetch in fetches)


def bring(fetches: list[Fetch]) -> list[Outcome]:
    """Do it; all files are looked at, and the space for all of them, before the first byte of any."""
    for fetch in fetches:
        fetch.prepare()
    _check_space(fetches)
    for fetch in fetches:
        fetch.land()
    return [fetch.outcome() for fetch in fetches]


def _check_space(fetches: list[Fetch]) -> None:
    needed = sum(fetch.room_needed() for fetch in fetches)
    first = fetches[0]
    free = first.disk.free(first.incoming)
    if free is not None and needed > free:
        raise InsufficientError(
            f"{needed} free bytes ({_gib(needed)}) for {first.target.path}",
            f"{free} ({_gib(free)})",
            f"free {_gib(needed - free)} or more there, or choose another directory",
        )


class Fetch:
    """One destination and its source."""

    def __init__(self, target: Target, policy: Policy, world: World) -> None:
        self.target = target
        self.policy = policy
        self.disk = world.disk
        self.world = world
        self.incoming = target.beside("incoming")
        self.journal = target.beside("journal")
        self.landed = target.beside("landed")
        self.stamp = target.beside("verified")
        self.before = State(target.path, None, None, "absent")
        self.after = self.now = self.before
        self.segments: list[Segment] = []
        self.kept = Extents()
        self.settled = False

    def is_settled(self) -> bool:
        """Whether nothing has to be read, asked or written: what the fast path needs to know."""
        return not self.policy.rehash and self._trusted(self.disk.look(self.target.path)) is not None

    def prepare(self) -> None:
        """Look at the destination, ask the servers if it is not right, and see what can be kept."""
        found = self.disk.look(self.target.path)
        if found is not None and self._accept(found):
            self.after = self.now = self.before
            self.settled = True
            return
        if not self.segments:
            self.segments = self._resolve()
            if found is not None and self._published_matches(found):
                self.after = self.now = self.before
                self.settled = True
                return
        self.kept = self._kept()
        self.after = self.now = State(self.target.path, self._size(), self._expected(), self._how())

    def foresee(self) -> None:
        """Ask the servers, unless the destination is known to be right or may turn out to be when it is read."""
        if self.is_settled():
            self.settled = True
            return
        found = self.disk.look(self.target.path)
        given = sources.given(self.target)
        if found is not None and self._can_hash(given) and total(given) in (None, found.size):
            self.segments, self.settled = given, True
            return
        self.segments = self._resolve()
        self.settled = found is not None and found.size == self._size()

    def room_needed(self) -> int:
        """Bytes that the disk must still give."""
        size = self._size()
        return 0 if self.settled or size is None else max(0, size - self.disk.allocated(self.incoming))

    def outcome(self) -> Outcome:
        size = self._size()
        left = 0 if self.settled else None if size is None else size - self.kept.total
        return Outcome(self.before, self.after, self.now, left)

    def land(self) -> None:
        """Fetch, verify and publish; or remember that what is there was found right."""
        if self.settled:
            if self.segments:
                self._stamp_existing()
            self._clean()
            return
        if self.world.crew is None:
            raise NotFoundError.plain('Python library "requests" is not installed on the host', "install it")
        transfer = Transfer(self.target, self.segments, self.kept, self.policy.pace, self.policy.backoff)
        landing = self.disk.landing(self.incoming)
        try:
            self._transfer(transfer, landing, self.world.crew)
            self._publish(transfer, landing)
        finally:
            landing.close()

    # --- what is there

    def _accept(self, found: Found) -> bool:
        """Whether the destination is right by what is known without a server; sets `before`."""
        path = self.target.path
        known = self._trusted(found)
        if known is not None:
            state = State(path, found.size, known.get("sha256"), str(known["verified"]))
            trusted = not self.policy.rehash or known["verified"] != "sha256"
            if trusted or self._hashes_agree(known["parts"], known.get("sha256")):
                self.before = state
                return True
            self.before = State(path, found.size, None, "no")
            self.segments = self._resolve()
            return False
        self.before = State(path, found.size, None, "no")
        given = sources.given(self.target)
        if not self._can_hash(given):
            return False
        if self._right(found, given):
            self.segments = given
            return True
        self.segments = self._resolve()
        return False

    def _published_matches(self, found: Found) -> bool:
        """Whether the destination is right by what the servers publish; sets `before`."""
        if self._can_hash(self.segments):
            return self._right(found, self.segments)
        if not self.policy.checksums and found.size == total(self.segments):
            self.before = State(self.target.path, found.size, None, "size")
            return True
        return False

    def _can_hash(self, segments: list[Segment]) -> bool:
        sizes_known = len(segments) == 1 or total(segments) is not None
        return sizes_known and (self.target.sha256 is not None or all(segment.sha256 for segment in segments))

    def _right(self, found: Found, segments: list[Segment]) -> bool:
        wanted = [segment.identity() for segment in segments]
        if len(wanted) == 1 and wanted[0]["size"] is None:
            wanted[0]["size"] = found.size
        whole = self.target.sha256
        if sum(part["size"] for part in wanted) != found.size or not self._hashes_agree(wanted, whole):
            return False
        self.before = State(self.target.path, found.size, self._expected(segments), "sha256")
        return True

    def _trusted(self, found: Found | None) -> dict[str, Any] | None:
        """The stamp, if it is of this very file and of what is wanted now."""
        known = self.disk.read_json(self.stamp)
        return known if vouches_for(known, found, self.target, self.policy.checksums) else None

    def _hashes_agree(self, parts: list[dict[str, Any]], whole: str | None) -> bool:
        """Read the destination and compare it with the checksums that are known."""
        size = sum(int(part["size"]) for part in parts)
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            self.world.say(f"checking {self.target.name}", done, size)

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

    # --- what is wanted

    def _resolve(self) -> list[Segment]:
        """Ask the servers, and compare what they say with what the inventory says."""
        if self.world.web is None:
            return sources.given(self.target)
        return sources.resolve(self.target, self.world.web, self.policy.checksums, self.world.say)

    def _expected(self, segments: list[Segment] | None = None) -> str | None:
        """The sha256 of the whole, where somebody names it."""
        segments = self.segments if segments is None else segments
        return segments[0].sha256 if len(segments) == 1 else self.target.sha256

    def _size(self) -> int | None:
        size = total(self.segments)
        return self.target.size if size is None else size

    def _how(self) -> str:
        known = self.target.sha256 is not None or all(segment.sha256 for segment in self.segments)
        return "sha256" if known or self.policy.checksums else "size"

    def _kept(self) -> Extents:
        """What an interrupted run left that can be built on."""
        found = self.disk.look(self.incoming)
        if found is None:
            return Extents()
        record, noted = self.disk.read_json(self.journal), self.disk.read_line(self.landed)
        return journal.kept(self.segments, record, noted, self.disk.boot(), found.size)

    # --- fetching

    def _transfer(self, transfer: Transfer, landing: Landing, crew: Crew) -> None:
        """Bring all bytes to their places; what is there and right stays, also if this fails."""

        def save(snapshot: Snapshot) -> None:
            self.disk.write_json(self.journal, journal.journal(snapshot.parts, snapshot.landed))

        def note() -> None:
            notebook.write(journal.note(transfer.identities, transfer.landed, boot))

        boot = self.disk.boot()
        size = self._size()
        # Before the first byte: from now on the file holds bytes of these very parts, and of no others.
        landing.sync()
        save(transfer.snapshot())
        if size is not None:
            landing.cut(size)
            landing.reserve(size)
        notebook = self.disk.notebook(self.landed)
        try:
            note()
            crew.run(transfer, landing, save, note)
            if transfer.error is not None and transfer.landed:
                landing.sync()
                save(transfer.snapshot())
                note()
        finally:
            notebook.close()
        if transfer.error is not None:
            if not transfer.landed:
                self._clean()
            raise transfer.error

    def _publish(self, transfer: Transfer, landing: Landing) -> None:
        """Verified; it gets its owner, its stamp and then its name."""
        landing.cut(transfer.size or 0)
        landing.own(self.policy.uid, self.policy.gid, self.policy.mode)
        landing.sync()
        self.now = replace(self.after, size=transfer.size, sha256=transfer.whole_sha256)
        self.after = replace(self.after, size=transfer.size)
        # Before the rename: a kill between the two must not cost a second reading of the whole file.
        self._write_stamp(landing.found(), self.now, transfer.digests())
        landing.publish(self.target.path)
        self._clean()

    # --- our own files

    def _stamp_existing(self) -> None:
        """Remember that an existing file was found right."""
        found = self.disk.look(self.target.path)
        if found is not None:
            one = len(self.segments) == 1
            sizes = [found.size if one else int(segment.size or 0) for segment in self.segments]
            digests = [segment.sha256 for segment in self.segments]
            self._write_stamp(found, self.after, list(zip(sizes, digests)))

    def _write_stamp(self, found: Found, state: State, pieces: Sequence[tuple[int, str | None]]) -> None:
        self.disk.write_json(self.stamp, stamp(found, state.sha256, state.verified, self.target, pieces))

    def _clean(self) -> None:
        # The journal first: without it, nothing is built on the others.
        for path in (self.journal, self.landed, self.incoming):
            self.disk.remove(path)


def _gib(size: int) -> str:
    return f"{size / 1024**3:.2f} GiB" if size >= 1 << 28 else f"{size / 1024**2:.1f} MiB"
