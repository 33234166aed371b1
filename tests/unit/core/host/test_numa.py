# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processors near a GPU."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host import numa

# Two Xeon Gold 6248 without hyper-threading.
NODES = {0: range(20), 1: range(20, 40)}
ALL = range(40)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,8\n", (0, 1, 2, 3, 8)), ("0", (0,)), ("", ()), ("\n", ()), ("20-22", (20, 21, 22)), ("1,1,0", (0, 1))],
)
def test_lists_of_the_kernel_are_read(text: str, numbers: tuple[int, ...]) -> None:
    assert numa.parse_list(text) == numbers


@pytest.mark.parametrize(("text", "node"), [("1\n", 1), ("0", 0), ("-1\n", None), ("", None), ("x", None)])
def test_node_of_a_device_is_unknown_if_the_kernel_writes_none(text: str, node: int | None) -> None:
    assert numa.device_node(text) == node


@pytest.mark.parametrize(
    ("gpu", "fabric", "processors", "word"),
    [
        (1, 1, tuple(range(20, 40)), "the GPU and the fabric's adapter"),
        (1, 0, tuple(range(20, 40)), "the fabric's adapter is at node 0"),
        (0, None, tuple(range(20)), "near the GPU"),
        (None, 1, tuple(range(20, 40)), "near the fabric's adapter"),
        (-1, -1, (), "does not say"),
        (None, None, (), "does not say"),
    ],
)
def test_the_gpu_precedes_the_fabric(
    gpu: int | None, fabric: int | None, processors: tuple[int, ...], word: str
) -> None:
    found = numa.near(NODES, ALL, gpu, fabric)
    assert found.processors == processors
    assert word in found.reason


def test_only_processors_of_the_job_are_chosen() -> None:
    assert numa.near(NODES, range(10, 30), 1, 1).processors == tuple(range(20, 30))


def test_a_job_without_processors_near_its_gpu_is_not_bound() -> None:
    found = numa.near(NODES, range(20), 1, 1)
    assert found.processors == ()
    assert "none of its processors" in found.reason


def test_one_node_needs_no_binding() -> None:
    assert numa.near({0: range(8)}, range(8), 0, 0).processors == ()


def test_too_few_processors_near_the_gpu_bind_only_memory() -> None:
    found = numa.near(NODES, [*range(18), 20, 21], 1, 1, threads=20)
    assert found.processors == ()
    assert found.memory == 1
    assert "only 2 of its processors are at NUMA node 1" in found.reason
    assert numa.near(NODES, [*range(18), 20, 21], 1, 1, threads=2).processors == (20, 21)


@pytest.mark.parametrize(
    ("environment", "index"),
    [
        # The step's own word; the job's is that of the node of its script.
        ({"SLURM_STEP_GPUS": "3", "SLURM_JOB_GPUS": "0"}, 3),
        ({"SLURM_JOB_GPUS": "1,2"}, 1),
        ({"SLURM_STEP_GPUS": "2-3"}, 2),
        ({"SLURM_STEP_GPUS": ""}, 0),
        ({}, 0),
    ],
)
def test_the_first_gpu_of_a_step(environment: dict[str, str], index: int) -> None:
    assert numa.first_gpu(environment) == index
