# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that are not in the registry any more, to which connections may still be open.

A host that loses its power says nothing to those who wait for its answers, and nginx would wait for hours. What an
engine that has ended in order leaves behind is nothing; what a registry that cannot be read for a while takes away is
still there, and answers. An engine that was frozen is neither: its kernel takes connections, and nothing ever comes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..slurm.tier_status import Tier

#: What somebody finds who asks an engine how it is: an answer; a connection, and no answer; not even that.
ANSWERS, SILENT, NOBODY = "answers", "silent", "nobody"
#: Seconds without an answer after which one that takes connections is given up: it may have much to do.
STALLED_S = 60.0
#: Seconds in which nothing has come over any connection to an engine, after which it is asked how it is.
STILL_S = 20.0


@dataclass(frozen=True)
class Watch:
    """What is known of engines, as address and port.

    :param alive: those in the registry.
    :param dead: those that were there, and of which nobody has seen yet whether they still answer.
    :param silent: since when, by a clock that does not jump, those have not answered that take connections.
    """

    alive: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    silent: Mapping[str, float] = field(default_factory=dict)


def endpoints_of(tiers: Mapping[str, Tier]) -> frozenset[str]:
    """Return all endpoints of the tiers, whatever their state: a draining engine still answers."""
    return frozenset(endpoint.where for tier in tiers.values() for endpoint in tier.endpoints)


def followed(watch: Watch, alive: Collection[str]) -> Watch:
    """What is known after another look into the registry."""
    now = frozenset(alive)
    return replace(watch, alive=now, dead=(watch.dead | watch.alive) - now)


def asked(watch: Watch, endpoint: str, found: str, now: float) -> tuple[Watch, bool]:
    """What is known once somebody has asked a lost engine how it is, and whether connections to it are to be ended."""
    if endpoint not in watch.dead:
        # It has come back meanwhile.
        return replace(watch, silent=_without(watch.silent, endpoint)), False
    since = watch.silent.get(endpoint, now)
    if found == SILENT and now - since < STALLED_S:
        return replace(watch, silent={**watch.silent, endpoint: since}), False
    known = replace(watch, dead=watch.dead - {endpoint}, silent=_without(watch.silent, endpoint))
    return known, found != ANSWERS


def _without(silent: Mapping[str, float], endpoint: str) -> dict[str, float]:
    return {name: since for name, since in silent.items() if name != endpoint}


def silent_endpoints(moved: Mapping[str, float], ready: Collection[str], now: float) -> list[str]:
    """Engines that may be frozen, and are to be asked: of one that is registered as ready its own job takes care.

    :param moved: when anything has come over any connection to an engine.
    """
    return sorted(name for name, when in moved.items() if name not in ready and now - when >= STILL_S)
