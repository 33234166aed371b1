# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find engines that left the registry but still have open connections.

A host that loses its power closes no connection, and nginx would wait for hours. A cleanly stopped engine leaves no
connections. An engine that only left an unreadable registry still answers. A stalled engine does neither: its kernel
accepts connections, but nothing comes over them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..slurm.tier_status import TierReport

#: Results of a health check: an answer, a connection without an answer, or no connection.
ANSWERS, SILENT, UNREACHABLE = "answers", "silent", "unreachable"
#: Seconds without an answer after which an engine that accepts connections is given up: it may be busy.
STALLED_S = 60.0
#: Seconds of silence on all connections to an engine, after which it is checked.
STILL_S = 20.0


@dataclass(frozen=True)
class Watch:
    """The engines that are known, by address and port.

    :ivar alive: engines in the registry.
    :ivar dead: engines that left the registry and have not been checked to the end.
    :ivar silent: when an engine that accepts connections was first seen not to answer, by a monotonic clock.
    """

    alive: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    silent: Mapping[str, float] = field(default_factory=dict)


def endpoints_of(tiers: Mapping[str, TierReport]) -> frozenset[str]:
    """Return all endpoints of the tiers, whatever their state: a draining engine still answers."""
    return frozenset(endpoint.where for tier in tiers.values() for endpoint in tier.endpoints)


def followed(watch: Watch, alive: Collection[str]) -> Watch:
    """Update the known engines from the registry."""
    now = frozenset(alive)
    return replace(watch, alive=now, dead=(watch.dead | watch.alive) - now)


def asked(watch: Watch, endpoint: str, found: str, now: float) -> tuple[Watch, bool]:
    """Record a health check of a dead engine.

    :returns: the known engines, and whether to end the connections to this one.
    """
    if endpoint not in watch.dead:
        # It came back meanwhile.
        return replace(watch, silent=_without(watch.silent, endpoint)), False
    since = watch.silent.get(endpoint, now)
    if found == SILENT and now - since < STALLED_S:
        return replace(watch, silent={**watch.silent, endpoint: since}), False
    known = replace(watch, dead=watch.dead - {endpoint}, silent=_without(watch.silent, endpoint))
    return known, found != ANSWERS


def _without(silent: Mapping[str, float], endpoint: str) -> dict[str, float]:
    return {name: since for name, since in silent.items() if name != endpoint}


def silent_endpoints(moved: Mapping[str, float], ready: Collection[str], now: float) -> list[str]:
    """Return the engines to check because they may be stalled. Ready engines are checked by their own jobs.

    :param moved: when anything last came over a connection to an engine.
    """
    return sorted(name for name, when in moved.items() if name not in ready and now - when >= STILL_S)
