# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who fetches a model, and who then gets it from whom: a tree over the fabric.

In each round every host that has the model gives it to a few that lack it, and these give it on in the next
round. So n copies take about log(n) rounds, and the link to the internet carries the model once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from .errors import InvalidInputError

#: Names of a model's files with their SHA-256, None where the inventory does not know it.
Files = Mapping[str, Optional[str]]


@dataclass(frozen=True)
class Copy:
    """One model that goes from one host to another.

    :ivar model: index of the model in the list that was given.
    """

    model: int
    source: str
    target: str

    def to_data(self) -> dict[str, Any]:
        """For playbooks."""
        return {"model": self.model, "source": self.source, "target": self.target}


@dataclass(frozen=True)
class CopyPlan:
    """What each host does.

    :ivar fetching: for each model the hosts that need no other host: those that have it, or the one that fetches.
    :ivar rounds: copies that run at the same time, one round after the other.
    """

    fetching: tuple[tuple[str, ...], ...]
    rounds: tuple[tuple[Copy, ...], ...]

    def to_data(self) -> dict[str, Any]:
        """For playbooks."""
        return {
            "fetching": [list(hosts) for hosts in self.fetching],
            "rounds": [[copy.to_data() for copy in copies] for copies in self.rounds],
        }


def _holders(files: Files, held: Mapping[str, Mapping[str, str]], hosts: Sequence[str]) -> list[str]:
    """Hosts with all files of a model; where no checksum is known, those that agree with the first of them."""
    wanted = dict(files)
    found: list[str] = []
    for host in hosts:
        has = held.get(host, {})
        if all(name in has and digest in (None, has[name]) for name, digest in wanted.items()):
            wanted = {name: has[name] for name in wanted}
            found.append(host)
    return found


def _rounds(model: int, holders: Sequence[str], lacking: Sequence[str], fanout: int) -> list[list[Copy]]:
    """The tree for one model."""
    sources, rest = list(holders), list(lacking)
    rounds: list[list[Copy]] = []
    while rest:
        pairs = list(zip([source for _each in range(fanout) for source in sources], rest))
        rounds.append([Copy(model, source, target) for source, target in pairs])
        sources += [target for _source, target in pairs]
        rest = rest[len(pairs) :]
    return rounds


def plan_copies(
    hosts: Sequence[str], models: Sequence[Files], held: Mapping[str, Mapping[str, str]], fanout: int = 2
) -> CopyPlan:
    """Plan for all models at once.

    :param hosts: all that need the models, the preferred one for a fetch first.
    :param held: by host, its verified files with their SHA-256.
    :param fanout: how many hosts one host gives a model to at the same time.
    """
    if fanout < 1:
        raise InvalidInputError("a fan-out of at least 1", str(fanout), "correct model_store_share_fanout")
    fetching: list[tuple[str, ...]] = []
    merged: list[list[Copy]] = []
    for model, files in enumerate(models):
        holders = _holders(files, held, hosts) or list(hosts[:1])
        fetching.append(tuple(holders))
        lacking = [host for host in hosts if host not in holders]
        for number, copies in enumerate(_rounds(model, holders, lacking, fanout)):
            if number == len(merged):
                merged.append([])
            merged[number] += copies
    return CopyPlan(tuple(fetching), tuple(tuple(copies) for copies in merged))
