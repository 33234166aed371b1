# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus scrapes, from an inventory."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import scrape
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import Tier
from ansible_collections.herd.inference.plugins.module_utils.core.operations.scrape_targets import scrape_targets
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.endpoint_registry import Endpoint
from ansible_collections.herd.inference.plugins.module_utils.core.slurm.tier_status import TierReport

MODELS = {"big": {"name": "OR1", "file": "big.gguf"}, "small": {"name": "S", "file": "a/small-00001-of-00002.gguf"}}
GROUPS = {
    "node_agent": ["n1", "n2"], "head_server": ["n1"], "fast_router": ["n2"], "gateway": ["n1"],
    "rpc_worker": ["n2"],
}  # fmt: skip
TIERS = [
    {"name": "reasoning", "kind": "distributed", "host": "n1", "gateway_port": 8081},
    {"name": "fast", "kind": "router", "host": "n2", "gateway_port": 8080},
]


def hosts(**shared: Any) -> dict[str, dict[str, Any]]:
    facts = {"herd_models": MODELS, "herd_model": "big", "herd_api_port": 8000, "herd_tiers": TIERS, **shared}
    found = {f"n{n}": {**facts, "ansible_host": f"10.0.0.{n}", "herd_fabric_address": f"10.100.0.{n}"} for n in (1, 2)}
    found["n2"]["fast_router_models"] = {"small": {}}
    return found


def test_agents_are_at_their_fabric_addresses() -> None:
    given = hosts()
    given["n2"]["node_agent_port"] = "50099"
    assert scrape_targets(GROUPS, given)["agents"] == [
        {"targets": ["10.100.0.1:50061"], "labels": {"job": "herd_agent", "host": "n1"}},
        {"targets": ["10.100.0.2:50099"], "labels": {"job": "herd_agent", "host": "n2"}},
    ]


@pytest.mark.parametrize("value", [False, "false", "no"])
def test_agent_that_is_off_is_no_target(value: Any) -> None:
    assert scrape_targets(GROUPS, hosts(node_agent_enabled=value))["agents"] == []


def test_agent_without_a_fabric_address_is_an_error() -> None:
    given = hosts()
    del given["n2"]["herd_fabric_address"]
    with pytest.raises(NotFoundError, match="herd_fabric_address of n2"):
        scrape_targets(GROUPS, given)


def test_each_engine_has_a_job_with_its_own_key() -> None:
    head, router, gateway = scrape_targets(GROUPS, hosts())["services"]
    assert head == {
        "name": "herd_head_n1",
        "host": "n1",
        "key_file": "/etc/herd/head/api-keys",
        "certificate_file": "",
        "targets": [{"targets": ["10.0.0.1:8000"], "labels": {"job": "herd_head", "host": "n1", "tier": "reasoning"}}],
    }
    assert (router["name"], router["key_file"]) == ("herd_router_n2", "/etc/herd/router/api-keys")
    assert gateway["targets"] == [{"targets": ["10.0.0.1:8081"], "labels": {"job": "herd_gateway", "host": "n1"}}]
    assert gateway["key_file"] == ""


def test_scrape_of_a_router_loads_no_model() -> None:
    (_head, router, _gateway) = scrape_targets(GROUPS, hosts())["services"]
    (target,) = router["targets"]
    assert target["labels"]["__param_model"] == target["labels"]["model"] == "small"
    assert target["labels"]["__param_autoload"] == "false"


def test_router_without_named_models_is_no_target() -> None:
    given = hosts()
    given["n2"]["fast_router_models"] = {}
    assert [one["name"] for one in scrape_targets(GROUPS, given)["services"]] == ["herd_head_n1", "herd_gateway_n1"]


def test_engine_with_tls_is_trusted_by_its_own_certificate() -> None:
    given = hosts(herd_api_tls="true", gateway_tls=True, head_server_tls_certificate_file="/srv/head.pem")
    files = {one["name"]: one["certificate_file"] for one in scrape_targets(GROUPS, given)["services"]}
    assert files == {
        "herd_head_n1": "/srv/head.pem",
        "herd_router_n2": "/etc/herd/router.crt",
        "herd_gateway_n1": "/etc/herd/gateway/tls.crt",
    }


@pytest.mark.parametrize(("tls", "scheme"), [(False, "http"), (True, "https")])
def test_engines_of_slurm_jobs_are_listed_by_the_gateway(tls: bool, scheme: str) -> None:
    jobs = [{"name": "fast", "kind": "router", "gateway_port": 8080, "models": ["small"]}]
    groups = {"gateway": ["n1"], "slurm_controller": ["n1"], "node_agent": []}
    gateway, found = scrape_targets(groups, hosts(herd_tiers=jobs, gateway_tls=tls))["services"]
    assert gateway["targets"][0]["targets"] == ["10.0.0.1:8080"]
    assert found["discovery"] == f"{scheme}://10.0.0.1:8080/targets.json"
    assert found["key_file"] == "/etc/herd/tiers/api-keys"
    assert found["targets"] == []


def test_inventory_without_services_has_no_targets() -> None:
    assert scrape_targets({}, {}) == {"agents": [], "services": []}


def endpoint(tier: str, address: str, state: str = "ready", models: tuple[str, ...] = ("m",)) -> Endpoint:
    return Endpoint(tier, "7", "vasp-01", address, 8081, models, state, 100, 4096, 2, "r", 1.0, 2.0)


def test_gateway_lists_the_engines_that_serve() -> None:
    tiers = {"reasoning": Tier("reasoning"), "fast": Tier("fast", rewrites=True)}
    reports = {
        "reasoning": TierReport(
            True,
            "ready",
            endpoints=(
                endpoint("reasoning", "10.0.0.41"),
                endpoint("reasoning", "10.0.0.42", "loading"),
                endpoint("reasoning", "192.0.2.9"),
            ),
        ),
        "fast": TierReport(True, "ready", endpoints=(endpoint("fast", "10.0.0.43", models=("a", "b")),)),
        "other": TierReport(True, "ready", endpoints=(endpoint("other", "10.0.0.41"),)),
    }
    found = scrape.targets(tiers, reports, {"10.0.0.41", "10.0.0.42", "10.0.0.43"})
    assert found[0] == {
        "targets": ["10.0.0.41:8081"],
        "labels": {"job": "herd_job", "host": "vasp-01", "tier": "reasoning"},
    }
    assert [one["labels"]["__param_model"] for one in found[1:]] == ["a", "b"]
    assert {one["labels"]["job"] for one in found[1:]} == {"herd_router"}
