# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a node as its heartbeat holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.common import command
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
