# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of real heads with two real workers: who holds what."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import server_log
from ansible_collections.herd.inference.plugins.module_utils.core.errors import MismatchError

LOGS = Path(__file__).parents[3] / "fixtures" / "head_log"


def read(name: str) -> server_log.ServerLog:
    return server_log.parse((LOGS / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "compute"),
    [("0c1e57098-two-workers.log", [12.04, 12.04]), ("b7836-two-workers.log", [8.01, 63.0])],
)
def test_log_gives_layers_and_memory_of_each_device(name: str, compute: list[float]) -> None:
    log = read(name)
    assert [(d.device, d.endpoint) for d in log.devices] == [("RPC0", "127.0.0.1:51001"), ("RPC1", "127.0.0.1:51002")]
    assert [d.layers for d in log.devices] == [3, 5]
    assert [d.model_mib for d in log.devices] == [4.51, 23.14]
    assert [d.kv_mib for d in log.devices] == [1.5, 2.5]
    assert [d.compute_mib for d in log.devices] == compute
    assert (log.layers, log.offloaded, log.slots, log.ready) == (8, 9, 9, True)
    assert log.complete()


def test_log_at_wrong_level_is_incomplete() -> None:
    log = read("0c1e57098-too-quiet.log")
    assert log.ready
    assert log.devices == []
    assert not log.complete()


def test_devices_of_one_worker_are_distinguished() -> None:
    log = server_log.parse(
        "using device RPC0 (10.0.0.1:5) (unknown id) - 100 MiB free\n"
        "using device RPC1 (10.0.0.2:5) (unknown id) - 100 MiB free\n"
        "using device RPC2 (10.0.0.2:5) (unknown id) - 100 MiB free\n"
        "using device CUDA0 (Tesla V100S-PCIE-32GB) (0000:3b:00.0) - 32000 MiB free\n"
        "load_tensors: RPC0[10.0.0.2:5] model buffer size =     2.00 MiB\n"
        "load_tensors: RPC1[10.0.0.2:5] model buffer size =     3.00 MiB\n"
        "load_tensors:        CUDA0 model buffer size =     4.00 MiB\n"
    )
    assert [(d.device, d.model_mib) for d in log.devices] == [
        ("RPC0", 0.0),
        ("RPC1", 2.0),
        ("RPC2", 3.0),
        ("CUDA0", 4.0),
    ]
    assert not log.complete()


def test_layers_of_unequal_cache_are_not_guessed() -> None:
    log = server_log.parse(
        "using device RPC0 (a:1) (unknown id) - 1 MiB free\n"
        "using device RPC1 (b:1) (unknown id) - 1 MiB free\n"
        "llama_kv_cache: RPC0[a:1] KV buffer size =     1.00 MiB\n"
        "llama_kv_cache: RPC1[b:1] KV buffer size =     1.00 MiB\n"
        "llama_kv_cache: size =    2.00 MiB (  1024 cells,   3 layers,  1/1 seqs), K (f16):    1.00 MiB\n"
    )
    assert [d.layers for d in log.devices] == [None, None]


def test_placement_of_the_log_is_compared_with_the_plan() -> None:
    log = read("0c1e57098-two-workers.log")
    planned = {share.device: share.layers or 0 for share in log.devices}
    server_log.require_planned(log, planned)
    server_log.require_planned(log, {})
    first, *others = planned
    moved = {**planned, first: planned[first] - 1, others[0]: planned[others[0]] + 1}
    with pytest.raises(MismatchError, match=f"{first} {planned[first] - 1}.*found {first} {planned[first]}"):
        server_log.require_planned(log, moved)
    with pytest.raises(MismatchError, match=r"10 of 10 layers offloaded, with the output, .*found 9 of 9"):
        server_log.require_planned(log, {**planned, first: planned[first] + 1})
    log.offloaded = 5
    with pytest.raises(MismatchError, match="found 5 of 9"):
        server_log.require_planned(log, planned)


def test_layers_that_the_log_cannot_count_are_not_compared() -> None:
    log = read("0c1e57098-two-workers.log")
    planned = {share.device: share.layers or 0 for share in log.devices}
    log.devices[0].layers = None
    first, *others = planned
    server_log.require_planned(log, {**planned, first: planned[first] - 1, others[0]: planned[others[0]] + 1})
