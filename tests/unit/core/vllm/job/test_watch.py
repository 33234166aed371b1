# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a rank ends, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import watch
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.heartbeat_message import Heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.watch import Observation, Peer, Processes

LIMITS = watch.WatchLimits()
PEER = Peer(1, "n2", "10.0.0.2", 0.4, Heartbeat(1, "ready", 100))
WELL = Observation(0, "n1", 100.0, 50.0, True, (PEER,), Processes(is_started=True))


def verdict(**changes: Any) -> watch.Verdict | None:
    return watch.judge(replace(WELL, **changes), LIMITS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"peers": (replace(PEER, heard_s=7.9),)},
        {"processes": Processes(True, None, {"x": 4.9}, {"y": 1.9})},
        {"is_ready": False, "processes": Processes(True, None, {}, {"y": 19.0})},
        {"is_ready": False, "waited_s": 299.0, "peers": (replace(PEER, heard_s=None, last=None),)},
        {"is_ready": False, "loading_s": 7199.0},
    ],
)
def test_rank_goes_on(changes: dict[str, Any]) -> None:
    assert verdict(**changes) is None


@pytest.mark.parametrize(
    ("changes", "reason", "is_own"),
    [
        ({"processes": Processes(True, 0)}, "vLLM has ended without being asked, with status 0", True),
        ({"processes": Processes(True, -9)}, "by signal 9", True),
        ({"is_ready": False, "processes": Processes(True, 1)}, "ended while it started, without", True),
        ({"processes": Processes(True, None, {"VLLM::EngineCore (process 5)": 5.0})}, "stopped for 5 seconds", True),
        ({"processes": Processes(True, None, {}, {"VLLM::Worker_TP0": 2.0})}, "Worker_TP0 has ended without", True),
        ({"unhealthy": "no completion: timed out"}, "rank 0 on n1: no completion: timed out", True),
        ({"is_ready": False, "loading_s": 7200.0}, "not ready 7200 seconds after its start", True),
        ({"peers": (replace(PEER, heard_s=8.0),)}, r"rank 1 on n2 (10.0.0.2) has sent no heartbeat for 8 s", False),
        (
            {"waited_s": 300.0, "peers": (replace(PEER, heard_s=None, last=None),)},
            "rank 1 on n2 (10.0.0.2) has not come within 300 seconds",
            False,
        ),
        ({"peers": (replace(PEER, last=Heartbeat(1, "failed", 9, "failed", "rank 1: why")),)}, "rank 1: why", False),
    ],
)
def test_rank_ends_with_a_reason(changes: dict[str, Any], reason: str, is_own: bool) -> None:
    found = verdict(**changes)
    assert found is not None
    assert reason in found.reason
    assert (found.is_own, found.is_done) == (is_own, False)


def test_rank_that_ends_as_ordered_lets_the_others_end() -> None:
    found = verdict(peers=(replace(PEER, last=Heartbeat(1, "ended", 100, "done", "drained: stop")),))
    assert found is not None
    assert found.is_done


def test_reason_of_one_rank_explains_more_than_the_silence_of_another() -> None:
    silent = Peer(1, "n2", "10.0.0.2", 9.0, Heartbeat(1))
    failed = Peer(2, "n3", "10.0.0.3", 0.2, Heartbeat(2, "failed", 0, "failed", "rank 2 on n3: out of memory"))
    found = verdict(peers=(silent, failed))
    assert found is not None
    assert found.reason == "rank 2 on n3: out of memory"


def test_time_in_which_the_wrapper_was_stopped_does_not_count() -> None:
    pauses = watch.PauseDetector(0.0, 3.0)
    assert not pauses.look(1.0)
    assert pauses.since(0.5, 1.5) == 1.0
    assert pauses.look(60.0)
    assert pauses.since(0.5, 62.0) == 2.0
    assert not pauses.look(62.0)
