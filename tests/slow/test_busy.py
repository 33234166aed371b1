# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a healthy group busy for half an hour: the agents must restart nothing.

HERD_BUSY_MINUTES sets another duration, for work on this test.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.lab import network
from tests.scenarios.recovery_page import write_facts
from tests.slow.cluster import HEAD, NODES, WORKERS, Cluster, assert_converged
from tests.slow.conftest import Notes
from tests.slow.test_both_releases import NEW, choose

MINUTES = float(os.environ.get("HERD_BUSY_MINUTES", "30"))

# Runs on the head: clients of all kinds. Some stream, some disconnect in the middle, some have long prompts.
CLIENTS = r"""
import json, random, threading, time, urllib.request
key = open("/etc/herd/head/api-keys").read().split()[0]
ends = time.time() + %(seconds)r
found = []

def client(number):
    choose = random.Random(number)
    while time.time() < ends:
        long, hangs_up = choose.random() < 0.05, choose.random() < 0.1
        body = {
            "model": "lab-llama",
            "max_tokens": choose.choice([2, 8, 24]),
            "stream": hangs_up or choose.random() < 0.5,
            "messages": [{"role": "user", "content": "Say hello. " * (100 if long else 1)}],
        }
        request = urllib.request.Request(
            "http://10.0.0.31:8000/v1/chat/completions",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        began, error = time.time(), ""
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                if hangs_up:
                    answer.readline()
                elif body["stream"]:
                    text = answer.read().decode()
                    error = "" if text.rstrip().endswith("data: [DONE]") else "the stream has no end"
                else:
                    error = "" if json.load(answer)["usage"]["completion_tokens"] else "no tokens"
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        found.append({"hung_up": hangs_up, "seconds": time.time() - began, "error": error})
        time.sleep(choose.random() * %(pause)r)

clients = [threading.Thread(target=client, args=(number,)) for number in range(%(clients)d)]
for one in clients:
    one.start()
for one in clients:
    one.join()
print(json.dumps(found))
"""

# Runs on every node: report each unit's process, its start time, and the agent's log.
STATE = r"""
import json, subprocess

def out(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

units = {}
for unit in ("llama-head", "llama-rpc", "herd-agent"):
    shown = out("systemctl", "show", "--property=MainPID,ExecMainStartTimestampMonotonic,NRestarts", unit)
    units[unit] = shown.split()
said = [line for line in out("journalctl", "-q", "-u", "herd-agent", "-o", "cat", "--no-pager").splitlines() if line]
print(json.dumps({"units": units, "said": said}))
"""


@dataclass(frozen=True)
class Phase:
    """A part of the run."""

    what: str
    clients: int
    pause_s: float = 1.0
    fabric: tuple[str | None, str | None] | None = None


PHASES = (
    Phase("3 clients", 3),
    Phase("12 clients for 2 slots", 12),
    Phase("3 clients, fabric of 20 Mb/s", 3, fabric=("20mbit", None)),
    Phase("1 client that pauses", 1, pause_s=40.0),
)


@contextmanager
def fabric_as(cluster: Cluster, phase: Phase) -> Iterator[None]:
    """Slow down the fabric of the workers during a phase."""
    lab = cluster.manager.lab(cluster.name)
    hosts = [lab.host(name) for name in (WORKERS if phase.fabric else ())]
    for host in hosts:
        network.slow(cluster.name, host, network.network_of(host, "ib"), *(phase.fabric or (None, None)))
    try:
        yield
    finally:
        for host in hosts:
            network.full_speed(cluster.name, host, network.network_of(host, "ib"))


def keep_busy(cluster: Cluster, phase: Phase, seconds: float) -> list[dict[str, Any]]:
    program = CLIENTS % {"seconds": seconds, "clients": phase.clients, "pause": phase.pause_s}
    done = subprocess.run(
        ["ssh", "-F", str(cluster.manager.places.state(cluster.name) / "ssh_config"), HEAD, "python3", "-"],
        input=program,
        capture_output=True,
        text=True,
        timeout=seconds + 600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def look(cluster: Cluster) -> dict[str, Any]:
    return {name: json.loads(cluster.on(name, STATE)) for name in NODES}


def test_agents_restart_nothing_in_a_busy_group(cluster: Cluster, notes: Notes) -> None:
    assert_converged(cluster, cluster.deploy(*choose(NEW)), NEW)
    # The log lines of the start must be written before the first look.
    time.sleep(3)
    before = look(cluster)
    rows = []
    for phase in PHASES:
        with fabric_as(cluster, phase):
            requests = keep_busy(cluster, phase, MINUTES * 60 / len(PHASES))
        failed = [request["error"] for request in requests if request["error"]]
        rows.append(
            {
                "what": phase.what,
                "answered": sum(not request["hung_up"] and not request["error"] for request in requests),
                "hung_up": sum(request["hung_up"] for request in requests),
                "failed": len(failed),
                "longest_s": round(max(request["seconds"] for request in requests), 1),
            }
        )
        notes.add(f"{rows[-1]}")
        assert failed == []
    after = look(cluster)
    said = {name: after[name]["said"][len(before[name]["said"]) :] for name in NODES}
    assert {name: found["units"] for name, found in after.items()} == {
        name: found["units"] for name, found in before.items()
    }
    assert said == {name: [] for name in NODES}
    if os.environ.get("HERD_RECORD"):
        write_facts("busy", {"minutes": MINUTES, "phases": rows, "said": said})
