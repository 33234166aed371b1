# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate the page of the metrics from their table."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names
from ansible_collections.herd.inference.plugins.module_utils.core.supervision.metric_names import Metric

INTRODUCTION = """\
# Metrics

For operators who monitor a cluster with Prometheus.

## Where each is scraped

{scrapes}
- The agent re-exports the counters of the head and of the models of a router as `herd_engine_…_total`. For these,
  Prometheus needs no key of an engine.
- Never scrape a router without `autoload=false`: the request loads the model, and may evict another one.
- Each scrape empties the gauges `llamacpp:prompt_tokens_seconds` and `llamacpp:predicted_tokens_seconds`, and the agent
  scrapes every two seconds. Use `rate()` of the counters.
- `herd_engine_generated_tokens_total` counts a request when it ends. `herd_engine_decodes_total` grows meanwhile.
- For users' requests, use the counters of the gateway. Those of an engine begin at 0 with each process.
- On a Slurm cluster no agent runs by default (`node_agent_enabled`). Tiers and jobs are metrics of the gateway.

## What to know

- An unknown value has no series; it is never 0. Use `absent()` for what must be there.
- A request reads no file and runs no program. The agent reads GPUs, disks and the fabric's counters every 5 seconds,
  downloads, certificates and keys every 15 seconds, units and engines every 1 to 2 seconds.
- While nvidia-smi hangs, `herd_gpu_sample_age_seconds` grows. After 60 seconds the values of the GPUs are left out.
- A metric has at most 256 series, a label's value 128 characters, an answer 1 MiB, and a scraper 8 connections.
- An answer is used again for one second. A node with 8 GPUs has 310 lines (17 kB), which cost 1.5 ms of processor time.
  The samples of files cost 2.6 ms every 5 to 15 seconds.

`make reference` writes this page from `plugins/module_utils/core/supervision/metric_names.py`; do not edit it.
"""

# Program, address and path, key, names.
SCRAPES = (
    (
        "agent",
        "`http://<fabric address>:50061/metrics` on each host of `node_agent` (`node_agent_port`)",
        "none; the addresses of `node_agent_scrapers` only",
        "`herd_`, below",
    ),
    ("gateway", "`http://<its host>:<gateway_port of any tier>/metrics`", "none", "`herd_`, below"),
    (
        "head",
        "`http://<herd_api_address>:8000/metrics` (`herd_api_port`), `https` with `herd_api_tls`",
        "first line of `/etc/herd/head/api-keys` on the head (`head_server_api_key_file`)",
        "`llamacpp:`",
    ),
    (
        "router of models",
        "`http://<herd_router_address>:8080/metrics?model=MODEL&autoload=false` (`fast_router_port`)",
        "first line of `/etc/herd/router/api-keys` on its host (`fast_router_api_key_file`)",
        "`llamacpp:`",
    ),
    (
        "engine of a Slurm job",
        "address and port in the endpoint registry, `/metrics`; of a router with `?model=MODEL&autoload=false`",
        "first line of `/etc/herd/tiers/api-keys` (`slurm_tiers_api_key_file`)",
        "`llamacpp:`",
    ),
    (
        "vLLM",
        "address and port that `herdctl vllm launch` prints, `/metrics`",
        "first word of the job's key file, `api-key` in its work directory",
        "`vllm:`",
    ),
)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |"


def _values(title: str, values: tuple[str, ...]) -> str:
    return f"- {title}: {', '.join(f'`{value}`' for value in values)}\n"


def page() -> str:
    """Return the page of all metrics."""
    lines = ["| program | address and path | key | names |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in SCRAPES]
    found = INTRODUCTION.replace("{scrapes}", "\n".join(lines) + "\n")
    for section, metrics in metric_names.SECTIONS.items():
        rows = "\n".join(map(_row, metrics))
        found += f"\n## {section}\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n{rows}\n"
    return (
        found
        + "\n## Values of labels\n\n"
        + _values("`state` of `herd_unit_state`", metric_names.UNIT_STATES)
        + _values("`state` of `herd_group_state`", metric_names.GROUP_STATES)
        + _values("`state` of `herd_disk_state`", metric_names.DISK_STATES)
        + _values("`cause` of `herd_recoveries_total`", metric_names.CAUSES)
        + _values("`reason` of `herd_gpu_throttled`", metric_names.THROTTLE_REASONS)
    )
