# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends connections to engines that are gone without a word, so that whoever waits there is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ...core.gateway import dead_upstreams
from ...core.slurm.tier_status import Tier
from ..common.log import log

PROBE_S = 2.0
TICK_S = 0.5
#: As little as an engine answers to, without a key.
QUESTION = b"GET /health HTTP/1.0\r\n\r\n"


def ask(endpoint: str) -> str:
    """How an engine is that may be gone."""
    host, _colon, port = endpoint.partition(":")
    found = dead_upstreams.NOBODY
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=PROBE_S) as wire:
        found = dead_upstreams.SILENT
        wire.sendall(QUESTION)
        # One that ends the connection is gone as well.
        found = dead_upstreams.ANSWERS if wire.recv(1) else dead_upstreams.NOBODY
    return found


class DeadUpstreams:
    """Follows the view of the tiers; looks at what has left it in a thread of its own, since that may take a while."""

    def __init__(self, run: Callable[[list[str]], tuple[int, str]]) -> None:
        self._run = run
        self._watch = dead_upstreams.Watch()
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, daemon=True).start()

    def update(self, tiers: Mapping[str, Tier]) -> None:
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
        """End what is open to it: nginx and the gateway then say why."""
        status, text = self._run(["ss", "-H", "-n", "-t", "-K", "dst", endpoint])
        if "answers:" in text or status:
            log(f"{endpoint} is gone, and connections to it could not be ended: {' '.join(text.split())}")
        elif text.strip():
            log(f"{endpoint} is gone: {len(text.splitlines())} connections to it were ended")
