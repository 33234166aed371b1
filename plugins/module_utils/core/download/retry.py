# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retry failed requests, pace a transfer, cap its bandwidth and detect slow connections."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Backoff:
    """Pauses between tries.

    :ivar retries: consecutive failures after which a server gets another request.
    :ivar first: seconds after the first failure; each further failure doubles them.
    :ivar longest: seconds at most.
    :ivar patience: the longest pause in seconds that a server may ask for (C(Retry-After)).
    """

    retries: int = 5
    first: float = 1.0
    longest: float = 60.0
    patience: float = 600.0

    def pause(self, failures: int, asked: float | None) -> float | None:
        """Compute the seconds to wait after consecutive failures; None to give up.

        :param asked: seconds that the server asks for (C(Retry-After)); None if it does not say.
        """
        if failures > self.retries or (asked is not None and asked > self.patience):
            return None
        own: float = min(self.first * 2 ** (failures - 1), self.longest)
        # A server that asks for no pause at all would use up the retries at once.
        return own if asked is None else max(asked, own)


@dataclass(frozen=True)
class Pace:
    """Sizes of requests and checkpoints, in bytes.

    :ivar connections: requests at the same time.
    :ivar smallest: size of the smallest request; below it, a further round trip costs more than it saves.
    :ivar largest: size of the largest request.
    :ivar checkpoint: written bytes after which a checkpoint forces them to disk and updates the journal.
    :ivar unsafe: most bytes that are written and not yet forced to disk; a loss of power costs this much.
    :ivar ahead: most bytes that the connections may be ahead of the checksum, so that it reads from the page cache
        and not from the disk; more than a block.
    :ivar block: smallest step of the checksum.
    :ivar progress: bytes below which a response counts as a failure.
    :ivar lag: seconds by which a request may delay the end before an idle connection takes its bytes over.
    """

    connections: int = 8
    smallest: int = MIB
    largest: int = 32 * MIB
    checkpoint: int = 24 * MIB
    unsafe: int = 48 * MIB
    ahead: int = 512 * MIB
    block: int = MIB
    progress: int = 64 << 10
    lag: float = 2.0

    def request_size(self, left: int) -> int:
        """Size the next request. Requests shrink towards the end, so that all connections end together."""
        return max(self.smallest, min(self.largest, left // (2 * self.connections)))


class BandwidthLimit:
    """Cap the bandwidth: each read is followed by a pause that keeps the rate.

    :param rate: bytes per second; 0 for no cap.
    """

    #: Seconds of the rate that may arrive at once.
    BURST = 0.25

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._paid_until = float("-inf")

    def take(self, size: int, now: float) -> float:
        """Compute the seconds to pause after a read of this size."""
        if self.rate <= 0:
            return 0.0
        self._paid_until = max(self._paid_until, now - self.BURST) + size / self.rate
        return max(0.0, self._paid_until - now)


class SlowTransferDetector:
    """Detect a connection that still delivers bytes, but too slowly.

    :param window: seconds over which the rate is measured.
    """

    #: Bytes per second below which the connection counts as failed.
    SLOWEST = 1024.0

    def __init__(self, window: float) -> None:
        self.window = window
        self._waited = 0.0
        self._received = 0

    @property
    def found(self) -> str:
        """What was found, for the error."""
        return f"less than {self.SLOWEST * self.window:.0f} bytes in {self.window:.0f} s"

    def is_too_slow(self, received: int, waited: float) -> bool:
        """Add one read, its bytes and the seconds spent waiting for them, and judge the connection."""
        self._received += received
        self._waited += waited
        if self._received >= self.SLOWEST * self.window:
            self._received, self._waited = 0, 0.0
        return self._waited > self.window and self._received < self.SLOWEST * self._waited
