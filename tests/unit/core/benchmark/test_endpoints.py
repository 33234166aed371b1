# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.benchmark import endpoints
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    HerdError,
    InvalidInputError,
    NotFoundError,
)

FACTS = {"ansible_host": "10.0.0.31", "herd_api_port": 8000}
TIERS = {
    "tiers": {
        "fast": {"state": "pending", "endpoints": []},
        "reasoning": {
            "state": "ready",
            "endpoints": [
                {"state": "loading", "address": "10.0.0.7", "port": 8081},
                {"state": "ready", "address": "10.0.0.8", "port": 8081},
            ],
        },
    }
}


def place(kind: str, *arguments: Any, **facts: Any) -> endpoints.Place:
    return endpoints.Place(**endpoints.place(kind, {**FACTS, **facts}, *arguments))


def test_head_has_the_address_of_its_host_and_the_key_file_of_its_role() -> None:
    assert place("head") == endpoints.Place("http://10.0.0.31:8000", "/etc/herd/head/api-keys")


def test_variables_of_the_roles_come_first() -> None:
    found = place(
        "head",
        herd_api_address="10.1.0.1",
        head_server_port="9000",
        head_server_api_key_file="/etc/keys",
        herd_api_tls=True,
        head_server_tls_certificate_file="/etc/head.pem",
    )
    assert found == endpoints.Place("https://10.1.0.1:9000", "/etc/keys", "/etc/head.pem")


@pytest.mark.parametrize(("tls", "scheme"), [(True, "https"), ("yes", "https"), ("false", "http"), (False, "http")])
def test_tls_of_the_role_overrides_that_of_the_site(tls: Any, scheme: str) -> None:
    found = place("router", herd_api_tls=True, fast_router_tls=tls)
    assert found.url == f"{scheme}://10.0.0.31:8080"
    assert bool(found.certificate_file) == (scheme == "https")


def test_address_of_all_interfaces_is_reached_by_that_of_the_host() -> None:
    assert place("router", herd_router_address="0.0.0.0").url == "http://10.0.0.31:8080"


def test_ipv6_address_has_brackets() -> None:
    assert place("head", head_server_address="fd00::1").url == "http://[fd00::1]:8000"


@pytest.mark.parametrize("name", ["", "reasoning"])
def test_tier_is_its_ready_endpoint(name: str) -> None:
    assert place("tier", name, TIERS) == endpoints.Place("http://10.0.0.8:8081", "/etc/herd/tiers/api-keys")


@pytest.mark.parametrize(
    ("name", "report", "message"),
    [
        ("fast", TIERS, "expected the tier fast to be ready, found fast is pending, reasoning is ready"),
        ("", {}, "expected a tier that is ready, found no tiers"),
        ("", {"tiers": [1]}, "found no tiers"),
        ("", {"tiers": {"fast": 3}}, "found no tiers"),
        ("", {"tiers": {"fast": {"state": "ready", "endpoints": "x"}}}, "found fast is ready"),
    ],
)
def test_tier_that_is_not_ready_is_named(name: str, report: Any, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        place("tier", name, report)


def test_gateway_has_a_port_for_each_tier_and_no_key() -> None:
    tiers = [{"name": "fast", "gateway_port": 8080}, {"name": "reasoning", "gateway_port": 8081}]
    assert place("gateway", "reasoning", herd_tiers=tiers) == endpoints.Place("http://10.0.0.31:8081")
    assert place("gateway", herd_tiers=tiers, gateway_tls=True).url == "https://10.0.0.31:8080"
    with pytest.raises(NotFoundError, match="expected the tier big of the gateway, found fast, reasoning"):
        place("gateway", "big", herd_tiers=tiers)


def test_vllm_is_its_ready_model() -> None:
    ready = {
        "model": "glm",
        "state": "ready",
        "address": "10.0.0.9",
        "port": 8006,
        "key_file": "/ws/api-key",
        "served_name": "GLM",
    }
    report = {"models": [{"model": "other", "state": "pending", "address": "", "port": 0}, ready]}
    assert place("vllm", "", report) == endpoints.Place("http://10.0.0.9:8006", "/ws/api-key", model="GLM")
    with pytest.raises(NotFoundError, match="found other is pending"):
        place("vllm", "", {"models": report["models"][:1]})


@pytest.mark.parametrize("port", [None, 0, 70000, "x", 80.5, True])
def test_wrong_port_is_refused(port: Any) -> None:
    with pytest.raises(InvalidInputError, match="a port of the endpoint"):
        place("head", herd_api_port=port)


def test_first_kind_of_the_inventory_is_measured() -> None:
    groups = {"head_server": [], "fast_router": ["b"], "gateway": ["c"]}
    assert endpoints.kind_of("", groups) == "router"
    assert endpoints.kind_of("gateway", groups) == "gateway"


@pytest.mark.parametrize(("wanted", "message"), [("head", "the group head_server"), ("mail", "one of head")])
def test_missing_kind_is_named(wanted: str, message: str) -> None:
    with pytest.raises(HerdError, match=message):
        endpoints.kind_of(wanted, {"head_server": []})


def test_conditions_have_the_gpus_of_each_host() -> None:
    gpu = {"name": "Tesla V100S-PCIE-32GB", "temperature_c": 66, "processes": [{"pid": 1}]}
    results: list[dict[str, Any]] = [
        {"item": "a", "driver": "535.183.01", "gpus": [gpu]},
        {"item": "b", "gpus": []},
        {"item": "c", "msg": "x"},
    ]
    found = endpoints.node_conditions(results)
    assert list(found) == ["a"]
    assert found["a"]["driver"] == "535.183.01"
    assert found["a"]["gpus"][0]["temperature_c"] == 66
    assert "processes" not in found["a"]["gpus"][0]
