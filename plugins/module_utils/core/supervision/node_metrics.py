# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert what the agent knows of its node to metrics. An unknown value (None, or -1 in a heartbeat) has no series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..host import nvidia_smi
from ..host.hardware.port_counters import FabricInterface
from . import metric_names as names
from .heartbeat import Disk, Head, Service, Worker
from .metrics_text import MetricsText

MIB = 1 << 20
MHZ = 1_000_000
#: Metrics of an engine's counters, by the engine's own names.
ENGINE_COUNTERS = {
    "prompt_tokens_total": "herd_engine_prompt_tokens_total",
    "prompt_seconds_total": "herd_engine_prompt_seconds_total",
    "tokens_predicted_total": "herd_engine_generated_tokens_total",
    "tokens_predicted_seconds_total": "herd_engine_generated_seconds_total",
    "n_decode_total": "herd_engine_decodes_total",
    "spec_decode_num_draft_tokens_total": "herd_engine_draft_tokens_total",
    "spec_decode_num_accepted_tokens_total": "herd_engine_draft_accepted_tokens_total",
}


def _known(count: float) -> float | None:
    return None if count < 0 else count


def add_service(text: MetricsText, service: Service) -> None:
    """Add a unit: its state, its restarts and the release of its process."""
    text.add_states("herd_unit_state", names.UNIT_STATES, service.active, service.unit)
    text.add("herd_unit_restarts_total", service.restarts, service.unit)
    text.add("herd_unit_query_age_seconds", service.unit_age_s, service.unit)
    if service.release:
        text.add("herd_release_info", 1, service.unit, service.release)


def add_head(text: MetricsText, head: Head) -> None:
    """Add a head or a router: what supervision says, and its health."""
    text.add_states("herd_group_state", names.GROUP_STATES, head.supervision, head.unit)
    text.add("herd_group_draining", head.draining, head.unit)
    for worker in head.workers:
        text.add("herd_group_worker_connected", worker not in head.lost, worker)
    if head.health:
        text.add("herd_engine_healthy", head.health == "ok", head.unit)
        text.add("herd_engine_loading", head.health == "loading", head.unit)


def add_worker(text: MetricsText, worker: Worker) -> None:
    """Add the RPC worker of the node."""
    text.add("herd_worker_listening", worker.listening)
    text.add("herd_worker_connections", len(worker.clients))
    text.add("herd_worker_stale_connections", worker.stale)


def add_recoveries(text: MetricsText, unit: str, causes: Mapping[str, int]) -> None:
    """Add the recoveries of a unit, with the causes that did not occur."""
    for cause in names.CAUSES:
        text.add("herd_recoveries_total", causes.get(cause, 0), unit, cause)


def add_engine(
    text: MetricsText, unit: str, model: str, slots: tuple[int, int, int], counters: Mapping[str, float], age_s: float
) -> None:
    """Add the slots and counters of an engine's process.

    :param slots: all, busy, and requests that wait; -1 is unknown.
    :param age_s: age of the counters.
    """
    labels = (unit, model)
    for name, count in zip(("slots", "slots_busy", "requests_waiting"), slots):
        text.add(f"herd_engine_{name}", _known(count), *labels)
    for name, metric in ENGINE_COUNTERS.items():
        text.add(metric, counters.get(name), *labels)
    if counters:
        text.add("herd_engine_sample_age_seconds", age_s, *labels)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None or value < 0 else value * factor


def add_gpu(text: MetricsText, gpu: nvidia_smi.Gpu, driver: str) -> None:
    """Add one GPU."""
    label = str(gpu.index)
    text.add("herd_gpu_info", 1, label, gpu.name, gpu.uuid, driver)
    text.add("herd_gpu_memory_used_bytes", _scaled(gpu.used_mib, MIB), label)
    text.add("herd_gpu_memory_total_bytes", _scaled(gpu.total_mib, MIB), label)
    text.add("herd_gpu_utilization_ratio", _scaled(gpu.utilisation_percent, 0.01), label)
    text.add("herd_gpu_power_watts", gpu.power_w, label)
    text.add("herd_gpu_power_limit_watts", gpu.power_limit_w, label)
    text.add("herd_gpu_temperature_celsius", gpu.temperature_c, label)
    text.add("herd_gpu_sm_clock_hertz", _scaled(gpu.sm_clock_mhz, MHZ), label)
    text.add("herd_gpu_memory_clock_hertz", _scaled(gpu.memory_clock_mhz, MHZ), label)
    text.add("herd_gpu_ecc_uncorrected_total", gpu.ecc_uncorrected, label)
    text.add("herd_gpu_ecc_corrected_total", gpu.ecc_corrected, label)
    if gpu.throttle_reasons is not None:
        found = {reason if reason in names.THROTTLE_REASONS else "other" for reason in gpu.throttle_reasons}
        for reason in names.THROTTLE_REASONS:
            text.add("herd_gpu_throttled", reason in found, label, reason)


def add_gpus(text: MetricsText, report: nvidia_smi.GpuReport | None, age_s: float | None) -> None:
    """Add the GPUs of a node with nvidia-smi.

    :param report: the last answer of nvidia-smi; None if it describes no usable GPU.
    :param age_s: age of its last answer that did; None before the first one.
    """
    text.add("herd_gpu_up", report is not None)
    text.add("herd_gpu_sample_age_seconds", age_s)
    if report is not None:
        text.add("herd_gpu_lost", len(report.lost))
        for gpu in report.gpus:
            add_gpu(text, gpu, report.driver)


def add_fabric(text: MetricsText, interface: FabricInterface) -> None:
    """Add the interface of the fabric address and the ports below it."""
    name = interface.name
    text.add("herd_fabric_interface_up", interface.is_up, name)
    if interface.traffic is not None:
        text.add("herd_fabric_interface_received_bytes_total", interface.traffic.received_bytes, name)
        text.add("herd_fabric_interface_transmitted_bytes_total", interface.traffic.sent_bytes, name)
    for kind, count in interface.errors.items():
        text.add("herd_fabric_interface_errors_total", count, name, kind)
    for port in interface.ports:
        labels = (port.device, str(port.number))
        text.add("herd_fabric_port_up", port.is_up, *labels)
        text.add("herd_fabric_port_rate_bytes_per_second", port.rate, *labels)
        if port.traffic is not None:
            text.add("herd_fabric_port_received_bytes_total", port.traffic.received_bytes, *labels)
            text.add("herd_fabric_port_transmitted_bytes_total", port.traffic.sent_bytes, *labels)
        for kind, count in port.errors.items():
            text.add("herd_fabric_port_errors_total", count, *labels, kind)


def add_disks(text: MetricsText, disks: Iterable[Disk]) -> None:
    """Add the file systems. One that does not answer has only a state."""
    for disk in disks:
        text.add("herd_disk_free_bytes", _scaled(disk.free_mib, MIB), disk.path)
        text.add("herd_disk_size_bytes", _scaled(disk.total_mib, MIB), disk.path)
        text.add_states("herd_disk_state", names.DISK_STATES, disk.state, disk.path)
