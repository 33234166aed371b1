# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the agent and of the gateway: name, type, unit, labels and help of each.

An unknown value has no series; it is never 0. Units are base units, as Prometheus recommends: bytes, seconds, ratio
(0 to 1), watts, celsius, hertz. A stateset has one series for each state, 1 for the present state and 0 for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

AGENT, GATEWAY = "agent", "gateway"
GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
#: The values of label C(state) of the statesets.
UNIT_STATES = ("active", "activating", "deactivating", "reloading", "inactive", "failed")
GROUP_STATES = (
    "starting", "loading", "watching", "held", "mute", "draining", "waiting", "recovering", "stopped",
)  # fmt: skip
DISK_STATES = ("ok", "low", "full", "silent")
#: The values of label C(cause) of recoveries.
LOST_WORKER, STANDSTILL, HUNG, OTHER_RELEASE, EXITED, STALE = "worker", "standstill", "hung", "release", "exit", "stale"
CAUSES = (LOST_WORKER, STANDSTILL, HUNG, OTHER_RELEASE, EXITED, STALE)
#: The values of label C(reason) of throttled GPUs; C(other) is any other reason of the driver.
THROTTLE_REASONS = (
    "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown",
    "sync_boost", "other",
)  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """One metric.

    :param name: the whole name, with the unit, and C(_total) of a counter.
    :param kind: C(gauge), C(counter) or C(histogram).
    :param unit: the base unit; empty for a count, a state or a flag of 0 and 1.
    :param program: C(agent) or C(gateway).
    """

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    help: str
    program: str = AGENT


def _gauge(name: str, labels: str, text: str, unit: str = "", program: str = AGENT) -> Metric:
    return Metric(name, GAUGE, unit, tuple(labels.split()), text, program)


def _counter(name: str, labels: str, text: str, unit: str = "", program: str = AGENT) -> Metric:
    return Metric(name, COUNTER, unit, tuple(labels.split()), text, program)


def _histogram(name: str, text: str) -> Metric:
    return Metric(name, HISTOGRAM, "seconds", ("tier",), text, GATEWAY)


#: All metrics, by section of the page.
SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Agent and node": (
        _gauge("herd_agent_info", "node version", "1; version is that of the installed files of the agent."),
        _gauge("herd_agent_start_time_seconds", "", "When the agent started, since 1970.", "seconds"),
        _gauge("herd_agent_tick_age_seconds", "", "Time since the agent last observed its node.", "seconds"),
        _counter("herd_agent_cpu_seconds_total", "", "Processor time of the agent and of its programs.", "seconds"),
        _gauge("herd_node_boot_time_seconds", "", "When the node was started, since 1970.", "seconds"),
        _gauge("herd_node_held", "", "Whether an operator holds the node (herdctl hold)."),
    ),
    "Units": (
        _gauge("herd_unit_state", "unit state", "Stateset: the state of a unit of the engines, by systemd."),
        _counter("herd_unit_restarts_total", "unit", "Restarts by systemd since the unit was last started by hand."),
        _gauge("herd_unit_query_age_seconds", "unit", "Age of systemd's last answer on the unit.", "seconds"),
        _gauge("herd_unit_process_start_time_seconds", "unit", "When its process started, since 1970.", "seconds"),
        _counter("herd_unit_process_cpu_seconds_total", "unit", "Processor time of its process.", "seconds"),
        _gauge("herd_unit_process_stopped", "unit", "Whether its process is stopped (SIGSTOP)."),
        _gauge("herd_release_info", "unit release", "1; the release of which its process runs."),
        _gauge("herd_model_info", "unit model file", "1; a model that its process serves, and the name of its file."),
    ),
    "Group": (
        _gauge("herd_group_state", "unit state", "Stateset: the agent's view of a head or a router."),
        _counter("herd_recoveries_total", "unit cause", "Recoveries that this agent began, since it started."),
        _gauge("herd_group_worker_connected", "worker", "Whether the head has a connection to the worker."),
        _gauge("herd_group_draining", "unit", "Whether the head accepts no new work, because it is drained."),
        _gauge("herd_peer_up", "peer", "Whether the peer's last answer was a valid heartbeat."),
        _gauge("herd_peer_heartbeat_age_seconds", "peer", "Age of the peer's last valid heartbeat.", "seconds"),
        _gauge("herd_peer_release_info", "peer release", "1; the release of the peer's worker, by its heartbeat."),
        _gauge("herd_worker_listening", "", "Whether the worker on this node listens on its port."),
        _gauge("herd_worker_connections", "", "Established connections of the worker on this node."),
        _gauge("herd_worker_stale_connections", "", "Connections that the client has closed and the worker has not."),
    ),
    "Engine": (
        _gauge("herd_engine_healthy", "unit", "Whether /health of the head or router says ok."),
        _gauge("herd_engine_loading", "unit", "Whether /health says that a model is being loaded."),
        _gauge("herd_engine_slots", "unit model", "Slots for requests of a head, or of a model of a router."),
        _gauge("herd_engine_slots_busy", "unit model", "Slots that work on a request."),
        _gauge("herd_engine_requests_waiting", "unit model", "Requests that wait for a slot."),
        _counter("herd_engine_prompt_tokens_total", "unit model", "Computed prompt tokens, counted at its end."),
        _counter("herd_engine_prompt_seconds_total", "unit model", "Time in which these were computed.", "seconds"),
        _counter("herd_engine_generated_tokens_total", "unit model", "Generated tokens, counted when a request ends."),
        _counter("herd_engine_generated_seconds_total", "unit model", "Time in which these were generated.", "seconds"),
        _counter("herd_engine_decodes_total", "unit model", "Steps of the engine, which grow while it works."),
        _counter("herd_engine_draft_tokens_total", "unit model", "Tokens that speculation drafted."),
        _counter("herd_engine_draft_accepted_tokens_total", "unit model", "Drafted tokens that the model accepted."),
        _gauge("herd_engine_sample_age_seconds", "unit model", "Age of these counters.", "seconds"),
    ),
    "GPUs": (
        _gauge("herd_gpu_info", "gpu name uuid driver", "1; names the GPU of an index."),
        _gauge("herd_gpu_up", "", "Whether nvidia-smi describes a usable GPU; absent on a node without nvidia-smi."),
        _gauge("herd_gpu_lost", "", "GPUs that the driver lists and cannot use."),
        _gauge("herd_gpu_sample_age_seconds", "", "Age of the last answer of nvidia-smi.", "seconds"),
        _gauge("herd_gpu_memory_used_bytes", "gpu", "Memory in use.", "bytes"),
        _gauge("herd_gpu_memory_total_bytes", "gpu", "Memory of the GPU.", "bytes"),
        _gauge("herd_gpu_utilization_ratio", "gpu", "Share of time in which a kernel ran.", "ratio"),
        _gauge("herd_gpu_power_watts", "gpu", "Power draw.", "watts"),
        _gauge("herd_gpu_power_limit_watts", "gpu", "Power limit in force.", "watts"),
        _gauge("herd_gpu_temperature_celsius", "gpu", "Temperature of the GPU.", "celsius"),
        _gauge("herd_gpu_sm_clock_hertz", "gpu", "Clock of the multiprocessors.", "hertz"),
        _gauge("herd_gpu_memory_clock_hertz", "gpu", "Clock of the memory.", "hertz"),
        _gauge("herd_gpu_throttled", "gpu reason", "Whether the clocks are limited for this reason."),
        _counter("herd_gpu_ecc_uncorrected_total", "gpu", "Uncorrected ECC errors since the driver was loaded."),
        _counter("herd_gpu_ecc_corrected_total", "gpu", "Corrected ECC errors since the driver was loaded."),
    ),
    "Fabric": (
        _gauge("herd_fabric_port_up", "device port", "Whether the adapter's port is ACTIVE."),
        _gauge("herd_fabric_port_rate_bytes_per_second", "device port", "Rate of the port's link.", "bytes per second"),
        _counter("herd_fabric_port_received_bytes_total", "device port", "Bytes received, with RDMA.", "bytes"),
        _counter("herd_fabric_port_transmitted_bytes_total", "device port", "Bytes transmitted, with RDMA.", "bytes"),
        _counter("herd_fabric_port_errors_total", "device port kind", "Errors, by the adapter's counter."),
        _gauge("herd_fabric_interface_up", "interface", "Whether the interface of the fabric address is up."),
        _counter("herd_fabric_interface_received_bytes_total", "interface", "Bytes received.", "bytes"),
        _counter("herd_fabric_interface_transmitted_bytes_total", "interface", "Bytes transmitted.", "bytes"),
        _counter("herd_fabric_interface_errors_total", "interface kind", "Errors and drops, by the kernel's counter."),
        _gauge("herd_fabric_sample_age_seconds", "", "Age of the fabric's counters.", "seconds"),
    ),
    "Disks and downloads": (
        _gauge("herd_disk_free_bytes", "path", "Free space for users of the file system of a path.", "bytes"),
        _gauge("herd_disk_size_bytes", "path", "Size of the file system.", "bytes"),
        _gauge("herd_disk_state", "path state", "Stateset: the state of the file system, by the limits of the site."),
        _gauge("herd_download_written_bytes", "file", "Bytes so far of a download that is not complete.", "bytes"),
        _gauge("herd_download_write_age_seconds", "file", "Time since the download last wrote.", "seconds"),
    ),
    "Certificates": (
        _gauge("herd_certificate_expiry_time_seconds", "unit", "When the API's certificate expires.", "seconds"),
        _gauge("herd_api_key_change_time_seconds", "unit", "When the API's key file was last changed.", "seconds"),
    ),
    "Tiers, at the gateway": (
        _gauge("herd_tier_ready", "tier", "Whether the tier is ready.", program=GATEWAY),
        _gauge("herd_tier_state", "tier state", "Whether the tier is in this state.", program=GATEWAY),
        _gauge("herd_tier_state_since_time_seconds", "tier", "When this gateway first saw the tier in its state.",
               "seconds", GATEWAY),
        _gauge("herd_tier_endpoints", "tier", "Live engines of the tier.", program=GATEWAY),
        _gauge("herd_tier_loaded_ratio", "tier", "Loaded part of the model, while it loads.", "ratio", GATEWAY),
        _gauge("herd_tier_expected_time_seconds", "tier", "When the tier is expected to serve again.",
               "seconds", GATEWAY),
        _gauge("herd_tiers_status_age_seconds", "", "Age of the status of all tiers. Above 10 its writer is silent.",
               "seconds", GATEWAY),
        _gauge("herd_tiers_problems", "", "Problems beyond one tier, such as a silent Slurm.", program=GATEWAY),
    ),
    "Requests, at the gateway": (
        _counter("herd_gateway_requests_total", "tier status", "Requests to a tier, by status.", program=GATEWAY),
        _counter("herd_gateway_refused_total", "code", "Requests refused before any tier was asked, by code.",
                 program=GATEWAY),
        _counter("herd_gateway_cut_total", "tier", "Responses that ended early.", program=GATEWAY),
        _counter("herd_gateway_sent_bytes_total", "tier", "Bytes of response bodies.", "bytes", GATEWAY),
        _counter("herd_gateway_tokens_total", "tier kind", "Tokens, as the engine counts them.", program=GATEWAY),
        _counter("herd_gateway_project_requests_total", "project", "Requests to a tier, by the project of their key.",
                 program=GATEWAY),
        _counter("herd_gateway_project_tokens_total", "project kind", "Tokens by project, as usage counts them.",
                 program=GATEWAY),
        _gauge("herd_gateway_in_flight", "tier", "Requests at an engine or in its queue.", program=GATEWAY),
        _gauge("herd_gateway_held_bytes", "", "Bytes of request bodies that the gateway holds.", "bytes", GATEWAY),
        _histogram("herd_gateway_ttft_seconds", "Time to the first token of a stream."),
        _histogram("herd_gateway_duration_seconds", "Time of a whole request."),
    ),
}  # fmt: skip
METRICS: dict[str, Metric] = {metric.name: metric for metrics in SECTIONS.values() for metric in metrics}
