# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the requests that a job's engine is working on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ...core.host import proc_net
from ..common import engine_api
from ..supervisor import local_state

TICK_S = 0.2
#: Seconds after which a count is too old: the engine does not answer.
LIFE_S = 1.0


def count(api: engine_api.Api | None, is_router: bool) -> int | None:
    """Count the running requests; None if the engine does not say."""
    if api is None:
        return 0
    if not is_router:
        slots = engine_api.slots(api)
        return slots.busy if slots.known else None
    # A router does not report requests that wait for their model. But each waiting client has a connection. The gateway
    # closes idle connections after 4 seconds.
    try:
        # Connections of this process do not count; a closed one is shown as root's.
        return len(proc_net.clients_of(local_state.sockets(), api.port, "", (0, os.getuid())))
    except (OSError, ValueError):
        return None


class RequestCounter:
    """Counts in its own thread: a busy engine may answer late.

    :param read: counts the running requests.
    :param is_needed: whether the count matters now. The engine logs a line for each question.
    """

    def __init__(self, read: Callable[[], int | None], is_needed: Callable[[], bool]) -> None:
        self._read, self._is_needed = read, is_needed
        self._busy: int | None = None
        #: When the requests were counted.
        self.counted_at = 0.0

    def follow(self) -> None:
        """Count again and again."""
        while True:
            at = time.monotonic()
            self._busy, self.counted_at = self._read() if self._is_needed() else None, at
            time.sleep(TICK_S)

    def busy(self, now: float) -> int | None:
        """Return the latest count; None if it is unknown or too old."""
        return self._busy if now - self.counted_at <= LIFE_S else None
