# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of a node become series; unknown ones do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from ansible_collections.herd.inference.plugins.module_utils.core.host import nvidia_smi
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.port_counters import (
    FabricInterface,
    FabricPort,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.traffic import Traffic
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names, node_metrics
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.heartbeat import Disk, Head
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.metrics_text import MetricsText
from tests.unit.core.supervision.test_heartbeat import WORKER

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nvidia_smi"
HEAD = Head(
    unit="llama-head.service", active="active", sub="running", job=False, pid=1, started=2, restarts=3, release="r1",
    unit_age_s=0.5, api="10.0.0.1:8000", health="ok", workers=("a", "b"), lost=("b",), slots=4, busy=1, waiting=-1,
    tokens_total=7, tokens_per_second=0.0, supervision="watching", reason="", recoveries=0, draining=False,
)  # fmt: skip


def series(text: MetricsText) -> dict[str, float]:
    """Return the values by name and the labels' values."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text.text().decode())
        for sample in family.samples
    }


def report(name: str) -> nvidia_smi.GpuReport:
    return nvidia_smi.read(0, (FIXTURES / name).read_text(encoding="utf-8"))


def test_gpu_has_its_values_in_base_units() -> None:
    text = MetricsText()
    node_metrics.add_gpus(text, report("v100s-460.xml"), 2.5)
    found = series(text)
    assert found["herd_gpu_up"] == 1
    assert found["herd_gpu_sample_age_seconds"] == 2.5
    assert found["herd_gpu_memory_used_bytes 0"] == 31689 * 2**20
    assert found["herd_gpu_utilization_ratio 0"] == pytest.approx(0.97)
    assert found["herd_gpu_power_watts 0"] == 232.8
    assert found["herd_gpu_power_limit_watts 0"] == 250
    assert found["herd_gpu_temperature_celsius 0"] == 66
    assert (found["herd_gpu_ecc_corrected_total 0"], found["herd_gpu_ecc_uncorrected_total 0"]) == (0, 0)


def test_unknown_values_of_a_gpu_have_no_series() -> None:
    text = MetricsText()
    node_metrics.add_gpus(text, report("a100-mig-510.xml"), None)
    found = series(text)
    assert not [name for name in found if "ecc" in name or "power_limit" in name or "utilization" in name]
    assert "herd_gpu_sample_age_seconds" not in found


def test_gpus_that_do_not_answer_are_down_without_values() -> None:
    text = MetricsText()
    node_metrics.add_gpus(text, None, 40.0)
    assert series(text) == {"herd_gpu_up": 0, "herd_gpu_sample_age_seconds": 40}


def test_throttle_reasons_are_a_fixed_set() -> None:
    (gpu,) = report("v100s-460.xml").gpus
    text = MetricsText()
    node_metrics.add_gpu(text, replace(gpu, throttle_reasons=("sw_power_cap", "a_new_one")), "570.1")
    found = {name.split()[-1]: value for name, value in series(text).items() if "throttled" in name}
    assert {name for name, value in found.items() if value} == {"sw_power_cap", "other"}
    assert set(found) == set(metric_names.THROTTLE_REASONS)


def test_clocks_are_in_hertz() -> None:
    (gpu,) = report("v100s-460.xml").gpus
    text = MetricsText()
    node_metrics.add_gpu(text, replace(gpu, sm_clock_mhz=1380, memory_clock_mhz=1107), "570.1")
    found = series(text)
    assert (found["herd_gpu_sm_clock_hertz 0"], found["herd_gpu_memory_clock_hertz 0"]) == (1.38e9, 1.107e9)


def test_head_has_state_release_and_connections() -> None:
    text = MetricsText()
    node_metrics.add_service(text, HEAD)
    node_metrics.add_head(text, HEAD)
    found = series(text)
    assert found["herd_unit_state llama-head.service active"] == 1
    assert found["herd_unit_state llama-head.service failed"] == 0
    assert found["herd_unit_restarts_total llama-head.service"] == 3
    assert found["herd_release_info llama-head.service r1"] == 1
    assert found["herd_group_state llama-head.service watching"] == 1
    assert (found["herd_group_worker_connected a"], found["herd_group_worker_connected b"]) == (1, 0)
    assert found["herd_engine_healthy llama-head.service"] == 1


def test_head_without_process_has_no_health() -> None:
    text = MetricsText()
    node_metrics.add_head(text, replace(HEAD, health="", supervision="stopped", workers=(), lost=()))
    found = series(text)
    assert not [name for name in found if "engine" in name]
    assert found["herd_group_state llama-head.service stopped"] == 1


def test_worker_has_its_connections() -> None:
    text = MetricsText()
    node_metrics.add_worker(text, replace(WORKER, clients=("10.0.0.1:1", "10.0.0.1:2"), stale=1, listening=False))
    assert series(text) == {
        "herd_worker_listening": 0,
        "herd_worker_connections": 2,
        "herd_worker_stale_connections": 1,
    }


def test_each_cause_of_a_recovery_has_a_series() -> None:
    text = MetricsText()
    node_metrics.add_recoveries(text, "llama-head.service", {metric_names.HUNG: 2})
    found = {name.split()[-1]: value for name, value in series(text).items()}
    assert found == {**dict.fromkeys(metric_names.CAUSES, 0), metric_names.HUNG: 2}


@pytest.mark.parametrize(
    ("slots", "counters", "names"),
    [
        ((4, 0, -1), {}, {"slots", "slots_busy"}),
        ((-1, -1, -1), {}, set()),
        ((-1, -1, 2), {"n_decode_total": 5, "predicted_tokens_seconds": 9},
         {"requests_waiting", "decodes_total", "sample_age_seconds"}),
    ],
)  # fmt: skip
def test_unknown_values_of_an_engine_have_no_series(slots: Any, counters: dict[str, float], names: set[str]) -> None:
    text = MetricsText()
    node_metrics.add_engine(text, "llama-head.service", "m", slots, counters, 0.5)
    assert set(series(text)) == {f"herd_engine_{name} llama-head.service m" for name in names}


def test_fabric_has_ports_and_interface() -> None:
    text = MetricsText()
    ports = (FabricPort("mlx5_0", 1, True, 12.5e9, Traffic(("mlx5_0/1",), 100, 200), {"symbol_error": 7}),)
    node_metrics.add_fabric(text, FabricInterface("ib0", None, None, {"rx_dropped": 1}, ports))
    assert series(text) == {
        "herd_fabric_interface_errors_total ib0 rx_dropped": 1,
        "herd_fabric_port_up mlx5_0 1": 1,
        "herd_fabric_port_rate_bytes_per_second mlx5_0 1": 12.5e9,
        "herd_fabric_port_received_bytes_total mlx5_0 1": 100,
        "herd_fabric_port_transmitted_bytes_total mlx5_0 1": 200,
        "herd_fabric_port_errors_total mlx5_0 1 symbol_error": 7,
    }


def test_silent_disk_has_only_a_state() -> None:
    text = MetricsText()
    node_metrics.add_disks(text, [Disk("/opt", 10, 20, "low"), Disk("/nfs", -1, -1, "silent")])
    found = series(text)
    assert (found["herd_disk_free_bytes /opt"], found["herd_disk_size_bytes /opt"]) == (10 << 20, 20 << 20)
    assert found["herd_disk_state /nfs silent"] == 1
    assert not [name for name in found if "_bytes /nfs" in name]
