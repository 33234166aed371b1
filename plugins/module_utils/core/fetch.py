# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fetch itself, as decisions: what is there, what can be kept, what must be fetched, what is right.

The world comes in as two objects (C(Disk) and C(Web), see the ports of the same names), so that every
path through here can be tried without a disk or a server.

Files of ours beside a destination C(model.gguf):

- C(.model.gguf.incoming): all bytes land here, in order. It gets the final name when it is verified.
- C(.model.gguf.journal): of which remote files, with which identity, how many bytes are safely on disk.
- C(.model.gguf.verified): size, time and checksums of the destination when it was verified; as long as
  size and time are the same, nothing is hashed and no server is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from .errors import InsufficientError, InvalidInputError, MismatchError
from .fetch_plan import Part, Target

SCHEMA = 1
MAGIC = b"GGUF"
# So often the bytes are forced to disk and the journal says so; a power loss costs at most this much.
CHECKPOINT = 32 << 20


Count = Callable[[int], None]
ProgressCall = Callable[[str, float, Optional[float]], None]


class Found(Protocol):
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...


class Remote(Protocol):
    @property
    def size(self) -> int | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def tag(self) -> str | None: ...


class Web(Protocol):
    def describe(self, url: str) -> Remote: ...
    def read(self, url: str, start: int, size: int | None, tag: str | None) -> Iterator[tuple[int, bytes]]: ...


class Landing(Protocol):
    def reserve(self, size: int) -> None: ...
    def start_at(self, position: int) -> None: ...
    def write(self, data: bytes) -> None: ...
    def sync(self) -> None: ...
    def found(self) -> Found: ...
    def own(self, uid: int, gid: int, mode: int | None) -> None: ...
    def publish(self, dest: str) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    def look(self, path: str) -> Found | None: ...
    def read_json(self, path: str) -> dict[str, Any]: ...
    def write_json(self, path: str, value: dict[str, Any]) -> None: ...
    def remove(self, path: str) -> None: ...
    def free(self, path: str) -> int | None: ...
    def allocated(self, path: str) -> int: ...
    def hash_range(self, path: str, start: int, length: int, digests: list[Any], count: Count) -> None: ...
    def landing(self, path: str) -> Landing: ...


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


@dataclass(frozen=True)
class Segment:
    """A part with everything that is known of it, from the inventory and from its server."""

    part: Part
    size: int | None
    sha256: str | None
    tag: str | None

    def identity(self) -> dict[str, Any]:
        return {"url": self.part.identity, "size": self.size, "sha256": self.sha256, "tag": self.tag}


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

    :ivar to_fetch: bytes that had, or have, to come; None if their number is not known.
    """

    before: State
    after: State
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

    def __init__(self, target: Target, policy: Policy, disk: Disk, web: Web | None, progress: ProgressCall) -> None:
        self.target = target
        self.policy = policy
        self.disk = disk
        #: None where no server can be asked: in check mode on a host that has no requests yet.
        self.web = web
        self.progress = progress
        self.incoming = target.beside("incoming")
        self.journal = target.beside("journal")
        self.stamp = target.beside("verified")
        self.before = State(target.path, None, None, "absent")
        self.after = self.before
        self.segments: list[Segment] = []
        self.resume = 0
        self.settled = False

    def is_settled(self) -> bool:
        """Whether nothing has to be read, asked or written: what the fast path needs to know."""
        return not self.policy.rehash and self._trusted(self.disk.look(self.target.path)) is not None

    def prepare(self) -> None:
        """Look at the destination, ask the servers if it is not right, and see what can be kept."""
        found = self.disk.look(self.target.path)
        if found is not None and self._accept(found):
            self.after = self.before
            self.settled = True
            return
        if not self.segments:
            self.segments = self._resolve()
            if found is not None and self._published_matches(found):
                self.after = self.before
                self.settled = True
                return
        self.resume = self._resume_point()
        self.after = State(self.target.path, self._size(), self._expected(), self._how())

    def foresee(self) -> None:
        """Ask the servers, unless the destination is known to be right or may turn out to be when it is read."""
        if self.is_settled():
            self.settled = True
            return
        found = self.disk.look(self.target.path)
        given = self._given()
        if found is not None and self._can_hash(given) and _total(given) in (None, found.size):
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
        left = 0 if self.settled else None if size is None else size - self.resume
        return Outcome(self.before, self.after, left)

    def land(self) -> None:
        """Fetch, verify and publish; or remember that what is there was found right."""
        if self.settled:
            if self.segments:
                self._stamp_existing()
            self._clean()
            return
        landing = self.disk.landing(self.incoming)
        try:
            self.after = self._land(landing, self._size())
        finally:
            landing.close()

    # --- what is there

    def _accept(self, found: Found) -> bool:
        """Whether the destination is right by what is known without a server; sets `before`."""
        path = self.target.path
        stamp = self._trusted(found)
        if stamp is not None:
            state = State(path, found.size, stamp.get("sha256"), str(stamp["verified"]))
            trusted = not self.policy.rehash or stamp["verified"] != "sha256"
            if trusted or self._hashes_agree(stamp["parts"], stamp.get("sha256")):
                self.before = state
                return True
            self.before = State(path, found.size, None, "no")
            self.segments = self._resolve()
            return False
        self.before = State(path, found.size, None, "no")
        given = self._given()
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
        if not self.policy.checksums and found.size == _total(self.segments):
            self.before = State(self.target.path, found.size, None, "size")
            return True
        return False

    def _can_hash(self, segments: list[Segment]) -> bool:
        sizes_known = len(segments) == 1 or _total(segments) is not None
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
        stamp = self.disk.read_json(self.stamp)
        if found is None or not _is_of(stamp, found):
            return None
        good_enough = stamp.get("verified") == "sha256" or not self.policy.checksums
        parts = stamp.get("parts") or []
        whole = self.target.sha256
        if whole is not None and stamped_sha256(stamp, found) == whole:
            # The right bytes, whichever pieces they once came in: the publisher's, or another node's copy.
            return stamp
        if not good_enough or len(parts) != len(self.target.parts):
            return None
        if self.target.size not in (None, found.size) or (whole is not None and stamp.get("sha256") != whole):
            return None
        for part, known in zip(self.target.parts, parts):
            if part.size not in (None, known["size"]) or part.sha256 not in (None, known["sha256"]):
                return None
            if part.sha256 is None and whole is None and part.identity != known["url"]:
                return None
        return stamp

    def _hashes_agree(self, parts: list[dict[str, Any]], whole: str | None) -> bool:
        """Read the destination and compare it with the checksums that are known."""
        total = sum(int(part["size"]) for part in parts)
        done = 0

        def count(step: int) -> None:
            nonlocal done
            done += step
            self.progress(f"checking {self.target.name}", done, total)

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

    def _given(self) -> list[Segment]:
        """What the inventory says, without asking anyone."""
        segments = []
        for part in self.target.parts:
            size, sha256 = part.size, part.sha256
            if len(self.target.parts) == 1:
                size, sha256 = size or self.target.size, sha256 or self.target.sha256
            segments.append(Segment(part, size, sha256, None))
        return segments

    def _resolve(self) -> list[Segment]:
        """Ask the servers, and compare what they say with what the inventory says."""
        if self.web is None:
            return self._given()
        segments = []
        for given in self._given():
            label = given.part.label
            self.progress(f"asking for {label}", 0, None)
            remote = self.web.describe(given.part.url)
            _agree("size", label, given.size, remote.size)
            _agree("sha256", label, given.sha256, remote.sha256)
            size = remote.size if given.size is None else given.size
            segments.append(Segment(given.part, size, given.sha256 or remote.sha256, remote.tag))
        _agree("size", self.target.path, self.target.size, _total(segments))
        if self.target.sha256 is None:
            bare = [segment.part.label for segment in segments if segment.sha256 is None]
            if bare and self.policy.checksums:
                raise InvalidInputError(
                    f"a sha256 of {', '.join(bare)}",
                    "none in the inventory and none published by the server",
                    "add sha256 to the model's facts, or set verify to size to accept the file by its size alone",
                )
            if bare and _total(segments) is None and self.target.size is None:
                raise InvalidInputError(
                    f"the size of {', '.join(bare)}",
                    "none in the inventory and none from the server",
                    "add size to the model's facts: without size and sha256 a cut file looks like a whole one",
                )
        return segments

    def _expected(self, segments: list[Segment] | None = None) -> str | None:
        """The sha256 of the whole, where somebody names it."""
        segments = self.segments if segments is None else segments
        return segments[0].sha256 if len(segments) == 1 else self.target.sha256

    def _size(self) -> int | None:
        total = _total(self.segments)
        return self.target.size if total is None else total

    def _how(self) -> str:
        known = self.target.sha256 is not None or all(segment.sha256 for segment in self.segments)
        return "sha256" if known or self.policy.checksums else "size"

    def _server(self) -> Web:
        if self.web is None:
            raise InvalidInputError("a way to ask servers", "none", "install the Python library requests")
        return self.web

    # --- what can be kept of an interrupted run

    def _resume_point(self) -> int:
        """How many bytes of the incoming file are of the very files that are wanted now."""
        found = self.disk.look(self.incoming)
        journal = self.disk.read_json(self.journal)
        if found is None or journal.get("schema") != SCHEMA:
            return 0
        landed = min(int(journal.get("landed", 0)), found.size)
        entries = journal.get("parts") or []
        start = 0
        for index, segment in enumerate(self.segments):
            if index >= len(entries) or not _same_content(segment, entries[index]):
                return min(landed, start)
            if segment.size is None:
                # A part of unknown length: nothing says whether all of it is there.
                return min(landed, start)
            start += segment.size
        return min(landed, start)

    # --- fetching

    def _land(self, landing: Landing, size: int | None) -> State:
        whole = hashlib.sha256()
        self._note(self.resume)
        landing.start_at(self.resume)
        if size is not None:
            landing.reserve(size)
        start = 0
        digests: list[tuple[int, str | None]] = []
        for segment in self.segments:
            end, sha256, whole = self._land_part(landing, segment, whole, start, size)
            digests.append((end - start, sha256))
            start = end
        if self.target.size not in (None, start):
            self._forget(landing, 0)
            raise MismatchError(
                f"{self.target.size} bytes in {self.target.name}",
                str(start),
                "the file was removed; compare the size with the publisher's and run again",
            )
        if len(self.segments) > 1 and self.target.sha256 not in (None, whole.hexdigest()):
            self._forget(landing, 0)
            raise MismatchError(
                f"sha256 {self.target.sha256} of the whole {self.target.name}",
                whole.hexdigest(),
                "compare the checksum with the publisher's; all parts were removed and are fetched again next time",
            )
        landing.own(self.policy.uid, self.policy.gid, self.policy.mode)
        landing.sync()
        known = digests[0][1] if len(self.segments) == 1 else self.target.sha256
        state = State(self.target.path, start, known, self._how())
        # Before the rename: a kill between the two must not cost a second reading of the whole file.
        self._write_stamp(landing.found(), state, digests)
        landing.publish(self.target.path)
        self._clean()
        return state

    def _land_part(
        self, landing: Landing, segment: Segment, before: hashlib._Hash, start: int, size: int | None
    ) -> tuple[int, str, hashlib._Hash]:
        """Bring one part to its place.

        :param before: the digest of everything in front of this part.
        :return: where the part ends, its sha256, and the digest of everything up to its end.
        """
        digest, whole = hashlib.sha256(), before.copy()
        # A second digest costs as much as the first; only a checksum of the whole joined file needs it.
        joined = len(self.segments) > 1 and self.target.sha256 is not None
        here = start
        if self.resume > start:
            keep = min(self.resume - start, segment.size or 0)

            def count(step: int) -> None:
                nonlocal here
                here += step
                self.progress(f"checking what is there of {self.target.name}", here, size)

            self.disk.hash_range(self.incoming, start, keep, [digest, whole] if joined else [digest], count)
        if segment.size is None or here - start < segment.size:
            landing.start_at(here)
            synced = here
            for position, data in self._server().read(segment.part.url, here - start, segment.size, segment.tag):
                if start + position != here:
                    # The server cannot continue in the middle and began again; so do we.
                    here = synced = start
                    self._note(start)
                    landing.start_at(start)
                    digest, whole = hashlib.sha256(), before.copy()
                if here == 0:
                    self._check_magic(landing, segment, data)
                landing.write(data)
                digest.update(data)
                if joined:
                    whole.update(data)
                here += len(data)
                self.progress(f"fetching {self.target.name}", here, size)
                if here - synced >= CHECKPOINT:
                    landing.sync()
                    self._note(here)
                    synced = here
            landing.sync()
            self._note(here)
        self._check_part(landing, segment, digest.hexdigest(), start, here)
        return here, digest.hexdigest(), whole

    def _check_magic(self, landing: Landing, segment: Segment, data: bytes) -> None:
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            self._forget(landing, 0)
            opening = data[:40].lstrip()
            page = " (a web page, such as one that asks for a login)" if opening[:1] == b"<" else ""
            raise MismatchError(
                f"a GGUF file, which begins with the letters GGUF, from {segment.part.label}",
                f"{opening!r}{page}",
                "open the address by hand; a gated model needs a token",
            )

    def _check_part(self, landing: Landing, segment: Segment, found: str, start: int, end: int) -> None:
        if segment.size not in (None, end - start):
            self._forget(landing, start)
            raise MismatchError(
                f"{segment.size} bytes from {segment.part.label}",
                f"{end - start}",
                "its bytes were removed; compare the size with the publisher's and run again",
            )
        if segment.sha256 not in (None, found):
            self._forget(landing, start)
            raise MismatchError(
                f"sha256 {segment.sha256} of {segment.part.label}",
                found,
                "its bytes were removed and are fetched again next time; if it happens twice, compare the checksum"
                " with the publisher's",
            )

    def _forget(self, landing: Landing, start: int) -> None:
        """Take back everything from a position on, so that no later run builds on it."""
        if start == 0:
            self._clean()
            return
        self._note(start)
        landing.start_at(start)
        landing.sync()

    # --- our own files

    def _note(self, landed: int) -> None:
        parts = [segment.identity() for segment in self.segments]
        self.disk.write_json(self.journal, {"schema": SCHEMA, "landed": landed, "parts": parts})

    def _stamp_existing(self) -> None:
        """Remember that an existing file was found right."""
        found = self.disk.look(self.target.path)
        if found is not None:
            one = len(self.segments) == 1
            sizes = [found.size if one else int(segment.size or 0) for segment in self.segments]
            digests = [segment.sha256 for segment in self.segments]
            self._write_stamp(found, self.after, list(zip(sizes, digests)))

    def _write_stamp(self, found: Found, state: State, digests: Sequence[tuple[int, str | None]]) -> None:
        parts = [
            {"url": segment.part.identity, "size": size, "sha256": sha256}
            for segment, (size, sha256) in zip(self.segments, digests)
        ]
        self.disk.write_json(
            self.stamp,
            {
                "schema": SCHEMA,
                "size": found.size,
                "mtime_ns": found.mtime_ns,
                "sha256": state.sha256,
                "verified": state.verified,
                "parts": parts,
            },
        )

    def _clean(self) -> None:
        for path in (self.journal, self.incoming):
            self.disk.remove(path)


def stamped_sha256(stamp: Mapping[str, Any], found: Found | None) -> str | None:
    """SHA-256 of a file as it landed; None if that is not known, or the file changed since."""
    if not _is_of(stamp, found):
        return None
    return str(stamp["sha256"]) if stamp.get("sha256") else None


def _is_of(stamp: Mapping[str, Any], found: Found | None) -> bool:
    """Whether a stamp is of this very file."""
    if found is None or stamp.get("schema") != SCHEMA:
        return False
    return (stamp.get("size"), stamp.get("mtime_ns")) == (found.size, found.mtime_ns)


def _total(segments: list[Segment]) -> int | None:
    sizes = [segment.size for segment in segments]
    return None if None in sizes or not sizes else sum(size for size in sizes if size is not None)


def _agree(what: str, where: str, wanted: object, published: object) -> None:
    if wanted is not None and published is not None and wanted != published:
        raise MismatchError(
            f"{what} {wanted} of {where}",
            f"{published} on the server",
            "correct the inventory if the publisher replaced the file, or choose the revision that you meant",
        )


def _same_content(segment: Segment, entry: dict[str, Any]) -> bool:
    if segment.size is not None and entry.get("size") != segment.size:
        return False
    if segment.sha256 is not None and entry.get("sha256") == segment.sha256:
        # The same bytes by checksum; a mirror may name them differently, but a change of the tag at the
        # same address says that the file there is being replaced.
        return entry.get("url") != segment.part.identity or entry.get("tag") == segment.tag
    if entry.get("sha256") != segment.sha256:
        return False
    return segment.tag is not None and (entry.get("url"), entry.get("tag")) == (segment.part.identity, segment.tag)


def _gib(size: int) -> str:
    return f"{size / 1024**3:.2f} GiB" if size >= 1 << 28 else f"{size / 1024**2:.1f} MiB"
