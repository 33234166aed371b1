# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order in which waiting requests of several keys are served."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway.fair_queue import QUANTUM, FairQueue


def test_keys_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for index in range(20):
        queue.push("busy", QUANTUM, f"busy {index}")
    queue.push("other", QUANTUM, "other")
    assert "other" in [queue.pop() for _each in range(3)]
    assert [queue.pop() for _each in range(18)][-1] == "busy 19"
    assert len(queue) == 0


def test_large_requests_wait_for_small_ones_of_other_keys() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("large", 8 * QUANTUM, "large")
    for index in range(4):
        queue.push("small", QUANTUM // 2, f"small {index}")
    assert [queue.pop() for _each in range(5)] == [*(f"small {index}" for index in range(4)), "large"]


def test_a_key_is_served_in_its_own_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for index in range(10):
        queue.push("one", index * 1000, index)
    assert [queue.pop() for _each in range(10)] == list(range(10))


def test_removed_requests_are_not_served() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("a", 1, "first")
    queue.push("a", 1, "second")
    queue.remove("a", "first")
    queue.remove("a", "first")
    queue.remove("b", "none")
    assert queue.pop() == "second"
    with pytest.raises(IndexError):
        queue.pop()
