# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve waiting requests fairly: deficit round robin over one queue for each key.

In each round, a key may start requests up to a quantum of tokens. So a key with many or large requests delays another
key's request by at most one round.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

#: Tokens that each key may start in a round.
QUANTUM = 2048
#: Largest cost that counts, so that an absurd estimate does not hold a key up for many rounds.
LARGEST_COST = 32 * QUANTUM

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Waiting items of several keys."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[tuple[int, Item]]] = OrderedDict()
        self._deficits: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def push(self, key: str, cost: int, item: Item) -> None:
        """Append an item to its key's queue.

        :param cost: tokens that it will take.
        """
        self._queues.setdefault(key, deque()).append((min(max(cost, 1), LARGEST_COST), item))

    def remove(self, key: str, item: Item) -> None:
        """Remove an item, if it still waits."""
        queue = self._queues.get(key, deque())
        for entry in queue:
            if entry[1] is item:
                queue.remove(entry)
                break
        self._forget_if_empty(key)

    def pop(self) -> Item:
        """Remove the next item and return it.

        :raises IndexError: if nothing waits.
        """
        if not self._queues:
            raise IndexError("nothing waits")
        while True:
            key, queue = next(iter(self._queues.items()))
            cost, item = queue[0]
            if self._deficits.get(key, 0) >= cost:
                queue.popleft()
                self._deficits[key] -= cost
                self._forget_if_empty(key)
                return item
            self._deficits[key] = self._deficits.get(key, 0) + QUANTUM
            self._queues.move_to_end(key)

    def _forget_if_empty(self, key: str) -> None:
        if not self._queues.get(key, True):
            del self._queues[key]
            self._deficits.pop(key, None)
