# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers by host name, translated to the engine's split and predicted with the engine's arithmetic."""

from __future__ import annotations

import random

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.device_order import (
    LayerHost,
    check_split,
    devices_in_engine_order,
    engine_split,
    even_split,
    predict_layers,
)
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

NODE2 = LayerHost("vllm-node2", 1, "10.100.0.32:50052")
NODE3 = LayerHost("vllm-node3", 1, "10.100.0.33:50052")
NODE1 = LayerHost("vllm-node1", 1)
SPLIT = {"vllm-node1": 26, "vllm-node2": 27, "vllm-node3": 27}


def test_workers_come_first_and_the_local_gpu_last() -> None:
    devices = devices_in_engine_order([NODE2, NODE3], NODE1, SPLIT)
    assert [(d.name, d.host, d.layers) for d in devices] == [
        ("RPC0", "vllm-node2", 27),
        ("RPC1", "vllm-node3", 27),
        ("CUDA0", "vllm-node1", 26),
    ]
    assert engine_split(devices) == [27, 27, 27]


def test_each_gpu_of_worker_is_a_device() -> None:
    devices = devices_in_engine_order([LayerHost("a", 2, "a:1"), LayerHost("b", 1, "b:1")], None, {"a": 5, "b": 3})
    assert [(d.name, d.endpoint, d.layers) for d in devices] == [
        ("RPC0", "a:1", 3),
        ("RPC1", "a:1", 2),
        ("RPC2", "b:1", 3),
    ]


@pytest.mark.parametrize(
    ("split", "expected", "found"),
    [
        ({**SPLIT, "vllm-node9": 1}, "hosts that hold layers", "vllm-node9"),
        ({"vllm-node1": 40, "vllm-node2": 40}, "for each host", "vllm-node3"),
        ({**SPLIT, "vllm-node3": 0}, "at least 1 layers for vllm-node3", "0"),
        ({**SPLIT, "vllm-node3": -1}, "at least 1 layers for vllm-node3", "-1"),
        ({**SPLIT, "vllm-node3": 28}, "80 layers", "81 (27 + 28 + 26)"),
        ({**SPLIT, "vllm-node3": 26}, "80 layers", "79 (27 + 26 + 26)"),
    ],
)
def test_invalid_split_is_rejected(split: dict[str, int], expected: str, found: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_split(split, [NODE2, NODE3, NODE1], 80)
    assert expected in caught.value.expected
    assert found in caught.value.found


def test_an_even_split_uses_every_layer() -> None:
    assert even_split([NODE2, NODE3, NODE1], 80) == {"vllm-node2": 27, "vllm-node3": 27, "vllm-node1": 26}


def test_group_without_devices_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="at least one device"):
        even_split([], 80)


# Seen on the engine: with 9,1 over 9 layers the second device holds only the output, with 19,1 nothing.
@pytest.mark.parametrize(
    ("split", "layers", "placed"),
    [
        ([9, 1], 9, [0] * 9 + [1]),
        ([19, 1], 9, [0] * 10),
        ([3, 6], 8, [0] * 3 + [1] * 6),
        ([27, 27, 27], 80, [0] * 27 + [1] * 27 + [2] * 27),
    ],
)
def test_prediction_equals_layers_of_engine(split: list[float], layers: int, placed: list[int]) -> None:
    assert predict_layers(split, layers) == placed


def test_every_translated_split_gives_each_device_exactly_its_layers() -> None:
    chance = random.Random(20261121)
    for _attempt in range(3000):
        count = chance.randint(1, 9)
        shares = [chance.randint(1, 40) for _index in range(count)]
        workers = [LayerHost(f"n{i}", 1, f"n{i}:1") for i in range(count)]
        devices = devices_in_engine_order(workers, None, {f"n{i}": share for i, share in enumerate(shares)})
        placed = predict_layers(engine_split(devices), sum(shares))
        assert [placed[:-1].count(i) for i in range(count)] == shares
        assert placed[-1] == count - 1
