# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway's metrics say of tiers; and all of them are in the table of metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

from prometheus_client import parser

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.metrics import GatewayMetrics
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import TierStatus
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_status import StatusReport, TierReport
from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names


def values(text: bytes) -> dict[str, float]:
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def read(metrics: GatewayMetrics, status: TierStatus, reports: Mapping[str, TierReport]) -> dict[str, float]:
    return values(metrics.text({"fast": status}, reports, None, 0))


def test_loading_tier_has_its_part_and_its_time() -> None:
    metrics = GatewayMetrics(["fast"])
    report = {"fast": TierReport(True, "loading")}
    found = read(metrics, TierStatus("loading", percent=40, expected=2e9), report)
    assert found["herd_tier_loaded_ratio fast"] == 0.4
    assert found["herd_tier_expected_time_seconds fast"] == 2e9
    assert found["herd_tier_endpoints fast"] == 0
    later = read(metrics, TierStatus("ready", endpoint="10.0.0.1:8080", percent=100), report)
    assert not [name for name in later if "loaded" in name or "expected" in name]


def test_tier_keeps_the_time_of_its_state() -> None:
    metrics = GatewayMetrics(["fast"])
    name = "herd_tier_state_since_time_seconds fast"
    first = read(metrics, TierStatus("preempted"), {})[name]
    assert read(metrics, TierStatus("preempted"), {})[name] == first
    assert read(metrics, TierStatus("pending"), {})[name] >= first


def test_tier_without_report_has_no_number_of_engines() -> None:
    found = read(GatewayMetrics(["fast"]), TierStatus(), {})
    assert "herd_tier_endpoints fast" not in found
    assert found["herd_tier_state unknown fast"] == 1


def test_age_and_problems_of_the_status_are_metrics() -> None:
    metrics = GatewayMetrics(["fast"])
    assert not [name for name in values(metrics.text({}, {}, None, 0)) if name.startswith("herd_tiers")]
    found = values(metrics.text({}, {}, StatusReport(time.time() - 60, problems=("Slurm is silent",)), 0))
    assert 60 <= found["herd_tiers_status_age_seconds"] < 600
    assert found["herd_tiers_problems"] == 1


def test_metrics_of_the_gateway_are_those_of_the_table() -> None:
    text = GatewayMetrics(["fast"]).text({}, {}, StatusReport(1.0), 0).decode()
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in parser.text_string_to_metric_families(text)
    }
    table = {name: metric for name, metric in metric_names.METRICS.items() if metric.program == metric_names.GATEWAY}
    assert set(table) == set(families)
    for name, metric in table.items():
        assert (families[name].type, families[name].documentation) == (metric.kind, metric.help), name
