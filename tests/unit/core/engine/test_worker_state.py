# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a worker, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import worker_state
from ansible_collections.herd.inference.plugins.module_utils.core.engine.worker_state import WorkerStatus

WELL = WorkerStatus(
    "llama-rpc.service",
    "active",
    "running",
    age_s=3600.0,
    listening=["10.100.0.32"],
    holder="ggml-rpc-server (4711)",
    clients=["10.100.0.31:40112"],
    release="0c1e57098-cpu-1a2b3c4d",
    current="0c1e57098-cpu-1a2b3c4d",
)


def test_serving_worker_has_no_problem() -> None:
    assert worker_state.problems(WELL, "10.100.0.32", 50052) == []
    # One that nobody uses yet, and one that restarted long ago, are well too.
    assert worker_state.problems(replace(WELL, clients=[], restarts=3), "", 50052) == []


@pytest.mark.parametrize(
    ("worker", "found"),
    [
        (replace(WELL, active="failed", sub="failed", listening=[]), ["found it failed: read journalctl"]),
        (replace(WELL, active="inactive", sub="dead", listening=[]), ["found it inactive: start it"]),
        (
            replace(WELL, active="activating", sub="auto-restart", restarts=7, listening=[]),
            ["between two starts (7 restarts)"],
        ),
        (
            replace(WELL, active="activating", sub="auto-restart", holder="nc (99)", is_own=False),
            ["between two starts", "expected port 50052 to be llama-rpc.service's, found nc (99)"],
        ),
        (replace(WELL, listening=[], holder="", clients=[]), ["to listen on port 50052, found nothing there"]),
        (replace(WELL, listening=["0.0.0.0"]), ["to listen on 10.100.0.32 only, found 0.0.0.0"]),
        (replace(WELL, listening=["10.0.0.32", "10.100.0.32"]), ["only, found 10.0.0.32, 10.100.0.32"]),
        (replace(WELL, restarts=4, age_s=2.4), ["found 4 restarts, the last 2 s ago"]),
        (replace(WELL, needs_reload=True), ["run systemctl daemon-reload"]),
        (
            replace(WELL, clients=["10.100.0.31:1", "10.100.0.33:2"]),
            ["one client at a time, found 10.100.0.31, 10.100.0.33"],
        ),
        (replace(WELL, clients=["10.100.0.31:1", "10.100.0.31:2"]), []),
        (replace(WELL, leaving=1), ["found 1 that the head has closed"]),
        (replace(WELL, current="b7836-cpu-11aa22bb"), ["current release b7836-cpu-11aa22bb, found 0c1e57098"]),
        (replace(WELL, current=""), []),
    ],
)
def test_each_problem_is_one_sentence(worker: WorkerStatus, found: list[str]) -> None:
    problems = worker_state.problems(worker, "10.100.0.32", 50052)
    assert len(problems) == len(found), problems
    for sentence, part in zip(problems, found, strict=True):
        assert part in sentence
        assert sentence.startswith("expected ")
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("worker", "is_useless"),
    [
        (WELL, False),
        (replace(WELL, active="activating", sub="auto-restart"), False),
        (replace(WELL, active="failed"), True),
        (replace(WELL, active="inactive"), True),
        (replace(WELL, is_own=False), True),
    ],
)
def test_wait_ends_if_worker_cannot_recover(worker: WorkerStatus, is_useless: bool) -> None:
    assert worker_state.cannot_heal(worker) is is_useless
