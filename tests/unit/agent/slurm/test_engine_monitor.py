# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor of a head and its workers, with made-up connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.conftest import run_inside

WORLD = """
import json, os
from dataclasses import replace
from herd.agent.common import engine_api as engine
from herd.agent.slurm import engine_monitor
from herd.agent.supervisor import local_state as node
from herd.core.host.proc_net import TcpSocket

class Engine:
    def __init__(self, every_s):
        self.api, self.health, self.slots, self.tokens, self.ended = None, "ok", engine.Slots(True, 2, 0, "x"), 1, False
    def run(self): pass

said, now, sign = [], [100.0], {"pid": 7, "started": 70, "state": "S", "stale": 0, "unanswered": False}
engine_monitor.EnginePoller = Engine
engine_monitor.time = type("clock", (), {"monotonic": lambda: now[0]})
monitor = engine_monitor.HeadMonitor(os.getpid(), {"vasp-02": "10.100.0.42:50052"}, said.append)
link = TcpSocket("10.100.0.41", 40000, "10.100.0.42", 50052, "ESTABLISHED", 990, 1)

def run(seconds, table=(link,), clients=("10.100.0.41:40000",), **changes):
    for each in range(round(seconds * 2)):
        now[0] += 0.5
        if each % 4 == 0:
            monitor.receive("vasp-02", {**sign, "clients": list(clients), **changes})
        monitor.step(now[0], list(table))
"""

CASES = {
    "all is well": ("run(100)", ""),
    "the head's node loses the fabric": (
        "run(5); run(40, [replace(link, is_unacked=True)])",
        "vasp-02 has acknowledged nothing for 30 seconds: its host or the fabric is unavailable",
    ),
    # The head only waits, so it has nothing to retransmit.
    "the worker's node loses the fabric": (
        "run(5); run(40, unanswered=True)",
        "vasp-02 has acknowledged nothing for 30 seconds: its host or the fabric is unavailable",
    ),
    "the network is switched over": ("run(5); run(20, unanswered=True); run(30); run(20, unanswered=True)", ""),
    "the worker has closed the connection": (
        "run(5); run(5, [])",
        "the head has no connection to vasp-02: its worker closed it",
    ),
    "the worker does not have the connection": (
        "run(5); run(10, clients=())",
        "vasp-02 does not have the head's connection: its worker closed it",
    ),
    "the worker is stopped": ("run(5); run(10, state='T')", "vasp-02: the worker's process 7 has been stopped"),
    "no worker has said anything": ("monitor.receive = lambda *each: None; run(20)", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_group_is_lost_with_a_reason(herdctl: Path, case: str) -> None:
    code, reason = CASES[case]
    lost: Any = json.loads(run_inside(herdctl, f"{WORLD}\n{code}\nprint(json.dumps(monitor.lost))"))
    assert lost.startswith(reason)
    assert bool(lost) == bool(reason)


def test_error_in_the_rules_ends_no_engine(herdctl: Path) -> None:
    code = """
monitor.step = lambda now, table: [][0]
for _each in range(4):
    now[0] += 1
    monitor.poll()
print(json.dumps([monitor.poll(), said]))
"""
    lost, said = json.loads(run_inside(herdctl, WORLD + code))
    assert lost == ""
    assert said == ["the engines cannot be monitored: IndexError: list index out of range"]


def test_memory_of_a_numa_node_is_preferred(herdctl: Path) -> None:
    """The kernel accepts the policy, and child processes inherit it."""
    code = """
import subprocess
from herd.agent.slurm import step as job_step
taken = job_step.prefer_memory(0)
maps = subprocess.run(["cat", "/proc/self/numa_maps"], capture_output=True, text=True).stdout
print(json.dumps([taken, "prefer" in maps, job_step.prefer_memory(-1)]))
"""
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel knows no NUMA")
    taken, seen, nonsense = json.loads(run_inside(herdctl, WORLD + code))
    assert taken == seen
    assert nonsense is False


def test_engine_with_too_few_processors_near_its_gpu_is_not_bound(herdctl: Path) -> None:
    code = """
import sys
from herd.agent.slurm import step as job_step
from herd.core.host import numa as numa_binding
kept, asked, bound = os.sched_getaffinity(0), [], []
def near(nodes, allowed, gpu, fabric, threads):
    asked.append(threads)
    return numa_binding.Binding((), "few", 0)
job_step.numa.near = near
job_step.prefer_memory = lambda node: bound.append(node) or True
job_step.emit = lambda *each, **facts: None
order = {"address": "127.0.0.1", "port": 41000, "ports": 50, "log": "/dev/null", "cpus": 20}
for words in (["true"], ["true", "--threads", "8"]):
    job_step.Engine({**order, "argv": words}).stop(0.0)
print(json.dumps([asked, bound, kept == os.sched_getaffinity(0)]))
"""
    assert json.loads(run_inside(herdctl, WORLD + code)) == [[20, 8], [0, 0], True]
