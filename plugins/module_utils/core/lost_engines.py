# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engines that are not in the registry any more, to which connections may still be open.

A host that loses its power says nothing to those who wait for its answers, and nginx would wait for hours. What an
engine that has ended in order leaves behind is nothing; what a registry that cannot be read for a while takes away is
still there, and answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .upstreams import endpoint_of


@dataclass(frozen=True)
class Watch:
    """What is known of engines, as address and port.

    :param alive: those in the registry.
    :param lost: those that were there, and of which nobody has seen yet whether they still answer.
    """

    alive: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


def alive_in(view: Mapping[str, Any]) -> frozenset[str]:
    """All endpoints in a view of the tiers, whatever their state: one that is draining still answers."""
    tiers = view.get("tiers")
    found = set()
    for tier in tiers.values() if isinstance(tiers, Mapping) else ():
        entries = tier.get("endpoints") if isinstance(tier, Mapping) else None
        found |= {endpoint_of(entry) for entry in entries or () if isinstance(entry, Mapping)}
    return frozenset(found - {""})


def followed(watch: Watch, alive: Collection[str]) -> Watch:
    """What is known after another look into the registry."""
    now = frozenset(alive)
    return Watch(now, (watch.lost | watch.alive) - now)


def seen(watch: Watch, endpoint: str) -> Watch:
    """What is known once somebody has looked whether a lost engine answers."""
    return Watch(watch.alive, watch.lost - {endpoint})
