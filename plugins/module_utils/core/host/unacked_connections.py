# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect connections whose peer acknowledges nothing any more, since its host or the network has failed.

The kernel retransmits for a quarter of an hour before it closes a connection. An end that only waits for an answer
sends nothing, and waits for ever.
"""

from __future__ import annotations

from collections.abc import Collection

#: Seconds within which a slow or failed-over network acknowledges.
PATIENCE_S = 30.0


class UnackedConnections:
    """Track the peers of connections over time."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self._since: dict[str, float] = {}

    def step(self, now: float, places: Collection[str]) -> str:
        """Return a sentence about a peer that has acknowledged nothing for too long, or empty.

        :param places: peers with unacknowledged data at this moment.
        """
        self._since = {place: self._since.get(place, now) for place in places}
        for place, since in sorted(self._since.items()):
            if now - since >= self.patience_s:
                silence = f"{place} has acknowledged nothing for {now - since:.0f} seconds"
                return f"{silence}: its host or the fabric is unavailable"
        return ""
