"""Progress lines of a job that takes minutes."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.plugin_utils import long_running


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            {"what": "compiling", "percent": 45.1, "done": 120, "total": 266, "unit": "steps", "seconds_left": 118},
            "llama_build: vllm-node1: compiling 45 % (120/266), 2 minutes left",
        ),
        ({"what": "configuring", "done": 0, "total": None, "unit": "steps"}, "llama_build: vllm-node1: configuring"),
        (
            {
                "what": "fetching",
                "percent": 50.0,
                "done": 2 << 30,
                "total": 4 << 30,
                "unit": "bytes",
                "bytes_per_second": 500_000_000,
                "seconds_left": 4,
            },
            "llama_build: vllm-node1: fetching 50 % (2.00 of 4.00 GiB), 500.0 MB/s, 4 seconds left",
        ),
        ({}, "llama_build: vllm-node1: working"),
    ],
)
def test_progress_line_shows_share_amount_and_time_left(progress: dict[str, Any], line: str) -> None:
    assert long_running.progress_line("llama_build", "vllm-node1", progress) == line


def test_lines_are_limited_in_time_and_percent() -> None:
    reporter = long_running.ProgressReporter()
    states = [
        (0, 0.0, "configuring"),
        (1, 0.0, "configuring"),
        (2, 1.0, "compiling"),
        (3, 3.0, "compiling"),
        (4, 6.0, "compiling"),
        (15, 7.0, "compiling"),
    ]
    shown = [reporter.is_due({"what": what, "percent": percent}, at) for at, percent, what in states]
    assert shown == [True, False, True, False, True, True]
