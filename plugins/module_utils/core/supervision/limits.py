# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the agent waits before it acts, and between two recoveries."""

from __future__ import annotations

from dataclasses import dataclass

# A longer time between two steps means that this host, or its agent, was stopped.
PAUSE_S = 5.0


def is_paused(last: float | None, now: float) -> bool:
    """Return whether the agent was stopped, or the clock set back, since the last step."""
    return last is not None and not 0 <= now - last <= PAUSE_S


@dataclass(frozen=True)
class RecoveryLimits:
    """Times in seconds after which the agent acts.

    :param silent_s: without a heartbeat from a host that answered before.
    :param confirm_s: for which a connection must be missing.
    :param idle_probe_s: without a token from an idle head, before it is probed; 0 never probes.
    :param stall_s: without progress of a busy head, or without an answer of its slots, before it is probed; and
        without activity of the process of a head that reports that it loads.
    :param mute_s: for which the head's API may not answer while its process is inactive.
    :param mute_busy_s: for which its API may not answer while its process computes: it may have too many clients.
    :param probe_s: for the answer to a probe; longer than the longest request if all slots are busy.
    :param drain_s: for running requests, if they can still complete.
    :param frozen_s: for which the process of a head or worker may be stopped.
    :param stale_s: for which a worker may keep a connection that its client has closed.
    :param backoff_s: pauses between successive recoveries.
    :param calm_s: without a recovery, after which the pauses start again with the first.
    """

    silent_s: float = 6.0
    confirm_s: float = 0.4
    idle_probe_s: float = 900.0
    stall_s: float = 180.0
    mute_s: float = 60.0
    mute_busy_s: float = 1800.0
    probe_s: float = 120.0
    drain_s: float = 120.0
    frozen_s: float = 3.0
    stale_s: float = 60.0
    backoff_s: tuple[float, ...] = (0.0, 0.0, 5.0, 15.0, 60.0, 300.0)
    calm_s: float = 600.0


class Backoff:
    """Pauses between recoveries: longer while they follow each other, and never endless."""

    def __init__(self, pauses: tuple[float, ...], calm_s: float) -> None:
        self.pauses, self.calm_s = pauses, calm_s
        self.last = 0.0
        self.count = 0

    @property
    def pause(self) -> float:
        """Return the pause that follows the recoveries so far, in seconds."""
        return self.pauses[min(self.count, len(self.pauses) - 1)]

    def wait(self, now: float) -> float:
        """Return the seconds until the next recovery may start."""
        if self.count and now - self.last > self.calm_s:
            self.count = 0
        return max(0.0, self.last + self.pause - now) if self.count else 0.0

    def note(self, now: float) -> None:
        """Count a recovery."""
        self.count, self.last = self.count + 1, now
