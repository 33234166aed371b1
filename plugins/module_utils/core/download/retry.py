# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to try again, and how fast to go: patience, pace and the cap on the bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries.

    :ivar retries: failures in a row that are forgiven.
    :ivar first: seconds after the first failure; each further one doubles them.
    :ivar longest: seconds at most.
    :ivar patience: the longest pause, in seconds, that a server may ask for (C(Retry-After)).
    """

    retries: int = 5
    first: float = 1.0
    longest: float = 60.0
    patience: float = 600.0

    def pause(self, failures: int, asked: float | None) -> float | None:
        """Seconds to wait after so many failures in a row; None to give up."""
        if failures > self.retries or (asked is not None and asked > self.patience):
            return None
        return min(self.first * 2 ** (failures - 1), self.longest) if asked is None else asked


@dataclass(frozen=True)
class Pace:
    """How the work is cut and when it is made safe. Sizes in bytes.

    :ivar connections: requests at the same time.
    :ivar smallest: of a request; below it, another round trip costs more than it brings.
    :ivar largest: of a request.
    :ivar checkpoint: so often what has landed is forced to disk and the journal says so.
    :ivar unsafe: most that has landed and is not safe; a loss of power costs this much.
    :ivar ahead: most that the connections may be in front of the checksum, so that it is computed from the page
        cache and not from the disk; more than a block.
    :ivar block: least that is worth a step of the checksum.
    :ivar progress: bytes without which an answer counts as a failure.
    """

    connections: int = 8
    smallest: int = MIB
    largest: int = 32 * MIB
    checkpoint: int = 24 * MIB
    unsafe: int = 48 * MIB
    ahead: int = 512 * MIB
    block: int = MIB
    progress: int = 64 << 10

    def request(self, left: int) -> int:
        """Size of the next request: large, and smaller towards the end, so that all connections end together."""
        return max(self.smallest, min(self.largest, left // (2 * self.connections)))


class Bucket:
    """A cap on the bandwidth: bytes are paid for after they came, with a pause.

    :param rate: bytes per second; 0 for no cap.
    """

    #: Seconds of the rate that may come at once.
    BURST = 0.25

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._paid_until = float("-inf")

    def take(self, size: int, now: float) -> float:
        """How many seconds to pause after so many bytes."""
        if self.rate <= 0:
            return 0.0
        self._paid_until = max(self._paid_until, now - self.BURST) + size / self.rate
        return max(0.0, self._paid_until - now)


class Drip:
    """Notices a connection that is alive and too slow to wait for.

    :param window: seconds over which the rate is looked at.
    :param slowest: bytes per second below which it counts as a failure.
    """

    def __init__(self, window: float, slowest: float = 1024.0) -> None:
        self.window = window
        self.slowest = slowest
        self._waited = 0.0
        self._came = 0

    def too_slow(self, came: int, waited: float) -> bool:
        """After each piece: its bytes, and the seconds that were spent waiting for it."""
        self._came += came
        self._waited += waited
        if self._came >= self.slowest * self.window:
            self._came, self._waited = 0, 0.0
        return self._waited > self.window and self._came < self.slowest * self._waited
