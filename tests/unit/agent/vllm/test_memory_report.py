# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rank 0 plans its memory with the node's GPUs, and logs how far vLLM's own values differ."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import command
from ansible_collections.herd.inference.plugins.module_utils.agent.common.command import CommandResult
from ansible_collections.herd.inference.plugins.module_utils.agent.vllm.memory_report import MemoryReport
from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from tests.unit.agent.vllm.test_checkpoint_folder import write

ID = "openai/gpt-oss-120b"
ARGUMENTS = ("--max-model-len", "32768", "--max-num-seqs", "16", "--gpu-memory-utilization", "0.9")
H100 = ("81559 MiB", "9.0", "NVIDIA H100 80GB HBM3")
FIXTURE = Path(__file__).parents[3] / "fixtures" / "nvidia_smi" / "v100s-460.xml"


def smi(gpus: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    """Return what nvidia-smi prints for both queries, with these memories, compute capabilities and names."""
    text = FIXTURE.read_text(encoding="utf-8")
    start, end = text.index("<gpu id"), text.index("</nvidia_smi_log>")
    head, card = text[:start].replace("<attached_gpus>1<", f"<attached_gpus>{len(gpus)}<"), text[start:end]
    cards = [
        card.replace("32510 MiB", memory).replace("Tesla V100S-PCIE-32GB", name).replace("GPU-76098dc1", f"GPU-{index}")
        for index, (memory, _capability, name) in enumerate(gpus)
    ]
    rows = [f"GPU-{index}-d3bc-9a1b-7ea6-f7b48837829e, {each[1]}" for index, each in enumerate(gpus)]
    return {"-q": head + "".join(cards) + text[end:], "--query-gpu=uuid,compute_cap": "\n".join(rows)}


def report(
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    gpus: tuple[Any, ...] | str = (H100,),
    source: str = ID,
    arguments: Any = ARGUMENTS,
) -> MemoryReport:
    printed = {"-q": gpus, "--query-gpu=uuid,compute_cap": ""} if isinstance(gpus, str) else smi(gpus)
    monkeypatch.setattr(command, "capture", lambda argv, _time_s: CommandResult(0, printed[argv[1]].encode(), ""))
    return MemoryReport(source, cache, 1, arguments)


def lines(found: MemoryReport) -> list[str]:
    written: list[str] = []
    found.write(written.append)
    return written


def test_plan_and_differences_are_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = report(monkeypatch, tmp_path)
    found.feed("(EngineCore pid=1) INFO Model loading took 65.9651 GiB and 12.8 seconds")
    found.feed("(EngineCore pid=1) INFO Available KV cache memory: 3.10 GiB")
    first, weights, cache = lines(found)
    assert first.startswith("memory plan: A context of 32,768 tokens fits on 1 x NVIDIA H100 80GB HBM3")
    assert weights == "memory plan: Weights on a GPU: planned 65.90 GiB, loaded 65.97 GiB (+0.1 %)."
    assert cache.startswith("memory plan: Cache on a GPU: planned at least 2.6")
    assert cache.endswith("vLLM has 3.10 GiB.")


def test_smallest_gpu_of_the_node_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = report(monkeypatch, tmp_path, (H100, ("95830 MiB", "9.0", "NVIDIA H100 NVL")))
    found.feed("Available KV cache memory: 3.10 GiB")
    assert "NVIDIA H100 80GB HBM3" in lines(found)[0]


@pytest.mark.parametrize(
    "gpus", ["", "NVIDIA-SMI has failed\n", (("N/A", "9.0", "x"),), (("81559 MiB", "[N/A]", "x"),)]
)
def test_node_without_gpus_has_no_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: Any) -> None:
    found = report(monkeypatch, tmp_path, gpus)
    found.feed("Available KV cache memory: 3.10 GiB")
    assert lines(found) == []


def test_log_without_memory_has_no_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = report(monkeypatch, tmp_path)
    found.feed("CPU KV cache size: 4,096 tokens, Maximum concurrency for 1,024 tokens per request: 4.00x")
    assert lines(found) == []


def test_folder_of_the_model_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "m")
    found = report(monkeypatch, tmp_path, source=str(tmp_path / "m"), arguments=("--max-model-len=64",))
    found.feed("Available KV cache memory: 3.10 GiB")
    assert lines(found)[0].startswith("memory plan: A context of 64 tokens fits")


def test_unknown_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = report(monkeypatch, tmp_path, source="o/n")
    found.feed("Available KV cache memory: 3.10 GiB")
    with pytest.raises(NotFoundError, match="the files of o/n"):
        lines(found)


def test_comparison_does_not_stop_the_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = report(monkeypatch, tmp_path, source="o/n")
    found.feed("Available KV cache memory: 3.10 GiB")
    written: queue.SimpleQueue[str] = queue.SimpleQueue()
    found.start(written.put)
    assert written.get(timeout=20) == "memory plan: none: expected the files of o/n, found none: download the model."
