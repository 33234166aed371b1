# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report reads vLLM's lines of several releases, and says where the plan was wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue, memory_plan
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.memory_plan import (
    GPU_KINDS,
    EngineMemorySettings,
    MemoryPlan,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import engine_report
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.engine_report import EngineReport

GIB = 1 << 30
#: vLLM 0.11 to 0.19: a line for each value, from several workers and nodes.
OLD = [
    "0: (Worker_TP0 pid=34322) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.66 GiB memory and "
    "31.657031 seconds",
    "0: (Worker_TP1 pid=34323) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.7 GiB memory and "
    "31.9 seconds",
    "1: (Worker_TP2 pid=177) INFO 08-18 14:15:02 [gpu_worker.py:475] Available KV cache memory: 5.35 GiB",
    "0: (Worker_TP0 pid=28145) INFO 08-18 14:15:02 [gpu_worker.py:475] Available KV cache memory: 5.41 GiB",
    "0: (EngineCore pid=28059) INFO 08-18 14:15:02 [kv_cache_utils.py:1733] GPU KV cache size: 215,401 tokens",
    "0: (EngineCore pid=28059) INFO 08-18 14:15:02 [kv_cache_utils.py:1734] Maximum concurrency for 8,192 tokens per "
    "request: 26.29x",
    "0: (Worker_TP0 pid=28145) INFO 08-18 14:15:12 [gpu_model_runner.py:3480] Graph capturing finished in 5 secs, took "
    "0.72 GiB",
]
#: vLLM 0.33 writes one line; that of a CPU was seen here.
NEW = [
    "(Worker pid=7) INFO 11-29 17:00:00 Available KV cache memory: 2.61 GiB",
    "(Worker pid=7) INFO 11-29 17:00:00 Estimated CUDA graph memory: 0.31 GiB total",
    "(EngineCore pid=6) INFO 11-29 17:00:01 GPU KV cache size: 49,568 tokens, Maximum concurrency for 32,768 tokens "
    "per request: 1.51x",
]


def plan() -> MemoryPlan:
    model = catalogue.MODELS["gpt-oss-120b"]
    settings = EngineMemorySettings(max_model_len=32768)
    return memory_plan.plan(model.shape, model.weights, GPU_KINDS["h100-80"], 1, settings)


def test_lines_of_several_workers() -> None:
    report = engine_report.read(OLD)
    assert report == EngineReport(
        weights=int(12.7 * GIB),
        cache=int(5.35 * GIB),
        tokens=215401,
        context=8192,
        concurrency=26.29,
        graphs=int(0.72 * GIB),
    )


def test_one_line_of_a_newer_release() -> None:
    report = engine_report.read(NEW)
    assert (report.tokens, report.context, report.concurrency) == (49568, 32768, 1.51)
    assert (report.cache, report.graphs) == (int(2.61 * GIB), int(0.31 * GIB))


def test_cpu_and_refused_context() -> None:
    report = engine_report.read(
        [
            "(EngineCore) CPU KV cache size: 4,096 tokens, Maximum concurrency for 1,024 tokens per request: 4.00x",
            "Based on the available memory, the estimated maximum model length is 46,000. Try",
            "ValueError: No available memory for the cache blocks. Available KV cache memory: -2.14 GiB",
        ]
    )
    assert (report.tokens, report.largest_context, report.cache) == (4096, 46000, int(-2.14 * GIB))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "INFO Application startup complete.",
        "Available KV cache memory: GiB",
        "Available KV cache memory: NaN GiB",
        "GPU KV cache size: ,,, tokens",
        "x" * 1_000_000,
        "Available KV cache memory: " + "9" * 100_000,
        "Available KV cache memory: " + "9" * 3000 + " GiB",
        "Maximum concurrency for " + "9" * 3000 + " tokens per request: 1.0x",
        "x" * 5000 + "Available KV cache memory: 1 GiB",
    ],
)
def test_other_and_hostile_lines_change_nothing(line: str) -> None:
    report = EngineReport()
    assert report.feed(line) is False
    assert report == EngineReport()


def test_feed_tells_whether_a_line_had_a_value() -> None:
    report = EngineReport()
    assert report.feed(NEW[0]) is True
    assert report.feed("INFO nothing") is False


def test_comparison_says_every_difference_in_a_sentence() -> None:
    found = plan()
    report = engine_report.read(["Model loading took 65.9651 GiB and 12.8 seconds", *NEW])
    assert engine_report.compare(found, report) == [
        "Weights on a GPU: planned 65.90 GiB, loaded 65.97 GiB (+0.1 %).",
        "CUDA graphs: planned at most 0.34 GiB, found 0.31 GiB, within the bound.",
        "Cache on a GPU: planned at least 2.61 GiB, vLLM has 2.61 GiB.",
        "Requests of 32,768 tokens at a time: 1.54 by the plan's rules for that cache, 1.51 by vLLM.",
    ]
    assert not engine_report.is_too_optimistic(found, report)


def test_plan_that_promised_too_much_is_named() -> None:
    found = plan()
    report = engine_report.read(["Available KV cache memory: -2.14 GiB", "Estimated CUDA graph memory: 1.10 GiB total"])
    assert engine_report.is_too_optimistic(found, report)
    sentences = engine_report.compare(found, report)
    assert any("above the bound" in sentence for sentence in sentences)
    assert any("vLLM has -2.14 GiB. The plan promised too much" in sentence for sentence in sentences)


def test_log_without_values_gives_no_sentences() -> None:
    assert engine_report.compare(plan(), EngineReport()) == []
    assert not engine_report.is_too_optimistic(plan(), EngineReport())


def test_concurrency_of_another_context_is_not_compared() -> None:
    found = replace(plan(), context=1024)
    assert not any("at a time" in sentence for sentence in engine_report.compare(found, engine_report.read(NEW)))
