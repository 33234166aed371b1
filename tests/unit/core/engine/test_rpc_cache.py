# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a worker's cache go, and why."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import rpc_cache
from ansible_collections.herd.inference.plugins.module_utils.core.engine.rpc_cache import (
    DAY_S,
    MIB,
    CacheFile,
    RpcCacheLimits,
)

NOW = 1_790_000_000.0
LOAD = NOW - 3600
PLENTY = 100 << 30


def file(name: str, size_mib: float = 32, written: float = LOAD, read: float = 0.0) -> CacheFile:
    return CacheFile(name, int(size_mib * MIB), written, read)


def why(removals: list[rpc_cache.Removal]) -> dict[str, str]:
    return {removal.file.name: removal.why for removal in removals}


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("0123456789abcdef", True),
        (".herd.json", False),
        ("0123456789ABCDEF", False),
        ("0123456789abcde", False),
        ("0123456789abcdef.tmp", False),
    ],
)
def test_only_cache_files_of_engine_are_touched(name: str, is_ours: bool) -> None:
    assert rpc_cache.is_ours(name) is is_ours


@pytest.mark.parametrize(
    ("files", "free", "proved", "ended", "expected"),
    [
        # All is proved, nothing is too much.
        ([file("a"), file("b")], PLENTY, NOW, None, {}),
        # The engine keeps nothing of 10 MiB or less, proved or not.
        ([file("a", 0), file("b", 10), file("c", 10.1)], PLENTY, NOW, None, dict.fromkeys("ab", "it is truncated")),
        # The worker ended while it may have been writing c.
        (
            [file("a", written=NOW - 90), file("b", written=NOW - 6), file("c", written=NOW - 1)],
            PLENTY,
            NOW - 100,
            NOW,
            {"c": "it may be truncated"},
        ),
        # A power cut: nobody saw the end. What was written in the minute before the last write may not have arrived.
        (
            [file("a", written=LOAD - 61), file("b", written=LOAD - 59), file("c", written=LOAD)],
            PLENTY,
            LOAD - 100,
            None,
            dict.fromkeys("bc", "it may be truncated"),
        ),
        # The same, of an installation that has never proved anything.
        (
            [file("a", written=LOAD - 61), file("c", written=LOAD)],
            PLENTY,
            None,
            None,
            {"c": "it may be truncated"},
        ),
        # A full disk: of what is new nothing is believed, what was proved before is.
        (
            [file("a", written=LOAD - 7000), file("b", written=LOAD - 600), file("c", written=LOAD - 500)],
            MIB,
            LOAD - 6000,
            NOW,
            dict.fromkeys("bc", "the disk was full"),
        ),
        # The clock was set back: what seems to be of the future is new.
        ([file("a", written=NOW + 500)], PLENTY, NOW, NOW + 1, {"a": "it may be truncated"}),
    ],
)
def test_truncated_files_are_removed(
    files: list[CacheFile], free: int, proved: float | None, ended: float | None, expected: dict[str, str]
) -> None:
    assert why(rpc_cache.plan(files, RpcCacheLimits(), free, proved, ended)) == expected


@pytest.mark.parametrize(
    ("full", "expected"),
    # The agent saw the disk full between the two loads, during the second one, or long ago.
    [(None, []), (LOAD - 300, ["b"]), (LOAD - 16, ["b"]), (LOAD - 14, ["b", "c"]), (LOAD - 9000, [])],
)
def test_files_written_to_full_disk_are_removed(full: float | None, expected: list[str]) -> None:
    files = [file("a", written=LOAD - 7000), file("b", written=LOAD - 299), file("c", written=LOAD)]
    found = rpc_cache.plan(files, RpcCacheLimits(), PLENTY, LOAD - 6000, NOW, full)
    assert why(found) == dict.fromkeys(expected, "the disk was full")


OLD = file("a", written=LOAD - 40 * DAY_S)
# Written long ago, and read by the last load.
USED = file("b", written=LOAD - 40 * DAY_S, read=LOAD)
YOUNG = file("c", written=LOAD - 20 * DAY_S)
THREE = [OLD, USED, YOUNG]


@pytest.mark.parametrize(
    ("limits", "free", "expected"),
    [
        (RpcCacheLimits(), PLENTY, {}),
        (RpcCacheLimits(days=30), PLENTY, {"a": "no load used it for 30 days"}),
        (RpcCacheLimits(days=10), PLENTY, dict.fromkeys("ac", "no load used it for 10 days")),
        # The one that was not needed for the longest time goes first.
        (RpcCacheLimits(most=96 * MIB), PLENTY, {}),
        (RpcCacheLimits(most=95 * MIB), PLENTY, {"a": "the cache is larger than 95 MiB"}),
        (RpcCacheLimits(most=32 * MIB), PLENTY, dict.fromkeys("ac", "the cache is larger than 32 MiB")),
        (RpcCacheLimits(most=MIB), PLENTY, dict.fromkeys("abc", "the cache is larger than 1 MiB")),
        # Room that others took.
        (RpcCacheLimits(keep_free=100 * MIB), 100 * MIB, {}),
        (RpcCacheLimits(keep_free=100 * MIB), 99 * MIB, {"a": "less than 100 MiB are free"}),
        (RpcCacheLimits(keep_free=100 * MIB), 40 * MIB, dict.fromkeys("ac", "less than 100 MiB are free")),
        # What goes for its age makes room too.
        (RpcCacheLimits(days=30, keep_free=100 * MIB), 70 * MIB, {"a": "no load used it for 30 days"}),
    ],
)
def test_old_and_excess_files_are_removed(limits: RpcCacheLimits, free: int, expected: dict[str, str]) -> None:
    assert why(rpc_cache.plan(THREE, limits, free, NOW)) == expected


@pytest.mark.parametrize(("total_mib", "keep_mib"), [(1 << 20, 4096), (40960, 4096), (2000, 200), (0, 0)])
def test_small_disk_keeps_a_tenth_free(total_mib: int, keep_mib: int) -> None:
    limits = RpcCacheLimits(most=7, keep_free=4096 * MIB, days=3)
    assert limits.on(total_mib * MIB) == RpcCacheLimits(7, keep_mib * MIB, 3)


def test_files_of_long_running_worker_are_kept() -> None:
    year = [file("a", written=NOW - 365 * DAY_S), file("b", written=NOW - 365 * DAY_S + 9)]
    assert rpc_cache.plan(year, RpcCacheLimits(days=1), PLENTY, NOW) == []


def test_second_prune_removes_nothing() -> None:
    limits = RpcCacheLimits(most=50 * MIB, days=30)
    going = {removal.file.name for removal in rpc_cache.plan(THREE, limits, PLENTY, NOW)}
    left = [found for found in THREE if found.name not in going]
    assert left == [USED]
    assert rpc_cache.plan(left, limits, PLENTY, NOW) == []


def test_summary_is_one_line() -> None:
    assert rpc_cache.summary([]) == ""
    removals = rpc_cache.plan(THREE, RpcCacheLimits(most=40 * MIB, days=30), PLENTY, NOW)
    assert rpc_cache.summary(removals) == (
        "2 files of 64 MiB: no load used it for 30 days (1), the cache is larger than 40 MiB (1)"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    # Vectors of the hash's authors.
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_hash_equals_that_of_engine(data: bytes, expected: int) -> None:
    assert rpc_cache.fnv(data) == expected
    assert rpc_cache.fnv(data[1:], rpc_cache.fnv(data[:1])) == expected
