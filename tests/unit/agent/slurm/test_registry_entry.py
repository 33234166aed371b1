# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job writes the endpoint registry, and the gateway reads it."""

from __future__ import annotations

from pathlib import Path

from tests.unit.agent.conftest import run_inside

# A node that writes with its own clock, and the gateway's reader.
BEGIN = """
import json, threading, time
from pathlib import Path
from herd.agent.gateway import state as gateway_state
gateway_state.REGISTRY_EVERY_S = 0.05
folder = Path(sys.argv[2])
entry = {"schema": 1, "tier": "fast", "job_id": "12", "host": "vasp-02", "address": "10.0.0.42", "port": 8080,
         "models": ["m"], "state": "ready", "percent": 100, "context": 8, "slots": 1, "release": "r", "started": 1.0}
def beat(ahead):
    scratch = folder / ".fast-12.json.1"
    scratch.write_text(json.dumps({**entry, "heartbeat": time.time() + ahead}), encoding="utf-8")
    scratch.replace(folder / "fast-12.json")
def wait(is_so, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_so():
        time.sleep(0.02)
    return is_so()
reader = gateway_state.RegistryReader(folder, ["fast"])
"""


def test_gateway_accepts_an_engine_with_a_slow_clock(herdctl: Path, tmp_path: Path) -> None:
    code = """
beat(-3600)
print(wait(lambda: reader.endpoints().alive, 0.5))
def serves():
    beat(-3600)
    return [one.job_id for one in reader.endpoints().alive]
print(wait(serves))
"""
    assert run_inside(herdctl, BEGIN + code, str(tmp_path)).splitlines() == ["()", "['12']"]


def test_gateway_reads_the_registry_again_after_an_error(herdctl: Path, tmp_path: Path) -> None:
    code = """
real, asked = gateway_state.read_registry, []
def broken(folder):
    asked.append(1)
    if len(asked) < 4:
        raise RuntimeError("a surprise")
    return real(folder)
gateway_state.read_registry = broken
beat(0)
print([one.job_id for one in wait(lambda: reader.endpoints().alive)])
"""
    said = run_inside(herdctl, BEGIN + code, str(tmp_path)).splitlines()
    # Logged once for each problem.
    assert said == [f"the registry {tmp_path} cannot be read: RuntimeError: a surprise", "['12']"]


def test_job_continues_its_heartbeats_after_an_error(herdctl: Path, tmp_path: Path) -> None:
    code = """
from herd.agent.slurm import registry_entry
from herd.core.slurm import endpoint_registry
registry_entry.EVERY_S = 0.02
mine = registry_entry.RegistryEntry(folder, endpoint_registry.Endpoint(
    "fast", "12", "vasp-02", "10.0.0.42", 0, (), "", 0, 8, 1, "r", 0.0, 0.0))
mine.begin()
mine.set_port(8080)
class Broken:
    def as_data(self, gpus):
        raise RuntimeError("dictionary changed size during iteration")
well, mine.engine_load = mine.engine_load, Broken()
time.sleep(0.2)
mine.engine_load = well
def heartbeat():
    return json.loads((folder / "fast-12.json").read_text(encoding="utf-8"))["heartbeat"]
before = heartbeat()
print(wait(lambda: heartbeat() > before))
mine.remove()
print((folder / "fast-12.json").exists())
"""
    said = run_inside(herdctl, BEGIN + code, str(tmp_path)).splitlines()
    assert said[-2:] == ["True", "False"]
    assert any(
        line.endswith("heartbeat not written: RuntimeError: dictionary changed size during iteration") for line in said
    )
