# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of release on all nodes, which may be killed at any moment and is then asked for again.

Every node notes the change before the head stops, and forgets it when the head has answered. While a note is there,
the links C(current) and C(previous) say nothing about where to go back to: some have moved, some have not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .install import BUILD_ID

#: The services that run from a release, by the group of their hosts.
SERVICES = {
    "head_server": "llama-head.service",
    "rpc_worker": "llama-rpc.service",
    "fast_router": "llama-router.service",
}


@dataclass(frozen=True)
class NodeRelease:
    """What one node says, and the services that belong on it."""

    look: Mapping[str, Any]
    services: Sequence[str] = ()

    @property
    def note(self) -> dict[str, str]:
        return note(self.look.get("changing"))

    def runs(self, release: str) -> bool:
        """Whether its services run from this release, and from no other."""
        running = self.look.get("running") or []
        return all({p["release"] for p in running if p["unit"] == unit} == {release} for unit in self.services)


def note(said: Any) -> dict[str, str]:
    """What a node has noted; empty if it makes no sense.

    C(from), C(to), where a rollback goes (C(back)), and what was before C(from) on this node (C(previous)).
    """
    if not isinstance(said, Mapping):
        return {}
    found = {name: str(said.get(name) or "") for name in ("from", "to", "back", "previous")}
    is_good = found["to"] and all(not release or BUILD_ID.fullmatch(release) for release in found.values())
    return found if is_good else {}


def begun(former: str, wanted: str, is_rollback: bool, previous: str = "") -> dict[str, str]:
    """What a node notes. A rollback that was killed goes on; one after a killed upgrade goes to where that began."""
    return {"from": former, "to": wanted, "back": wanted if is_rollback else former, "previous": previous}


def plan(nodes: Sequence[NodeRelease], wanted: str = "") -> dict[str, Any]:
    """Say where a change goes, where it comes from, and whether there is anything to do.

    :param nodes: the head first.
    :param wanted: id of a release; empty for the one that a rollback goes to.
    """
    notes = [node.note for node in nodes if node.note]
    noted = notes[0] if notes else note({})
    currents = [str(node.look.get("current") or "") for node in nodes]
    to = wanted or noted.get("back") or str(nodes[0].look.get("previous") or "")
    known = [*(noted.get(name, "") for name in ("back", "from", "to")), *currents]
    return {
        "to": to,
        "from": next((release for release in known if release not in ("", to)), ""),
        "needed": bool(notes) or {*currents} != {to} or not all(node.runs(to) for node in nodes),
    }


def behind(nodes: Mapping[str, NodeRelease], release: str) -> list[str]:
    """Name the nodes that do not run a release, or have not said so."""
    return [name for name, node in nodes.items() if node.look.get("current") != release or not node.runs(release)]
