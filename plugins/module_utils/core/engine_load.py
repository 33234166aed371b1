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


class EngineLoad:
    """One engine's counters, looked at again and again."""

    def __init__(self) -> None:
        self._before: Mapping[str, float] = {}
        self._rates: dict[str, float] = {}
        self._now: Mapping[str, float] = {}

    def add(self, counters: Mapping[str, float]) -> None:
        """Take what was read; nothing where it did not answer."""
        for name, (tokens, seconds) in RATES.items():
            passed = counters.get(seconds, 0.0) - self._before.get(seconds, 0.0)
            made = counters.get(tokens, 0.0) - self._before.get(tokens, 0.0)
            # Less than before is an engine that was started anew; what it says then is all of its own.
            if passed > 0 and made > 0:
                self._rates[name] = round(made / passed, 2)
        if counters:
            self._before = dict(counters)
        self._now = counters

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
