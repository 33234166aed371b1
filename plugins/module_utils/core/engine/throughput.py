# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine has to do and how fast it is, from its own counters.

The engine counts tokens and the seconds that it took for them when a request has ended; its averages are those since
it began. The speed of now is the difference between two looks with a request in between, and stays until the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: What is said, and the counters (tokens, seconds) that it is made of.
RATES = {
    "tokens_per_s": ("tokens_predicted_total", "tokens_predicted_seconds_total"),
    "prompt_tokens_per_s": ("prompt_tokens_total", "prompt_seconds_total"),
}

#: What a speed is made of at least.
LEAST_TOKENS, LEAST_S = 8.0, 0.1


class EngineLoad:
    """One engine's counters, looked at again and again."""

    def __init__(self) -> None:
        self._base: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._now: Mapping[str, float] = {}

    def add(self, counters: Mapping[str, float]) -> None:
        """Take what was read; nothing where it did not answer."""
        self._now = counters
        for name, (tokens, seconds) in RATES.items():
            if tokens not in counters or seconds not in counters:
                continue
            if counters[tokens] < self._base.get(tokens, 0.0) or counters[seconds] < self._base.get(seconds, 0.0):
                # An engine that was started anew counts from the beginning.
                self._base.update({tokens: 0.0, seconds: 0.0})
            made = counters[tokens] - self._base.get(tokens, 0.0)
            passed = counters[seconds] - self._base.get(seconds, 0.0)
            # A single token takes no time by the engine's clock: less than this waits for more.
            if made >= LEAST_TOKENS and passed >= LEAST_S:
                self._rates[name] = round(made / passed, 2)
                self._base.update({tokens: counters[tokens], seconds: counters[seconds]})

    def as_data(self, gpus: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any] | None:
        """What the registry's entry says of it; None where nothing is known.

        :param gpus: by host, the GPUs with their C(name), C(used_mib) and C(total_mib).
        """
        found: dict[str, Any] = {**self._rates}
        for name, counter in (("processing", "requests_processing"), ("waiting", "requests_deferred")):
            if counter in self._now:
                found[name] = int(self._now[counter])
        all_gpus = [{"host": host, **gpu} for host, own in sorted(gpus.items()) for gpu in own]
        if all_gpus:
            found["gpus"] = all_gpus
        return found or None
