# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The threads of the tier manager: errors, a hanging Slurm, and changes at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.slurm.tier_manager import Home, homes


@pytest.fixture
def home(tmp_path: Path, herdctl: Path) -> Iterator[Home]:
    yield from homes(tmp_path, herdctl)


def test_slurm_and_registry_are_read_again_after_an_error(home: Home) -> None:
    home.slurm.queue(("12", "RUNNING", "None"))
    code = """
tiers.AFTER_FAILURE_S = tiers.REGISTRY_S = 0.01
asked = []
def queue(before):
    asked.append(1)
    raise RuntimeError("dictionary changed size during iteration")
manager.slurm.queue = queue
read = []
def read_registry(folder):
    read.append(1)
    raise RuntimeError("a surprise")
tiers.read_registry = read_registry
for work in (manager.follow_slurm, manager.follow_registry):
    threading.Thread(target=work, daemon=True).start()
until = time.monotonic() + 20
while time.monotonic() < until and not (len(asked) >= 3 and len(read) >= 3):
    time.sleep(0.01)
print(len(asked) >= 3, len(read) >= 3, manager.registry_problem)
"""
    said = home.inside(code).splitlines()
    assert said[-1].startswith("True True the registry ")
    assert said[-1].endswith("cannot be read: RuntimeError: a surprise")
    again = "an action failed, and is tried again: RuntimeError: dictionary changed size"
    assert any(again in line for line in said)


def test_watchdog_messages_stop_while_the_slurm_thread_hangs(home: Home) -> None:
    code = """
heard, hangs = [], threading.Event()
tiers.notify = heard.append
tiers.STUCK_S = 0.5
manager.slurm.queue = lambda before: time.sleep(60 if hangs.is_set() else 0.01) or tiers.QueueSnapshot(time.time(), ())
manager.act = lambda: False
threading.Thread(target=manager.run, daemon=True).start()
def wait(is_so):
    until = time.monotonic() + 20
    while time.monotonic() < until and not is_so():
        time.sleep(0.01)
for _turn in range(2):
    heard.clear()
    wait(lambda: "WATCHDOG=1" in heard)
    print("WATCHDOG=1" in heard)
hangs.set()
wait(lambda: time.monotonic() - manager.slurm.last_run > 1.0)
heard.clear()
time.sleep(0.6)
print("WATCHDOG=1" in heard)
"""
    assert home.inside(code).splitlines()[-3:] == ["True", "True", "False"]


def test_state_changes_of_two_threads_are_both_kept(home: Home) -> None:
    code = """
states, begun = manager.states, threading.Event()
def submits(state):
    begun.wait()
    time.sleep(0.3)
    return tier_manager.about_to_submit(state, 1000.0)
first = threading.Thread(target=lambda: states.change("fast", submits))
second = threading.Thread(target=lambda: states.change("fast", lambda one: replace(one, load_s=7.0)))
first.start()
time.sleep(0.1)
second.start()
begun.set()
first.join()
second.join()
kept = manager_state.TierStates(manager.settings.state / "tier-states.json", ["fast"]).of["fast"]
print(kept.asked_at, kept.load_s)
"""
    assert home.inside(code).splitlines()[-1] == "1000.0 7.0"


def test_clock_set_back_keeps_no_entry_of_a_gone_job(home: Home) -> None:
    code = """
path = manager.settings.registry / "fast-12.json"
entry = {"schema": 1, "tier": "fast", "job_id": "12", "host": "vasp-02", "address": "10.0.0.42", "port": 8080,
         "models": ["m"], "state": "ready", "percent": 100, "context": 8, "slots": 1, "release": "r", "started": 1.0}
real, ahead = time.time, [7200.0]
time.time = lambda: real() + ahead[0]
def look():
    path.write_text(json.dumps({**entry, "heartbeat": time.time()}), encoding="utf-8")
    manager.refresh_registry()
    return [one.job_id for one in manager.observe(time.time())[0].endpoints]
print(look())
ahead[0] = 0.0
print(look(), time.sleep(0.1))
manager.queue = tiers.QueueSnapshot(time.time(), ())
print(look())
"""
    assert home.inside(code).splitlines()[-3:] == ["['12']", "['12'] None", "[]"]


def test_observation_and_action_exclude_each_other(home: Home) -> None:
    """One thread reads Slurm and drops ended jobs, the other publishes the status."""
    code = """
looks = threading.Thread(target=lambda: manager.observe(time.time()), daemon=True)
acts = threading.Thread(target=manager.act, daemon=True)
manager.settings = replace(manager.settings, tiers=())
with manager._lock:
    looks.start()
    acts.start()
    time.sleep(0.3)
    print(looks.is_alive(), acts.is_alive())
looks.join(20)
acts.join(20)
print(looks.is_alive(), acts.is_alive())
"""
    assert home.inside(code).splitlines()[-2:] == ["True True", "False False"]


def test_log_on_a_hanging_file_system_is_skipped(home: Home) -> None:
    code = """
client.LOG_S = 0.2
client._read_last_message = lambda logs, job: time.sleep(60)
began = time.monotonic()
print(repr(client._last_message(manager.settings.logs, "12")), time.monotonic() - began < 10)
"""
    assert home.inside(code).splitlines()[-1] == "'' True"


def test_leftovers_in_the_registry_are_removed(home: Home) -> None:
    home.entry("7", heartbeat=time.time() - 700)
    home.entry("8", heartbeat=time.time() - 60)
    home.entry("9", heartbeat=time.time() - 700)
    code = """
endpoint_registry.STILL_S, tiers.REGISTRY_S = 0.3, 0.05
folder = manager.settings.registry
threading.Thread(target=manager.follow_registry, daemon=True).start()
time.sleep(0.6)
# Until the queue has been read, no entry is removed.
print(sorted(path.name for path in folder.iterdir()))
nine = Job("9", "llama-14b", "llama", "PENDING")
manager.queue = tiers.QueueSnapshot(time.time(), (nine,))
until = time.monotonic() + 20
while time.monotonic() < until and (folder / "fast-7.json").exists():
    time.sleep(0.02)
print(sorted(path.name for path in folder.iterdir()))
"""
    said = home.inside(code).splitlines()
    assert "removed fast-7.json from the registry: its job ended long ago" in said
    shown = [line for line in said if line.startswith("[")]
    assert shown == ["['fast-7.json', 'fast-8.json', 'fast-9.json']", "['fast-8.json', 'fast-9.json']"]
