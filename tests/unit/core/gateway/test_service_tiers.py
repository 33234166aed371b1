# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiers of the inventory whose engines are services."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import service_tiers

GROUPS = {
    "head_server": ["node1"],
    "rpc_worker": ["node2", "node3"],
    "fast_router": ["node3"],
    "gateway": ["node1"],
}
MODELS = {
    "big": {"name": "OR1-Behemoth", "file": "big-q8_0.gguf"},
    "small": {"name": "Strand", "file": "folder/small-q8_0.gguf"},
}
REASONING = {"name": "reasoning", "kind": "distributed", "host": "node1", "gateway_port": 8081}
FAST = {"name": "fast", "kind": "router", "host": "node3", "gateway_port": 8080}


def hosts(tiers: Any = (REASONING, FAST), **of_node3: Any) -> dict[str, dict[str, Any]]:
    shared = {"herd_tiers": list(tiers), "herd_models": MODELS, "herd_model": "big", "herd_api_port": 8000}
    found = {f"node{number}": {**shared, "ansible_host": f"10.0.0.3{number}"} for number in (1, 2, 3)}
    found["node3"].update({"fast_router_models": {"small": {}}, "fast_router_settings": {"slots": 2}, **of_node3})
    return found


def test_models_and_address_follow_from_the_facts_of_the_host() -> None:
    found = service_tiers.complete([REASONING, FAST], GROUPS, hosts())
    assert found[0] == {
        **REASONING,
        "models": ["big"],
        "model_ids": ["OR1-Behemoth"],
        "address": "10.0.0.31",
        "slots": 0,
        "workers": ["node2", "node3"],
    }
    assert found[1] == {
        **FAST,
        "models": ["small"],
        "model_ids": ["small-q8_0"],
        "address": "10.0.0.33",
        "slots": 2,
        "workers": [],
    }


def test_tier_without_a_host_is_a_job_and_stays_as_it_is() -> None:
    job = {"name": "fast", "kind": "router", "models": ["small"], "job_name": "llama-14b"}
    assert service_tiers.complete([job], {}, {}) == [job]


@pytest.mark.parametrize(("given", "address"), [("10.1.0.3", "10.1.0.3"), ("0.0.0.0", "10.0.0.33"), ("", "10.0.0.33")])
def test_address_of_the_inventory_is_used_unless_it_is_every_address(given: str, address: str) -> None:
    found = service_tiers.complete([FAST], GROUPS, hosts(herd_router_address=given))
    assert found[0]["address"] == address


def test_site_without_a_gateway_has_no_problem() -> None:
    assert list(service_tiers.problems({**GROUPS, "gateway": []}, {})) == []
    assert list(service_tiers.problems(GROUPS, hosts())) == []


@pytest.mark.parametrize(
    ("groups", "of_hosts", "words"),
    [
        ({"gateway": ["node1", "node2"]}, {}, "group gateway: expected exactly one host"),
        ({"slurm_controller": ["node2"]}, {}, "found a Slurm controller"),
        ({}, {"tiers": []}, "fact herd_tiers: expected a list of the tiers behind the gateway on node1, found []"),
        ({}, {"tiers": ["fast"]}, "herd_tiers with a host for each tier, found 'fast'"),
        ({}, {"tiers": [{**FAST, "models": ["small"]}]}, "fast with gateway_port, host, kind, name, found models"),
        ({}, {"tiers": [{**FAST, "name": "Fast"}]}, "found 'Fast'"),
        ({}, {"tiers": [{**FAST, "gateway_port": 80}]}, "a gateway_port between 1024 and 65535, found 80"),
        ({}, {"tiers": [{**FAST, "gateway_port": True}]}, "found True"),
        ({}, {"tiers": [{**FAST, "kind": "head"}]}, "a kind of distributed or router, found 'head'"),
        ({}, {"tiers": [{**FAST, "host": "node2"}]}, "at a host of the group fast_router, found node2"),
        ({}, {"tiers": [REASONING, {**FAST, "gateway_port": 8081}]}, "gateway_port for each tier, found 8081"),
        ({}, {"tiers": [FAST, {**FAST, "name": "two", "gateway_port": 8082}]}, "found node3 and router twice"),
        ({}, {"tiers": [{**REASONING, "gateway_port": 8000}]}, "found 8000, the port of its head_server"),
        ({}, {"herd_api_tls": True}, "without TLS between the gateway and node3, found herd_api_tls: True"),
        ({}, {"fast_router_models": {}}, "models in fast_router_models of node3, found none"),
        ({}, {"fast_router_models": {"other": {}}}, "models that herd_models has, found other"),
    ],
)  # fmt: skip
def test_problem_names_the_fact_and_what_was_found(
    groups: dict[str, Any], of_hosts: dict[str, Any], words: str
) -> None:
    found = list(service_tiers.problems({**GROUPS, **groups}, hosts(**of_hosts)))
    assert any(words in problem for problem in found), found


def test_tier_with_a_problem_is_not_completed() -> None:
    with pytest.raises(InvalidInputError, match="at a host of the group head_server, found node2"):
        service_tiers.complete([{**REASONING, "host": "node2"}], GROUPS, hosts())
