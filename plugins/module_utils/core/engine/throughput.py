# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute an engine's load and its current speed from its counters.

The engine adds tokens and seconds to its counters when a request ends, and its averages cover its run. The current
speed is the difference between two readings with a finished request between them. It is kept until the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Speeds, and the counters (tokens, seconds) from which they are computed.
RATES = {
    "tokens_per_s": ("tokens_predicted_total", "tokens_predicted_seconds_total"),
    "prompt_tokens_per_s": ("prompt_tokens_total", "prompt_seconds_total"),
}

#: Least tokens for a speed.
LEAST_TOKENS, LEAST_S = 8.0, 0.1


class EngineLoad:
    """Successive readings of an engine's counters."""

    def __init__(self) -> None:
        self._base: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._now: Mapping[str, float] = {}

    def add(self, counters: Mapping[str, float]) -> None:
        """Add a reading; None if the engine did not answer."""
        self._now = counters
        for name, (tokens, seconds) in RATES.items():
            if tokens not in counters or seconds not in counters:
                continue
            if counters[tokens] < self._base.get(tokens, 0.0) or counters[seconds] < self._base.get(seconds, 0.0):
                # A restarted engine counts from zero.
                self._base.update({tokens: 0.0, seconds: 0.0})
            made = counters[tokens] - self._base.get(tokens, 0.0)
            passed = counters[seconds] - self._base.get(seconds, 0.0)
            # A single token takes no time by the engine's clock, so wait for more.
            if made >= LEAST_TOKENS and passed >= LEAST_S:
                self._rates[name] = round(made / passed, 2)
                self._base.update({tokens: counters[tokens], seconds: counters[seconds]})

    def as_data(self, gpus: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any] | None:
        """Return the load for the entry in the registry; None if unknown.

        :param gpus: GPUs by host, with C(name), C(used_mib) and C(total_mib).
        """
        found: dict[str, Any] = {**self._rates}
        for name, counter in (("processing", "requests_processing"), ("waiting", "requests_deferred")):
            if counter in self._now:
                found[name] = int(self._now[counter])
        all_gpus = [{"host": host, **gpu} for host, own in sorted(gpus.items()) for gpu in own]
        if all_gpus:
            found["gpus"] = all_gpus
        return found or None
