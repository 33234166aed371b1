# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A transfer with random workers: any order of events ends, with the right bytes or one error."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents
from ansible_collections.herd.inference.plugins.module_utils.core.download.identity import RemoteFile
from ansible_collections.herd.inference.plugins.module_utils.core.download.parts import Part, Target
from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import Backoff, Pace
from ansible_collections.herd.inference.plugins.module_utils.core.download.sources import Segment
from ansible_collections.herd.inference.plugins.module_utils.core.download.transfer import Transfer
from ansible_collections.herd.inference.plugins.module_utils.core.download.transfer_state import PartRequest
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, TransientFailureError

PACE = Pace(connections=4, smallest=20, largest=90, checkpoint=80, unsafe=160, ahead=150, block=10, progress=8)


@dataclass
class Place:
    """The content of one address, and the behaviour of its server."""

    data: bytes
    tag: str | None
    ranges: bool
    breaks: float
    known_size: bool


@dataclass
class PendingResponse:
    """A request that is under way."""

    request: PartRequest
    opened: bool = False
    left: bytes = b""


@dataclass
class Simulation:
    """Servers, a disk, and workers that act in any order."""

    chance: random.Random
    places: dict[str, Place]
    transfer: Transfer
    file: bytearray
    now: float = 0.0
    answers: list[PendingResponse] = field(default_factory=list)
    snapshots: list[Any] = field(default_factory=list)
    hashing: dict[int, Any] = field(default_factory=dict)

    def step(self) -> bool:
        """Let one random event happen; False if only time can pass."""
        todo = [self._ask, *[lambda answer=answer: self._go_on(answer) for answer in self.answers]]
        todo += [lambda stream=stream: self._hash(stream) for stream in (0, 1)] + [self._save]
        self.chance.shuffle(todo)
        return any(act() for act in todo)

    def _ask(self) -> bool:
        request = self.transfer.next_request(self.now) if len(self.answers) < PACE.connections else None
        if not isinstance(request, PartRequest):
            return False
        self.answers.append(PendingResponse(request))
        return True

    def _go_on(self, answer: PendingResponse) -> bool:
        request, place = answer.request, self.places[answer.request.url]
        try:
            if self.chance.random() < place.breaks:
                raise TransientFailureError("content", "a break", "wait", self.chance.choice([None, None, 0.5]))
            if not answer.opened:
                ranged = request.ranged and place.ranges
                answer.opened = True
                answer.left = place.data[request.start : request.end] if ranged else place.data
                size = len(place.data) if place.known_size else None
                if not self.transfer.opened(request, RemoteFile(size, None, place.tag), ranged):
                    self.transfer.release(request)
                    self.answers.remove(answer)
                return True
            if not self.transfer.has_room():
                return False
            piece = answer.left[: self.chance.randint(1, 40)]
            wanted = self.transfer.accept(request, len(piece), piece[:4]) if piece else 0
            if piece and not wanted and not (request.end is not None and request.left == 0):
                self.transfer.release(request)
                self.answers.remove(answer)
                return True
            at = request.base + request.position
            self.file[at : at + wanted] = piece[:wanted]
            answer.left = answer.left[len(piece) :]
            if not piece or not self.transfer.add_written(request, wanted):
                self.answers.remove(answer)
                self.transfer.closed(request, self.now)
        except HerdError as error:
            self.answers.remove(answer)
            self.transfer.failed(request, error, self.now)
        return True

    def _hash(self, stream: int) -> bool:
        """Begin or finish a hash task: each is one event."""
        task = self.hashing.pop(stream, None)
        if task is not None:
            task.digest.update(self.file[task.start : task.end])
            self.transfer.hashed(stream, task)
            return True
        task = self.transfer.next_hash_task(stream)
        if task is not None:
            self.hashing[stream] = task
        return task is not None

    def _save(self) -> bool:
        if self.snapshots:
            self.transfer.checkpoint_done(self.snapshots.pop())
            return True
        if self.transfer.is_checkpoint_due():
            self.snapshots.append(self.transfer.snapshot())
        return bool(self.snapshots)


def make(seed: int) -> tuple[Simulation, bytes]:
    chance = random.Random(seed)
    whole = b"GGUF" + chance.randbytes(chance.randint(50, 1500))
    cuts = sorted(chance.sample(range(1, len(whole)), chance.choice([0, 1, 2])))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    known = chance.random() < 0.7
    places: dict[str, Place] = {}
    segments, parts, kept = [], [], Extents()
    start: int | None = 0
    for number, data in enumerate(pieces):
        urls = [f"http://{host}/{number}" for host in ("one", "two", "three")[: chance.choice([1, 1, 2, 3])]]
        for url in urls:
            right = chance.random() < 0.8
            breaks = chance.choice([0.0, 0.02, 0.2, 1.0 if chance.random() < 0.3 else 0.0])
            wrong = data[:-1] + bytes([data[-1] ^ 1])
            tag = chance.choice([f'"{url}"', f'"{url}"', None])
            places[url] = Place(data if right else wrong, tag, chance.random() < 0.7, breaks, chance.random() < 0.8)
        sha256 = hashlib.sha256(data).hexdigest() if known else None
        size = len(data) if chance.random() < 0.8 else None
        part = Part(urls[0], size, sha256)
        parts.append(part)
        segments.append(Segment(part, size, sha256, places[urls[0]].tag, urls[0], tuple(urls[1:])))
        if size is not None and start is not None and known and chance.random() < 0.3:
            kept.add(start + len(data) // 3, start + len(data) // 2)
        start = None if size is None or start is None else start + len(data)
    target = Target("/m/m.gguf", tuple(parts), len(whole), hashlib.sha256(whole).hexdigest())
    transfer = Transfer(target, segments, kept, PACE, Backoff(retries=3, first=0.1))
    file = bytearray(2 * len(whole))
    for low, high in kept:
        # The bytes of an earlier run may be damaged.
        file[low:high] = whole[low:high] if chance.random() < 0.8 else bytes(high - low)
    return Simulation(chance, places, transfer, file), whole


@pytest.mark.parametrize("tens", range(40))
def test_transfer_ends_for_any_order_of_events(tens: int) -> None:
    complete = 0
    for seed in range(25 * tens, 25 * tens + 25):
        simulation, whole = make(seed)
        transfer = simulation.transfer
        for _step in range(60_000):
            if transfer.is_over:
                break
            if not simulation.step():
                simulation.now += 0.05
                assert simulation.now < 600, f"seed {seed}: stuck"
        assert transfer.is_over, f"seed {seed}: no end"
        good = all(
            any(place.data == whole_part(whole, transfer, number) and place.breaks < 0.1 for place in alternatives)
            for number, alternatives in enumerate(by_part(simulation))
        )
        if transfer.error is None:
            complete += 1
            assert bytes(simulation.file[: transfer.size or 0]) == whole, f"seed {seed}"
            assert transfer.whole_sha256 == hashlib.sha256(whole).hexdigest(), f"seed {seed}"
        else:
            known = all(part.segment.sha256 for part in transfer.parts)
            assert not (good and known), f"seed {seed}: {transfer.error}"
    assert complete


def by_part(simulation: Simulation) -> list[list[Place]]:
    count = len(simulation.transfer.parts)
    return [
        [place for url, place in simulation.places.items() if url.endswith(f"/{number}")] for number in range(count)
    ]


def whole_part(whole: bytes, transfer: Transfer, number: int) -> bytes:
    """Find the right bytes of a part by its checksum."""
    wanted = transfer.parts[number].segment.sha256
    for start in range(len(whole)):
        if wanted is None:
            return b""
        size = transfer.target.parts[number].size
        if size is None:
            return b""
        if hashlib.sha256(whole[start : start + size]).hexdigest() == wanted:
            return whole[start : start + size]
    return b""
