# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's actions on a router and its models' processes, with a simulated clock and simulated processes.

The scenario router stops real ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.conftest import run_inside

WORLD = """
import json
from dataclasses import replace
from herd.agent.common import engine_api as engine
from herd.agent.supervisor import local_state as node
from herd.agent.supervisor import router_monitor, supervised_engine
from herd.core.supervision.limits import RecoveryLimits

done = []

class Now:
    def __init__(self, target, args=(), daemon=None): self.target, self.args = target, args
    def start(self): self.target(*self.args)

class Poller:
    def __init__(self):
        self.api, self.health, self.slots, self.may_ask, self.ended = None, "ok", engine.Slots(), True, False
        watches.append(self)
    def run(self): pass
    def rate(self): return 0.0

class Unit:
    def __init__(self, name):
        self.name, self.unit = name, node.Unit(True, "active", "running", False, 10, 0)
        words = ("/r/releases/x/bin/llama-server", "--host", "10.0.0.2", "--port", "8080", "--api-key-file", "/k")
        self.process = node.Process(1, "S", 0.0, words)
    def refresh(self, now): pass
    def age_s(self, now): return 0.0

def model(pid, name, sleeps=""):
    words = ("llama-server", "--host", "127.0.0.1", "--port", "4711", "--alias", name)
    return (pid, node.Process(pid * 10, "S", 0.0, words + (("--sleep-idle-seconds", sleeps) if sleeps else ())))

watches, models, clients = [], {}, []
router_monitor.threading = supervised_engine.threading = type("threads", (), {"Thread": Now})
router_monitor.models_of = lambda pid: dict(models) if pid else {}
router_monitor.clients_of = lambda process, table: frozenset(clients)
router_monitor.asked = lambda api, method, path, body=None, timeout_s=0: done.append([path, body["model"]])
restart = lambda unit, pid, reason: done.append(["restart", pid])
actions = router_monitor.Actions(Poller, lambda work: work(), restart, lambda text: None)
monitor = router_monitor.RouterMonitor(Unit("llama-router.service"), RecoveryLimits(), actions)
now = [100.0]

def run(seconds, hold=""):
    for _each in range(round(seconds * 2)):
        now[0] += 0.5
        told = monitor.step(now[0], [], hold)
    return told

def stop(name):
    pid, process = models[name]
    models[name] = (pid, replace(process, state="T"))
"""


def outcome(herdctl: Path, code: str) -> Any:
    return json.loads(run_inside(herdctl, f"{WORLD}\n{code}\nprint(json.dumps(done))"))


CASES = {
    "all is well": ('models["a"] = model(20, "a"); run(60)', []),
    "a model's process is stopped": (
        'models["a"] = model(20, "a"); run(5); stop("a"); run(10)',
        [["/models/unload", "a"]],
    ),
    "the router does not end it": (
        'models["a"] = model(20, "a"); run(5); stop("a"); run(45)',
        [["/models/unload", "a"], ["restart", 10]],
    ),
    "another process of the same model is stopped": (
        'models["a"] = model(20, "a"); run(5); stop("a"); run(4)\n'
        'models["a"] = model(21, "a"); run(5); stop("a"); run(4)',
        [["/models/unload", "a"], ["/models/unload", "a"]],
    ),
    "a model makes room": (
        'models["a"] = model(20, "a"); run(5); del models["a"]; run(60); models["a"] = model(22, "a"); run(9)',
        [],
    ),
    "the router's process is stopped": (
        'run(5); monitor.observed.process = replace(monitor.observed.process, state="T"); run(10)',
        [["restart", 10]],
    ),
    "somebody works there": ('models["a"] = model(20, "a"); run(5); stop("a"); run(60, "by hand")', []),
}


@pytest.mark.parametrize("case", CASES)
def test_monitor_acts_on_stopped_processes(herdctl: Path, case: str) -> None:
    code, expected = CASES[case]
    assert outcome(herdctl, code) == expected


def test_model_is_asked_with_the_routers_key_and_without_tls(herdctl: Path) -> None:
    code = """
words = (*monitor.observed.process.arguments, "--ssl-cert-file", "/c")
monitor.observed.process = replace(monitor.observed.process, arguments=words)
models["a"] = model(20, "a"); run(1)
done.append([watches[0].api.certificate, watches[1].api.key_file, watches[1].api.port, watches[1].api.certificate])
"""
    assert outcome(herdctl, code) == [["/c", "/k", 4711, ""]]


def test_slots_of_a_sleeping_model_are_requested_only_for_a_client(herdctl: Path) -> None:
    code = """
models["a"] = model(20, "a", "60"); models["b"] = model(21, "b")
def asked(): done.append([watches[1].may_ask, watches[2].may_ask])
run(1); asked()
clients.append(5000); run(0.5); asked(); run(0.5); asked()
# A connection of the last moment may be the agent's own.
clients[:] = [5001]; run(0.5); asked()
clients.clear(); run(0.5); asked()
"""
    assert outcome(herdctl, code) == [[False, True], [False, True], [True, True], [False, True], [False, True]]


def test_heartbeat_reports_the_router(herdctl: Path) -> None:
    code = """
models["a"] = model(20, "a"); run(5)
for watch_of in watches: watch_of.slots = engine.Slots(True, 2, 1, "x")
def tell(told): done.append([told.supervision, told.slots, told.busy, told.recoveries, told.release])
tell(run(1)); stop("a"); tell(run(4)); models["a"] = model(21, "a"); tell(run(2))
"""
    told = [one for one in outcome(herdctl, code) if one[0] != "/models/unload"]
    assert told == [["watching", 2, 1, 0, "x"], ["recovering", 2, 1, 1, "x"], ["watching", 0, 0, 1, "x"]]


def test_heartbeat_names_the_models_that_the_router_offers(herdctl: Path) -> None:
    code = """
from herd.core.engine.router_mode import RouterModelState as State
router_monitor.asked = lambda *words, **more: None
bad = State("b\\nad", (), "", None)
answers = [[State("small", ("s",), "loaded", None), State("found", (), "unloaded", None), bad]]
calls = []
def states(api, timeout_s=0):
    calls.append(api.endpoint)
    if not answers: raise OSError("no answer")
    return answers[0]
router_monitor.states = states
unit = Unit("llama-router.service")
silent = router_monitor.RouterMonitor(unit, RecoveryLimits(), actions)
done.append([list(silent.step(1.0, [], "").models), len(calls)])
monitor = router_monitor.RouterMonitor(unit, RecoveryLimits(), actions, lists_models=True)
done.append([list(monitor.step(1.0, [], "").models), calls])
monitor.step(2.0, [], "")
done.append(len(calls))
answers.clear()
done.append(list(monitor.step(2.0 + router_monitor.MODELS_S, [], "").models))
"""
    names = ["small", "s", "found"]
    silent, first, second, kept = outcome(herdctl, code)
    assert silent == [[], 0]
    assert first[0] == names
    assert second == 1
    # The last known ones stay while the router does not answer.
    assert kept == names
