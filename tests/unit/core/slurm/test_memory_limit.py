# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that a tier's job needs on each node."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.placement import host_memory
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import memory_limit
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.memory_limit import MemoryNeed

GIB = 1 << 30


def device(host: str, endpoint: str, **more: int) -> dict[str, Any]:
    sizes = {"cache": 4 * GIB, "state": 0, "weights": 15 * GIB, "total": 20 * GIB}
    return {"host": host, "endpoint": endpoint, "modelled": True, **sizes, **more}


PLAN: dict[str, Any] = {
    "head": {"least": 3 * GIB, "comfortable": 46 * GIB, "mapped": 44 * GIB},
    "devices": [device("two", "10.0.0.2:50052"), device("three", "10.0.0.3:50052"), device("one", "")],
}


def test_head_needs_file_and_context_and_worker_needs_its_cache() -> None:
    found = memory_limit.of_distributed(PLAN, 44 * GIB, GIB)
    assert set(found) == {"one", "two", "three"}
    assert found["one"] == MemoryNeed(3 * GIB, (46 + 12) * GIB)
    worker = host_memory.worker_need(20 * GIB, GIB, True).least
    assert found["two"] == MemoryNeed(worker, worker + GIB + 15 * GIB)


def test_head_without_a_device_is_counted_apart_from_its_worker() -> None:
    found = memory_limit.of_distributed({**PLAN, "devices": PLAN["devices"][:2]}, 44 * GIB, GIB)
    assert set(found) == {"", "two", "three"}


def test_file_that_is_read_counts_as_cached() -> None:
    assert memory_limit.of_engine(1, 3 * GIB, 0, 44 * GIB, 0).sum == 47 * GIB
    assert memory_limit.of_engine(1, 47 * GIB, 44 * GIB, 44 * GIB, 0).sum == 47 * GIB


def test_need_of_a_router_is_that_of_its_largest_models() -> None:
    models = [
        {"least": n * GIB, "comfortable": n * 2 * GIB, "mapped": n * GIB, "file_size": n * GIB, "context": GIB}
        for n in (1, 5, 3)
    ]
    found = memory_limit.of_router(models, 2)
    assert (found.least - host_memory.PROCESS, found.sum - host_memory.PROCESS) == (8 * GIB, 18 * GIB)


@pytest.mark.parametrize(
    ("text", "mib"),
    [("", 0), (None, 0), ("0", 0), ("200G", 204800), ("65536", 65536), (65536, 65536), ("64g", 65536), ("1T", 1 << 20)],
)
def test_memory_limit_is_converted_to_mib(text: Any, mib: int) -> None:
    assert memory_limit.given_mib(text) == mib


@pytest.mark.parametrize("text", ["all", "1.5G", "64 G", "-1", "64GB"])
def test_invalid_memory_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="a memory limit such as 200G"):
        memory_limit.given_mib(text)


@pytest.mark.parametrize(
    ("given", "wanted", "node", "words"),
    [
        (65536, 74752, 338 * 1024, "at least 73G"),
        (74752, 74752, 338 * 1024, ""),
        (0, 74752, 338 * 1024, ""),
        (0, 74752, 57 * 1024, "can give it 57G"),
        (0, 74752, 0, ""),
        (1000, 2048, 0, "of 1000M"),
    ],
)
def test_small_limit_gets_a_warning(given: int, wanted: int, node: int, words: str) -> None:
    assert [words in text for text in memory_limit.warnings(given, wanted, node)] == ([True] if words else [])
