# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a node as its heartbeat holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import command
from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.agent.supervisor import daemon, local_state, settings
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi as nvidia_smi_report
from ansible_collections.herd.inference.plugins.module_utils.core.release import units
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import cluster_status, heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation
from tests.unit.agent.agent_config import AGENT
from tests.unit.core.supervision.test_heartbeat import BEAT

FIXTURES = Path(__file__).parents[3] / "fixtures"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("v100s-460.xml", (heartbeat.Gpu(0, "Tesla V100S-PCIE-32GB", 31689, 32510, 66, 97),)),
        # Divided GPUs do not say how busy they are.
        ("a100-mig-510.xml", (heartbeat.Gpu(0, "NVIDIA A100-SXM4-40GB", 38, 40960, 36, -1),)),
    ],
)
def test_gpus_of_nvidia_smi_are_converted(name: str, found: tuple[heartbeat.Gpu, ...]) -> None:
    report = nvidia_smi_report.parse((FIXTURES / "nvidia_smi" / name).read_text(encoding="utf-8"))
    assert local_state.of_gpus(report.gpus) == found
    # It goes through a heartbeat as it is.
    assert heartbeat.read(heartbeat.write(replace(BEAT, gpus=found))).gpus == found


def test_lost_gpu_is_in_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Unable to determine the device handle for GPU1: 0000:02:00.0: Unknown Error\n"
    text = (FIXTURES / "nvidia_smi" / "v100s-460.xml").read_text(encoding="utf-8")
    monkeypatch.setattr(command, "run", lambda argv, _time_s: (15, text + said))
    gpus = local_state.Gpus()
    gpus.refresh()
    assert gpus.readings == (heartbeat.Gpu(0, "Tesla V100S-PCIE-32GB", 31689, 32510, 66, 97),)
    assert gpus.lost == (heartbeat.LostGpu("GPU 1 (0000:02:00.0)", "Unknown Error"),)
    beat = replace(BEAT, lost_gpus=gpus.lost)
    assert heartbeat.read(heartbeat.write(beat)).lost_gpus == gpus.lost
    row = cluster_status.as_rows({"n1": PeerObservation("heartbeat", beat)})[0]
    assert row["note"].endswith("GPU 1 (0000:02:00.0) is lost: Unknown Error")


def test_binding_of_a_running_engine_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for node, listed in ((0, "0-19"), (1, "20-39")):
        file = tmp_path / f"devices/system/node/node{node}/cpulist"
        file.parent.mkdir(parents=True)
        file.write_text(f"{listed}\n", encoding="ascii")
    unit = local_state.ObservedUnit("llama-head.service")
    unit.unit, unit.process = local_state.Unit(pid=7), local_state.Process(started=1)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "numa_maps").write_text("00400000 prefer:1 file=/bin/x mapped=1\n", encoding="ascii")
    status = tmp_path / "7" / "status"
    status.write_text("Name:\tllama-server\nMems_allowed:\t00000003\nMems_allowed_list:\t0-1\n", encoding="ascii")
    monkeypatch.setattr(local_state, "PROC", tmp_path)
    processors = set(range(40))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: processors if pid == 7 else set())
    bindings = local_state.Bindings(Sysfs(tmp_path))
    where = "NUMA nodes 0-1, processors 0-39, memory prefer:1"
    found = bindings.of([unit, local_state.ObservedUnit("llama-rpc.service")])
    assert found == (heartbeat.EngineBinding("llama-head.service", False, where),)
    # The next process is another one.
    processors, unit.process = set(range(20, 40)), local_state.Process(started=2)
    (after,) = bindings.of([unit])
    assert (after.bound, after.where) == (True, "NUMA node 1, processors 20-39, memory prefer:1")
    status.write_text("Mems_allowed_list:\t0\n", encoding="ascii")
    unit.process = local_state.Process(started=3)
    (kept,) = bindings.of([unit])
    assert (kept.bound, kept.where.endswith("memory prefer:1, memory only of node 0")) == (False, True)
    beat = replace(BEAT, bindings=found)
    assert heartbeat.read(heartbeat.write(beat)).bindings == found
    row = cluster_status.as_rows({"n1": PeerObservation("heartbeat", beat)})[0]
    assert f"llama-head.service is not bound to one NUMA node ({where})" in row["note"]


def test_host_with_one_numa_node_has_no_bindings(tmp_path: Path) -> None:
    unit = local_state.ObservedUnit("llama-head.service")
    unit.process = local_state.Process(started=1)
    assert local_state.Bindings(Sysfs(tmp_path)).of([unit]) == ()


def test_start_of_a_process_is_in_seconds_whatever_the_kernels_tick(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S", *"1" * 10, "300", "100", *"1" * 6, "150050"]
    (tmp_path / "7" / "stat").write_text(f"7 (llama (x) S) {' '.join(fields)}\n", encoding="ascii")
    (tmp_path / "7" / "cmdline").write_bytes(b"llama-server\0--port\0")
    monkeypatch.setattr(local_state, "PROC", tmp_path)
    for ticks, found in ((100, (1500.5, 4.0)), (250, (600.2, 1.6))):
        monkeypatch.setattr(os, "sysconf", lambda _name, ticks=ticks: ticks)
        process = local_state.process(7)
        assert (process.started, process.cpu_s) == found


def test_binding_of_each_engine_of_the_node_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "agent.json"
    config.write_text(json.dumps({**AGENT, "run_dir": str(tmp_path)}), encoding="utf-8")
    monkeypatch.setattr(local_state, "ask_unit", lambda _name: None)
    agent, asked = daemon.Agent(settings.read_settings(str(config))), set[str]()

    def of(observed: Sequence[local_state.ObservedUnit]) -> tuple[heartbeat.EngineBinding, ...]:
        asked.update(unit.name for unit in observed)
        return tuple(heartbeat.EngineBinding(unit.name, True, "NUMA node 0") for unit in observed)

    monkeypatch.setattr(agent.bindings, "of", of)
    agent.tick()
    agent.router.end()
    assert asked == set(units.BY_GROUP.values())
    assert {one.unit for one in heartbeat.read(agent.published).bindings} == asked
