# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End connections to dead engines, so that their clients get an error."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ...core.gateway import dead_upstreams
from ...core.slurm.tier_status import TierReport
from ..common.log import log

PROBE_S = 2.0
TICK_S = 0.5
#: The smallest request that an engine answers without a key.
QUESTION = b"GET /health HTTP/1.0\r\n\r\n"


def ask(endpoint: str) -> str:
    """Check an engine."""
    host, _colon, port = endpoint.partition(":")
    found = dead_upstreams.UNREACHABLE
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=PROBE_S) as wire:
        found = dead_upstreams.SILENT
        wire.sendall(QUESTION)
        # An engine that closes the connection is dead too.
        found = dead_upstreams.ANSWERS if wire.recv(1) else dead_upstreams.UNREACHABLE
    return found


class DeadUpstreams:
    """Check engines that left the registry, in a thread, since that may take a while."""

    def __init__(self, run: Callable[[list[str]], tuple[int, str]]) -> None:
        self._run = run
        self._watch = dead_upstreams.Watch()
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, daemon=True).start()

    def update(self, tiers: Mapping[str, TierReport]) -> None:
        """Take the present status of the tiers."""
        with self._lock:
            self._watch = dead_upstreams.followed(self._watch, dead_upstreams.endpoints_of(tiers))

    def _follow(self) -> None:
        while True:
            time.sleep(TICK_S)
            for endpoint in sorted(self._watch.dead):
                found = ask(endpoint)
                with self._lock:
                    self._watch, must_end = dead_upstreams.asked(self._watch, endpoint, found, time.monotonic())
                if must_end:
                    self._end(endpoint)

    def _end(self, endpoint: str) -> None:
        """End all connections to an engine: nginx and the gateway then report the failure."""
        status, text = self._run(["ss", "-H", "-n", "-t", "-K", "dst", endpoint])
        if "answers:" in text or status:
            log(f"{endpoint} is dead, but its connections could not be ended: {' '.join(text.split())}")
        elif text.strip():
            log(f"{endpoint} is dead: {len(text.splitlines())} connections ended")
