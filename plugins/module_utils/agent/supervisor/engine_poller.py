# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Poll the API of an engine: its health, its slots and its counters."""

from __future__ import annotations

import time
from collections import deque

from ..common import engine_api
from ..common.log import log

TICK_S = 0.5
SLOTS_EVERY_S = 2.0
# The period over which tokens per second are averaged.
RATE_S = 10.0


class EnginePoller:
    """Poll an engine in a thread of its own, because an answer may take long.

    :ivar counters: the last counters of the engine by name, and C(counted_at) when they came; empty without an engine
        that has answered.
    :ivar may_ask: whether the slots may be requested, which wakes an engine that sleeps.
    :ivar ended: set it to end the thread.
    """

    def __init__(self, every_s: float = SLOTS_EVERY_S) -> None:
        self.every_s = every_s
        self.api: engine_api.Api | None = None
        self.health = ""
        self.slots = engine_api.Slots()
        self.waiting = -1
        self.tokens = -1
        self.counters: dict[str, float] = {}
        self.counted_at = 0.0
        self.may_ask, self.ended = True, False
        self._rates: deque[tuple[float, int]] = deque()
        self._asked_at = 0.0
        self._logged = ""

    def run(self) -> None:
        """Poll periodically until C(ended) is set."""
        while not self.ended:
            self.poll()
            time.sleep(TICK_S)

    def poll(self) -> None:
        """Poll once. An error of this program is logged, and does not count as an answer of the engine."""
        api, problem = self.api, ""
        try:
            if api is None:
                self.health, self.slots, self.counters = "", engine_api.Slots(), {}
            else:
                self._ask(api)
                can_tell = self.slots.known or self.health != "ok" or not self.may_ask
                problem = "" if can_tell else engine_api.why_without_key(api)
        except Exception as error:
            self.health, self.slots = "", engine_api.Slots()
            problem = f"the head cannot be asked: {type(error).__name__}: {error}"
        if problem and problem != self._logged:
            log(problem)
        self._logged = problem

    def _ask(self, api: engine_api.Api) -> None:
        health = engine_api.health(api)
        if health == "ok" and self.may_ask and time.monotonic() - self._asked_at >= self.every_s:
            slots, counters = engine_api.slots(api), engine_api.metrics(api)
            self._asked_at = time.monotonic()
            self.slots = slots
            self.waiting = int(counters.get("requests_deferred", -1))
            if "tokens_predicted_total" in counters:
                # Without counters in time, the rate is computed from the next ones.
                self.tokens = int(counters["tokens_predicted_total"])
                self.counters, self.counted_at = counters, self._asked_at
                self._rates.append((self._asked_at, self.tokens))
            while len(self._rates) > 2 and self._rates[1][0] < self._asked_at - RATE_S:
                self._rates.popleft()
        elif health != "ok" or not self.may_ask:
            self.slots = engine_api.Slots()
            self._rates.clear()
            if health != "silent":
                self.tokens = -1
                self.counters = {}
        self.health = health

    def rate(self) -> float:
        """Return the tokens per second of the last seconds."""
        if len(self._rates) < 2:
            return 0.0
        (began, before), (ended, after) = self._rates[0], self._rates[-1]
        return round(max(0.0, (after - before) / (ended - began)), 2) if ended > began else 0.0
