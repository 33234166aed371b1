# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows, panels and queries of the dashboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

GRAPH, VALUE, STATES = "graph", "value", "states"
#: Value from which a level holds; None is the lowest.
Levels = Sequence[tuple[float | None, str]]
GOOD_IS_ONE: Levels = ((None, "critical"), (1, "ok"))
GOOD_IS_ZERO: Levels = ((None, "ok"), (1, "critical"))
#: The targets of the cluster's documents: acceptable and critical values.
TTFT: Levels = ((None, "ok"), (5, "warning"), (10, "critical"))
TOKENS: Levels = ((None, "critical"), (8, "warning"), (10, "ok"))
UTILIZATION: Levels = ((None, "critical"), (0.4, "warning"), (0.5, "ok"))


@dataclass(frozen=True)
class Panel:
    """A panel.

    :param queries: each with its legend.
    :param unit: Grafana's name of the unit.
    :param width: columns of 24.
    :param is_share: whether its axis goes from 0 to 1.
    """

    title: str
    text: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = GRAPH
    levels: Levels = ()
    width: int = 12
    height: int = 0
    is_share: bool = False


@dataclass(frozen=True)
class Board:
    """A dashboard.

    :param variables: name and query of each variable.
    :param rows: panels by the title of their row.
    """

    name: str
    title: str
    text: str
    rows: Mapping[str, Sequence[Panel]]
    variables: Mapping[str, str] = field(default_factory=dict)


def _value(title: str, text: str, query: str, levels: Levels, unit: str = "short") -> Panel:
    return Panel(title, text, [(query, "")], unit, VALUE, levels, width=4, height=4)


CLUSTER = Board(
    "cluster",
    "cluster",
    "The whole service: whether it answers, how fast, and how hard the hardware works.",
    {
        "Now": (
            _value("Engines that answer", "Heads and routers whose /health says ok.",
                   "sum(herd_engine_healthy) or vector(0)", ((None, "critical"), (1, "ok"))),
            _value("Agents", "Nodes whose agent gives metrics.", 'sum(up{job="herd_agent"})', GOOD_IS_ONE),
            _value("Silent agents", "Nodes whose agent gives none.", 'count(up{job="herd_agent"} == 0) or vector(0)',
                   GOOD_IS_ZERO),
            _value("Alerts", "Alerts of herd that fire.",
                   'count(ALERTS{alertname=~"Herd.*", alertstate="firing"}) or vector(0)', GOOD_IS_ZERO),
            _value("Requests that run", "Slots that work on a request.", "sum(herd_engine_slots_busy)", ()),
            _value("Releases", "Releases of the engine that run. It must be one.",
                   "count(count by (release) (herd_release_info))", ((None, "ok"), (2, "critical"))),
        ),
        "Speed": (
            Panel("Generated tokens", "Of all requests together. The engine counts a request when it ends.",
                  [("host:herd_engine_generated_tokens:rate5m", "{{host}} {{unit}}")]),
            Panel("Tokens a second of one request", "Below 8 is critical, below 10 not acceptable.",
                  [("host:herd_engine_tokens_per_second:rate15m", "{{host}} {{unit}}")], levels=TOKENS),
            Panel("Steps of the engines", "The only counter that grows while a request runs.",
                  [("rate(herd_engine_decodes_total[5m])", "{{host}} {{unit}}")]),
            Panel("Busy and waiting requests", "Requests in slots, and those that wait for one.",
                  [("herd_engine_slots_busy", "{{host}} {{unit}} busy"),
                   ("herd_engine_requests_waiting", "{{host}} {{unit}} waiting")]),
        ),
        "State": (
            Panel("Groups", "What each head or router does, as its agent sees it.",
                  [("herd_group_state == 1", "{{host}} {{unit}} {{state}}")], kind=STATES),
            Panel("Recoveries in an hour", "Restarts by the agents, by their cause.",
                  [("sum by (host, unit, cause) (increase(herd_recoveries_total[1h]))",
                    "{{host}} {{unit}} {{cause}}")]),
        ),
        "GPUs and fabric": (
            Panel("GPU use", "While requests run, below 40 % is critical and below 50 % not acceptable.",
                  [("herd_gpu_utilization_ratio", "{{host}} {{gpu}}")], "percentunit", levels=UTILIZATION,
                  is_share=True),
            Panel("GPU memory", "Memory in use, and the site's critical value.",
                  [("herd_gpu_memory_used_bytes", "{{host}} {{gpu}}"), ("herd:limit:gpu_memory_bytes", "critical")],
                  "bytes"),
            Panel("Fabric", "Bytes that leave each node by its adapter, with RDMA, or by its interface.",
                  [("rate(herd_fabric_port_transmitted_bytes_total[5m])", "{{host}} {{device}}"),
                   ("rate(herd_fabric_interface_transmitted_bytes_total[5m])", "{{host}} {{interface}}")], "Bps"),
            Panel("Power", "Of each GPU.", [("herd_gpu_power_watts", "{{host}} {{gpu}}")], "watt"),
        ),
    },
)  # fmt: skip

_TIER = 'tier=~"$tier"'
_DURATIONS = f"sum by (tier, le) (rate(herd_gateway_duration_seconds_bucket{{{_TIER}}}[15m]))"
TIER = Board(
    "tier",
    "tier",
    "One tier behind the gateway: its state, its users' waiting time, and its engine.",
    {
        "Now": (
            _value("Ready", "Whether the tier takes requests.", f"min(herd_tier_ready{{{_TIER}}})", GOOD_IS_ONE),
            _value("Ready in a day", "Share of the last 24 hours.", f"avg(tier:herd_tier_ready:avg1d{{{_TIER}}})",
                   ((None, "critical"), (0.95, "warning"), (0.99, "ok")), "percentunit"),
            _value("In flight", "Requests at the engine or in its queue.",
                   f"sum(herd_gateway_in_flight{{{_TIER}}})", ()),
            _value("First token, p95", "Below 5 s is acceptable, above 10 s critical.",
                   f"max(tier:herd_gateway_ttft_seconds:p95_15m{{{_TIER}}})", TTFT, "s"),
            _value("Engines", "Live engines of the tier.", f"sum(herd_tier_endpoints{{{_TIER}}})", ()),
            _value("Held bodies", "Bytes of request bodies in the gateway's memory.", "sum(herd_gateway_held_bytes)",
                   (), "bytes"),
        ),
        "Requests": (
            Panel("State", "Ready, loading, pending, preempted and so on.",
                  [(f"herd_tier_state{{{_TIER}}} == 1", "{{tier}} {{state}}")], kind=STATES),
            Panel("Requests a second", "By HTTP status.",
                  [(f"tier:herd_gateway_requests:rate5m{{{_TIER}}}", "{{tier}} {{status}}")], "reqps"),
            Panel("Time to the first token", "Of streams.",
                  [(f"tier:herd_gateway_ttft_seconds:p50_15m{{{_TIER}}}", "{{tier}} p50"),
                   (f"tier:herd_gateway_ttft_seconds:p95_15m{{{_TIER}}}", "{{tier}} p95")], "s", levels=TTFT),
            Panel("Time of a request", "From its first byte to its end.",
                  [(f"histogram_quantile(0.5, {_DURATIONS})", "{{tier}} p50"),
                   (f"histogram_quantile(0.95, {_DURATIONS})", "{{tier}} p95")], "s"),
            Panel("Tokens a second", "Of prompts and of answers.",
                  [(f"tier:herd_gateway_tokens:rate5m{{{_TIER}}}", "{{tier}} {{kind}}")]),
            Panel("Responses that end early", "Because an engine ended or a client left.",
                  [(f"sum by (tier) (rate(herd_gateway_cut_total{{{_TIER}}}[5m]))", "{{tier}}")], "reqps"),
        ),
        "Engines, by their own metrics": (
            Panel("llama.cpp: requests", "In slots, and those that wait.",
                  [("llamacpp:requests_processing", "{{host}} {{tier}} running"),
                   ("llamacpp:requests_deferred", "{{host}} {{tier}} waiting")]),
            Panel("llama.cpp: tokens a second", "Prompts without their cached part, cached prompts, and answers.",
                  [("rate(llamacpp:prompt_tokens_total[5m])", "{{host}} {{tier}} prompt"),
                   ("rate(llamacpp:prompt_tokens_cached_total[5m])", "{{host}} {{tier}} cached"),
                   ("rate(llamacpp:tokens_predicted_total[5m])", "{{host}} {{tier}} answer")]),
            Panel("llama.cpp: accepted drafts", "Share of the drafted tokens that the model accepts, with speculation.",
                  [("rate(llamacpp:spec_decode_num_accepted_tokens_total[15m]) "
                    "/ (rate(llamacpp:spec_decode_num_draft_tokens_total[15m]) > 0)", "{{host}} {{tier}}")],
                  "percentunit", is_share=True),
            Panel("vLLM: requests", "That run, and those that wait.",
                  [("vllm:num_requests_running", "{{host}} {{tier}} running"),
                   ("vllm:num_requests_waiting", "{{host}} {{tier}} waiting")]),
            Panel("vLLM: tokens a second", "Of prompts and of answers.",
                  [("rate(vllm:prompt_tokens_total[5m])", "{{host}} {{tier}} prompt"),
                   ("rate(vllm:generation_tokens_total[5m])", "{{host}} {{tier}} answer")]),
            Panel("vLLM: cache", "Share of the key-value cache in use.",
                  [("vllm:kv_cache_usage_perc", "{{host}} {{tier}}")], "percentunit", is_share=True),
        ),
    },
    {"tier": "label_values(herd_tier_ready, tier)"},
)  # fmt: skip

_HOST = 'host=~"$host"'
NODE = Board(
    "node",
    "node",
    "One node: units, GPUs, fabric, disks, and what its peers hear of it.",
    {
        "Units": (
            Panel("Units", "State of each unit of the engines.",
                  [(f"herd_unit_state{{{_HOST}}} == 1", "{{host}} {{unit}} {{state}}")], kind=STATES),
            Panel("Processors", "Cores that the engines and the agent use.",
                  [(f"rate(herd_unit_process_cpu_seconds_total{{{_HOST}}}[5m])", "{{host}} {{unit}}"),
                   (f"rate(herd_agent_cpu_seconds_total{{{_HOST}}}[5m])", "{{host}} agent")]),
            Panel("Age of the peers' heartbeats", "As this node hears them.",
                  [(f"herd_peer_heartbeat_age_seconds{{{_HOST}}}", "{{host}} hears {{peer}}")], "s"),
            Panel("Age of the metrics", "How old the values are that the agent gives.",
                  [(f"herd_agent_tick_age_seconds{{{_HOST}}}", "{{host}} agent"),
                   (f"herd_gpu_sample_age_seconds{{{_HOST}}}", "{{host}} GPUs"),
                   (f"herd_engine_sample_age_seconds{{{_HOST}}}", "{{host}} engine"),
                   (f"herd_fabric_sample_age_seconds{{{_HOST}}}", "{{host}} fabric")], "s"),
        ),
        "GPUs": (
            Panel("Use", "Share of time in which a kernel ran.",
                  [(f"herd_gpu_utilization_ratio{{{_HOST}}}", "{{host}} {{gpu}}")], "percentunit", levels=UTILIZATION,
                  is_share=True),
            Panel("Memory", "In use, and all.",
                  [(f"herd_gpu_memory_used_bytes{{{_HOST}}}", "{{host}} {{gpu}} used"),
                   (f"herd_gpu_memory_total_bytes{{{_HOST}}}", "{{host}} {{gpu}} all")], "bytes"),
            Panel("Temperature", "Of each GPU.", [(f"herd_gpu_temperature_celsius{{{_HOST}}}", "{{host}} {{gpu}}")],
                  "celsius"),
            Panel("Power", "In use, and the limit in force.",
                  [(f"herd_gpu_power_watts{{{_HOST}}}", "{{host}} {{gpu}}"),
                   (f"herd_gpu_power_limit_watts{{{_HOST}}}", "{{host}} {{gpu}} limit")], "watt"),
            Panel("Clocks", "Of the multiprocessors and of the memory.",
                  [(f"herd_gpu_sm_clock_hertz{{{_HOST}}}", "{{host}} {{gpu}} SM"),
                   (f"herd_gpu_memory_clock_hertz{{{_HOST}}}", "{{host}} {{gpu}} memory")], "hertz"),
            Panel("Throttling", "Why clocks are limited.",
                  [(f"herd_gpu_throttled{{{_HOST}}} == 1", "{{host}} {{gpu}} {{reason}}")], kind=STATES),
            Panel("Memory errors", "Uncorrected and corrected ECC errors in an hour.",
                  [(f"increase(herd_gpu_ecc_uncorrected_total{{{_HOST}}}[1h])", "{{host}} {{gpu}} uncorrected"),
                   (f"increase(herd_gpu_ecc_corrected_total{{{_HOST}}}[1h])", "{{host}} {{gpu}} corrected")]),
        ),
        "Fabric": (
            Panel("Received", "By the adapter, with RDMA, and by the interface.",
                  [(f"rate(herd_fabric_port_received_bytes_total{{{_HOST}}}[5m])", "{{host}} {{device}}"),
                   (f"rate(herd_fabric_interface_received_bytes_total{{{_HOST}}}[5m])", "{{host}} {{interface}}")],
                  "Bps"),
            Panel("Transmitted", "By the adapter, with RDMA, and by the interface.",
                  [(f"rate(herd_fabric_port_transmitted_bytes_total{{{_HOST}}}[5m])", "{{host}} {{device}}"),
                   (f"rate(herd_fabric_interface_transmitted_bytes_total{{{_HOST}}}[5m])", "{{host}} {{interface}}")],
                  "Bps"),
            Panel("Rate of the link", "It falls when a port loses lanes.",
                  [(f"herd_fabric_port_rate_bytes_per_second{{{_HOST}}}", "{{host}} {{device}}")], "Bps"),
            Panel("Errors in 15 minutes", "By the counter of the adapter or of the kernel.",
                  [(f"increase(herd_fabric_port_errors_total{{{_HOST}}}[15m])", "{{host}} {{device}} {{kind}}"),
                   (f"increase(herd_fabric_interface_errors_total{{{_HOST}}}[15m])",
                    "{{host}} {{interface}} {{kind}}")]),
        ),
        "Disks": (
            Panel("Free space", "Of each file system that the service uses.",
                  [(f"herd_disk_free_bytes{{{_HOST}}}", "{{host}} {{path}}")], "bytes"),
            Panel("Downloads", "Bytes a second of models that are being fetched.",
                  [(f"deriv(herd_download_written_bytes{{{_HOST}}}[5m])", "{{host}} {{file}}")], "Bps"),
        ),
    },
    {"host": 'label_values(up{job="herd_agent"}, host)'},
)  # fmt: skip

USERS = Board(
    "users",
    "users",
    "What users ask for and what they are refused. The metrics name no user.",
    {
        "Use": (
            Panel("Tokens in an hour", "By tier, of prompts and of answers.",
                  [("sum by (tier, kind) (increase(herd_gateway_tokens_total[1h]))", "{{tier}} {{kind}}")]),
            Panel("Requests in an hour", "By tier.",
                  [("sum by (tier) (increase(herd_gateway_requests_total[1h]))", "{{tier}}")]),
            Panel("In flight", "Requests at an engine or in its queue.",
                  [("sum by (tier) (herd_gateway_in_flight)", "{{tier}}")]),
            Panel("Sent", "Bytes of responses a second.",
                  [("sum by (tier) (rate(herd_gateway_sent_bytes_total[5m]))", "{{tier}}")], "Bps"),
        ),
        "Refusals": (
            Panel("Refused requests in an hour", "Before any tier was asked, by the code of the answer.",
                  [("sum by (code) (increase(herd_gateway_refused_total[1h]))", "{{code}}")]),
            Panel("Errors of clients and of the service in an hour", "By tier and status.",
                  [('sum by (tier, status) (increase(herd_gateway_requests_total{status=~"[45].."}[1h]))',
                    "{{tier}} {{status}}")]),
        ),
    },
)  # fmt: skip
DASHBOARDS = (CLUSTER, TIER, NODE, USERS)
