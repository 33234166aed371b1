# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a node as its heartbeat holds it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import command
from ansible_collections.herd.inference.plugins.module_utils.agent.common.sysfs import Sysfs
from ansible_collections.herd.inference.plugins.module_utils.agent.supervisor import local_state
from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi as nvidia_smi_report
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import cluster_status, heartbeat
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.observations import PeerObservation
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
    beat = replace(BEAT, bindings=found)
    assert heartbeat.read(heartbeat.write(beat)).bindings == found
    row = cluster_status.as_rows({"n1": PeerObservation("heartbeat", beat)})[0]
    assert f"llama-head.service is not bound to one NUMA node ({where})" in row["note"]


def test_host_with_one_numa_node_has_no_bindings(tmp_path: Path) -> None:
    unit = local_state.ObservedUnit("llama-head.service")
    unit.process = local_state.Process(started=1)
    assert local_state.Bindings(Sysfs(tmp_path)).of([unit]) == ()
