# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm.progress import LoadProgress, message

LOGS = Path(__file__).parents[3] / "fixtures" / "vllm"


@pytest.mark.parametrize(
    "name", ["captured/two-ranks-worker-killed.log", "start-two-nodes-cpu.log", "start-two-nodes-gpu.log"]
)
def test_progress_only_grows_until_the_api_is_up(name: str) -> None:
    progress, seen = LoadProgress(), []
    for line in (LOGS / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") and progress.feed(line):
            seen.append((progress.percent, progress.phase))
    assert [percent for percent, _phase in seen] == sorted({percent for percent, _phase in seen})
    assert list(dict.fromkeys(phase for _percent, phase in seen)) == ["starting", "rendezvous", "loading", "warming"]
    assert progress.percent == 99
    assert progress.ready()
    assert (progress.phase, progress.percent) == ("ready", 100)
    assert not progress.ready()


def test_weights_are_counted_in_files() -> None:
    progress = LoadProgress()
    assert progress.feed("0: Loading safetensors checkpoint shards:  50% Completed | 25/50 [01:10<01:10,  2.8s/it]")
    assert (progress.phase, progress.percent, progress.detail) == ("loading", 42, "weights: 25 of 50 files")
    # The other rank is behind.
    assert not progress.feed("1: (Worker pid=7) INFO 11-29 17:00:00 [x.py:1] Starting to load model /m...")
    assert not progress.feed("a line of something else")


@pytest.mark.parametrize(
    "line",
    [
        "Loading safetensors checkpoint shards:  50% Completed | 999999/1 [01:10<01:10]",
        f"Loading safetensors checkpoint shards:  50% Completed | {'9' * 6000}/1 [01:10<01:10]",
        f"Loading safetensors checkpoint shards: {'9' * 6000}% Completed | 1/2",
        "Capturing CUDA graphs (mixed prefill-decode): 999%",
        f"Capturing CUDA graphs (decode): {'9' * 6000}%",
    ],
)
def test_percentage_has_a_bound_whatever_a_prompt_in_the_log_says(line: str) -> None:
    # A percentage above 100 is no heartbeat: the other ranks would take this one for lost.
    progress = LoadProgress()
    progress.feed(line)
    assert progress.percent < 99
    progress.ready()
    assert not progress.feed(line)
    assert (progress.phase, progress.percent) == ("ready", 100)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0: (EngineCore pid=12) INFO 11-29 17:00:00 [core.py:403] up", "INFO 11-29 17:00:00 [core.py:403] up"),
        ("(Worker_TP1 pid=3) (Worker_TP1 pid=3) text\n", "text"),
        ("srun: error: x", "srun: error: x"),
    ],
)
def test_message_is_without_rank_and_process(line: str, text: str) -> None:
    assert message(line) == text
