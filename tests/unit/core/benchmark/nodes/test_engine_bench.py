# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-bench gets the head's devices, split and batches in its own syntax, and its results are read with care."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark.nodes import engine_bench
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError

HEAD = [
    "/opt/llama.cpp/releases/0c1e57098-cuda70-1a2b3c4d/bin/llama-server", "--model", "/srv/models/m.gguf", "--rpc",
    "10.100.0.32:50052,10.100.0.33:50052", "--device", "RPC0,RPC1", "--tensor-split", "41,40", "-c", "4096", "-np", "1",
    "--batch-size", "512", "-ub", "512", "--threads", "40", "--flash-attn", "on", "--cache-type-k", "q8_0",
    "--n-gpu-layers", "99", "--host", "10.0.0.31", "--port", "8000", "--api-key-file", "/etc/herd/head/api-keys",
]  # fmt: skip
SETTINGS: dict[str, Any] = {"prompt_tokens": 512, "output_tokens": 128, "depths": [0, 4096], "repetitions": 3}


def test_command_has_the_heads_devices_in_the_syntax_of_llama_bench() -> None:
    assert engine_bench.command(HEAD, SETTINGS) == [
        "/opt/llama.cpp/releases/0c1e57098-cuda70-1a2b3c4d/bin/llama-bench",
        "-m", "/srv/models/m.gguf", "--rpc", "10.100.0.32:50052,10.100.0.33:50052", "-ngl", "99", "-b", "512",
        "-ub", "512", "-t", "40", "-ctk", "q8_0", "-dev", "RPC0/RPC1", "-ts", "41/40", "-fa", "1",
        "-p", "512", "-n", "128", "-d", "0,4096", "-r", "3", "-o", "json",
    ]  # fmt: skip


def test_flag_that_the_head_does_not_set_is_left_to_llama_bench() -> None:
    made = engine_bench.command([HEAD[0], "-m", "m.gguf", "--flash-attn", "auto"], SETTINGS)
    assert made[1:4] == ["-m", "m.gguf", "-p"]


@pytest.mark.parametrize("head", [["sleep", "5"], [], ["/usr/bin/python3", "-I"], ["llama-server", "-m", "m.gguf"]])
def test_command_line_of_another_program_is_refused(head: list[str]) -> None:
    with pytest.raises(HerdError, match="expected the command line of a running head"):
        engine_bench.command(head, SETTINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_tokens", 0),
        ("prompt_tokens", True),
        ("prompt_tokens", "512"),
        ("output_tokens", 1e30),
        ("output_tokens", 1.5),
        ("repetitions", 101),
        ("repetitions", None),
        ("depths", []),
        ("depths", "0,1"),
        ("depths", [-1]),
        ("depths", [0] * 17),
        ("depths", 5),
    ],
)
def test_setting_of_the_wrong_type_or_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(HerdError, match=f"benchmark_engine_{name}"):
        engine_bench.command(HEAD, {**SETTINGS, name: value})


def result(prompt: int, output: int, depth: int, rate: Any, samples: Any = (1.0, 2.0, 3.0)) -> dict[str, Any]:
    """Return an entry as llama-bench prints it, with the keys that are read and one that is not."""
    return {
        "n_prompt": prompt,
        "n_gen": output,
        "n_depth": depth,
        "avg_ts": rate,
        "stddev_ts": 0.5,
        "samples_ts": list(samples) if isinstance(samples, tuple) else samples,
        "backends": "RPC",
    }


def test_results_are_read_in_their_order_with_the_names_of_llama_bench() -> None:
    text = json.dumps([result(512, 0, 0, 812.5), result(0, 128, 4096, 12.25)])
    found = engine_bench.rows(f"register_backend: noise\n{text}\n")
    jsonschema.validate(found, {"type": "array", "items": dict(engine_bench.SCHEMA)})
    assert found == [
        {
            "test": "pp512",
            "prompt_tokens": 512,
            "output_tokens": 0,
            "depth": 0,
            "tokens_per_second": 812.5,
            "deviation": 0.5,
            "repetitions": 3,
        },
        {
            "test": "tg128 @ d4096",
            "prompt_tokens": 0,
            "output_tokens": 128,
            "depth": 4096,
            "tokens_per_second": 12.25,
            "deviation": 0.5,
            "repetitions": 3,
        },
    ]


@pytest.mark.parametrize(
    "output",
    [
        "",
        "error: failed to load model",
        "[",
        "[]",
        "[1, null]",
        "[" * 100_000,
        json.dumps([result(512, 0, 0, "fast")]),
        json.dumps([result(512, 0, 0, -1)]),
        json.dumps([result(1 << 40, 0, 0, 1.0)]),
        json.dumps([result(512, 0, 0, 1.0, samples=7)]),
    ],
)
def test_output_without_results_is_an_error_that_shows_its_end(output: str) -> None:
    with pytest.raises(HerdError, match="expected results of llama-bench"):
        engine_bench.rows(output)
