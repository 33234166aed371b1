# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a benchmark is asked for, before its first request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidInputError
from ..values import finite
from . import targets
from .cases import MOST_REPETITIONS, Case, cases
from .results import Objective

#: Most requests that a client sends in one repetition.
MOST_REQUESTS = 1000
#: Most requests of a whole benchmark.
MOST_IN_ALL = 1_000_000
_LONGEST_MS = 86_400_000.0
_REMEDY = "correct the variables that begin with benchmark_"


@dataclass(frozen=True)
class Plan:
    """What a benchmark measures.

    :ivar requests: requests of each client in one repetition.
    :ivar limits: the targets, by name.
    """

    cases: list[Case]
    requests: int
    repetitions: int
    objective: Objective
    limits: dict[str, targets.Target]

    @property
    def request_count(self) -> int:
        """Requests of all cases, repetitions and warm-ups."""
        return (self.repetitions + 1) * self.requests * sum(case.clients for case in self.cases)


def _count(settings: Mapping[str, Any], key: str, most: int) -> int:
    found = settings.get(key)
    if finite(found, 1, most) is None or not isinstance(found, int):
        raise InvalidInputError(f"a whole number from 1 to {most} as benchmark_{key}", repr(found), _REMEDY)
    return found


def objective(given: Mapping[str, Any]) -> Objective:
    """Return the objective of goodput from C(ttft_ms), C(itl_ms) and C(request_latency_ms).

    :raises InvalidInputError: for another name, and for a value that is no number of milliseconds.
    """
    known = tuple(asdict(Objective()))
    for key, value in given.items():
        if key not in known or (value is not None and finite(value, 0, _LONGEST_MS) is None):
            raise InvalidInputError(
                f"milliseconds for {', '.join(known)} in benchmark_objective", f"{key}: {value!r}", _REMEDY
            )
    return Objective(**given)


def plan(settings: Mapping[str, Any]) -> Plan:
    """Return the plan of a benchmark.

    :raises InvalidInputError: for a value of the wrong type or outside its range.
    """
    made = Plan(
        cases(settings),
        _count(settings, "requests", MOST_REQUESTS),
        _count(settings, "repetitions", MOST_REPETITIONS),
        objective(settings.get("objective") or {}),
        targets.with_changes(settings.get("targets") or {}),
    )
    if made.request_count > MOST_IN_ALL:
        raise InvalidInputError(f"at most {MOST_IN_ALL} requests in all", str(made.request_count), _REMEDY)
    return made


def endpoint_url(given: str) -> str:
    """Return an endpoint's address without a path; C(/v1) at its end is left out.

    :raises InvalidInputError: for an address that is not http or https, or that has more than a host and a port.
    """
    text = given.strip().rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInputError(
            "an address such as https://herd.example:8000",
            # An address may hold a password.
            repr(given.rsplit("@", 1)[-1])[:80],
            "correct benchmark_url",
        )
    return text
