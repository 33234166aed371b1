# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the switch of all nodes to another release. A killed switch is repeated.

Each node writes a record of the switch before the head stops, and removes it after the head has answered. While a
record exists, some of the links C(current) and C(previous) may have changed. So only the record names the release of a
rollback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .install import BUILD_ID


@dataclass(frozen=True)
class NodeRelease:
    """The releases of one node and the services that run on it.

    :ivar info: result of the module release_info; empty for an unreachable host.
    """

    info: Mapping[str, Any]
    services: Sequence[str] = ()

    @property
    def record(self) -> dict[str, str]:
        return read_record(self.info.get("changing"))

    def runs(self, release: str) -> bool:
        """Return whether all services run from this release only."""
        running = self.info.get("running") or []
        return all({p["release"] for p in running if p["unit"] == unit} == {release} for unit in self.services)


def read_record(said: Any) -> dict[str, str]:
    """Return the ids of a node's record: C(from), C(to), C(back) of a rollback and C(previous) to C(from).

    Empty if the record is missing or invalid.
    """
    if not isinstance(said, Mapping):
        return {}
    found = {name: str(said.get(name) or "") for name in ("from", "to", "back", "previous")}
    is_good = found["to"] and all(not release or BUILD_ID.fullmatch(release) for release in found.values())
    return found if is_good else {}


def new_record(former: str, wanted: str, is_rollback: bool, previous: str = "") -> dict[str, str]:
    """Return the record of a new switch.

    After a killed rollback, the next one goes to C(wanted) again; after a killed upgrade, it goes to C(former).
    """
    return {"from": former, "to": wanted, "back": wanted if is_rollback else former, "previous": previous}


def plan(nodes: Sequence[NodeRelease], wanted: str = "") -> dict[str, Any]:
    """Return the target of a switch, its origin, and whether it is needed.

    :param nodes: all nodes, the head first.
    :param wanted: id of the target; empty for a rollback.
    """
    records = [node.record for node in nodes if node.record]
    record = records[0] if records else read_record({})
    currents = [str(node.info.get("current") or "") for node in nodes]
    to = wanted or record.get("back") or str(nodes[0].info.get("previous") or "")
    known = [*(record.get(name, "") for name in ("back", "from", "to")), *currents]
    return {
        "to": to,
        "from": next((release for release in known if release not in ("", to)), ""),
        "needed": bool(records) or {*currents} != {to} or not all(node.runs(to) for node in nodes),
    }


def outdated_nodes(nodes: Mapping[str, NodeRelease], release: str) -> list[str]:
    """Return the names of nodes that do not run a release, or that are unreachable."""
    return [name for name, node in nodes.items() if node.info.get("current") != release or not node.runs(release)]
