# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import cases
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError

SETTINGS = {"prompts": ["short", "sized"], "prompt_tokens": [512], "depths": [0, 4096], "clients": [1, 8]}


def settings(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, "output_tokens": 128, **changes}


def test_sweep_has_every_combination() -> None:
    assert [one.label for one in cases.cases(settings())] == [
        "short c1",
        "short c8",
        "short d4096 c1",
        "short d4096 c8",
        "sized-512 c1",
        "sized-512 c8",
        "sized-512 d4096 c1",
        "sized-512 d4096 c8",
    ]


def test_one_number_stands_for_a_list() -> None:
    assert [one.label for one in cases.cases(settings(prompts=["code"], depths=0, clients=3))] == ["code c3"]


def test_repetitions_are_interleaved_after_a_warm_up() -> None:
    planned = cases.cases(settings(prompts=["short"], depths=0))
    order = [(run.repetition, run.case.clients) for run in cases.runs(planned, 2)]
    assert order == [(0, 1), (0, 8), (1, 1), (1, 8), (2, 1), (2, 8)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "benchmark_prompts"),
        ({"prompts": "short"}, "benchmark_prompts"),
        ({"prompts": ["poem"]}, "benchmark_prompts"),
        ({"prompt_tokens": [0]}, "benchmark_prompt_tokens"),
        ({"depths": [-1]}, "benchmark_depths"),
        ({"clients": [1, True]}, "benchmark_clients"),
        ({"clients": [1.5]}, "benchmark_clients"),
        ({"clients": [2, 2]}, "different numbers in benchmark_clients"),
        ({"clients": []}, "benchmark_clients"),
        ({"clients": [5000]}, "benchmark_clients"),
        ({"output_tokens": 1}, "benchmark_output_tokens"),
        ({"output_tokens": None}, "benchmark_output_tokens"),
        ({"clients": list(range(1, 300))}, "at most 500 cases, found 1196"),
    ],
)
def test_wrong_sweeps_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        cases.cases(settings(**changes))


@pytest.mark.parametrize("repetitions", [0, 101, 1.5, True, "3"])
def test_wrong_repetitions_are_refused(repetitions: Any) -> None:
    with pytest.raises(InvalidInputError, match="benchmark_repetitions"):
        cases.runs([], repetitions)
