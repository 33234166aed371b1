# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections whose other end acknowledges nothing any more: its host is away, or the network between.

Neither end would notice by itself. The kernel sends again for a quarter of an hour before it gives up, and an end that
only waits for an answer sends nothing, so it waits for ever; but then the other end has sent, or will.
"""

from __future__ import annotations

from collections.abc import Collection

#: A network that is slow, or switched over, answers within this. A node that is gone is missed before.
PATIENCE_S = 30.0


class UnackedConnections:
    """Follows connections to several places."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._since: dict[str, float] = {}

    def step(self, now: float, places: Collection[str]) -> str:
        """Say which place has answered nothing for too long; nothing if there is none.

        :param places: those that have not acknowledged what was sent to them, at this moment.
        """
        self._since = {place: self._since.get(place, now) for place in places}
        for place, since in sorted(self._since.items()):
            if now - since >= self.patience_s:
                return f"{place} has acknowledged nothing for {now - since:.0f} seconds: its host or the fabric is away"
        return ""
