"""What preflight says about an inventory: one table row for each way to get it wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.host.platforms import PLATFORMS, is_el8
from ansible_collections.herd.inference.plugins.module_utils.core.operations.inventory_checks import (
    Inventory,
    host_problems,
    problems,
)

SHARED = {
    "herd_release": "0c1e57098",
    "herd_prefix": "/opt/llama.cpp",
    "herd_models_dir": "/opt/models",
    "herd_user": "llama",
    "herd_rpc_port": 50052,
    "herd_api_port": 8000,
    "herd_model": "m",
    "herd_models": {"m": {"name": "m", "file": "m.gguf", "layers": 8, "source": {"url": "http://x/m.gguf"}}},
}
ROCKY = {"distribution": "Rocky", "distribution_major_version": "8", "os_family": "RedHat"}


def good() -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    names = ["node1", "node2", "node3"]
    groups = {
        "node": names,
        "toolchain": ["node1"],
        "llama_build": ["node1"],
        "llama_release": names,
        "node_agent": names,
        "model_store": ["node1"],
        "rpc_worker": ["node2", "node3"],
        "head_server": ["node1"],
    }
    hosts = {
        name: {
            **copy.deepcopy(SHARED),
            "herd_fabric_address": f"10.100.0.3{number}",
            "herd_fabric_interface": "ib0",
            "ansible_facts": dict(ROCKY),
        }
        for number, name in enumerate(names, start=1)
    }
    return groups, hosts


def found(groups: dict[str, list[str]], hosts: dict[str, dict[str, Any]], core: str = "2.21.5") -> list[str]:
    return problems(Inventory(groups=groups, hosts=hosts), core)


def test_a_valid_inventory_has_no_problems() -> None:
    assert found(*good()) == []


def test_a_gateway_needs_agents_on_its_host_and_on_those_of_its_tiers() -> None:
    groups, hosts = good()
    groups.update(fast_router=["node3"], gateway=["node2"])
    for number, facts in enumerate(hosts.values(), start=1):
        facts.update(
            ansible_host=f"10.0.0.3{number}",
            fast_router_models={"m": {}},
            herd_tiers=[
                {"name": "reasoning", "kind": "distributed", "host": "node1", "gateway_port": 8081},
                {"name": "fast", "kind": "router", "host": "node3", "gateway_port": 8080},
            ],
        )
    assert found(groups, hosts) == []
    groups["node_agent"] = ["node1"]
    lacking = [problem.partition(":")[0] for problem in found(groups, hosts)]
    assert lacking == ["host node2", "host node2", "host node3", "host node3"]
    groups["node_agent"] = groups["node"]
    hosts["node2"]["herd_tiers"] = []
    assert "fact herd_tiers: expected a list of the tiers behind the gateway on node2" in found(groups, hosts)[0]


def test_a_router_needs_a_release_on_its_host() -> None:
    groups, hosts = good()
    groups["fast_router"] = ["node3"]
    assert found(groups, hosts) == []
    groups["llama_release"] = ["node1", "node2"]
    assert any(
        "host node3: expected it in group llama_release because it is in fast_router" in p for p in found(groups, hosts)
    )


@pytest.mark.parametrize(
    "prefix", ["/usr/local", "/usr", "/opt", "/home", "/etc/llama", "llama.cpp", "/opt/../etc", ""]
)
def test_a_prefix_of_the_system_is_rejected(prefix: str) -> None:
    groups, hosts = good()
    for facts in hosts.values():
        facts["herd_prefix"] = prefix
    (problem,) = found(groups, hosts)
    assert problem.startswith("fact herd_prefix: expected the absolute path of a folder that is the releases' alone")


@pytest.mark.parametrize(
    ("group", "members", "says"),
    [
        ("head_server", ["node1", "node2"], "group head_server: expected exactly one host"),
        ("head_server", [], "group head_server: expected exactly one host"),
        ("llama_build", ["node1", "node2"], "group llama_build: expected exactly one host"),
        ("rpc_worker", [], "group rpc_worker: expected at least one host"),
        ("rpc_worker", ["node1", "node2"], "host node1: expected a head or a worker"),
        ("llama_release", ["node1", "node2"], "host node3: expected it in group llama_release"),
        ("model_store", ["node2"], "host node1: expected it in group model_store"),
        ("toolchain", [], "host node1: expected it in group toolchain"),
    ],
)
def test_groups(group: str, members: list[str], says: str) -> None:
    groups, hosts = good()
    groups[group] = members
    assert any(problem.startswith(says) for problem in found(groups, hosts))


@pytest.mark.parametrize(
    ("host", "fact", "value", "says"),
    [
        ("node2", "herd_fabric_address", None, "host node2: expected a herd_fabric_address"),
        ("node2", "herd_fabric_address", "vllm-node2", "host node2: expected herd_fabric_address to be an IPv4"),
        ("node2", "herd_fabric_address", "10.100.0.31", "found 10.100.0.31, which is node1's"),
        ("node3", "herd_fabric_interface", None, "host node3: expected herd_fabric_interface"),
        ("node3", "herd_release", "b7836", "fact herd_release: expected one value for the whole site"),
        ("node1", "ansible_facts", {"distribution": "Arch", "os_family": "Archlinux"}, "found Arch"),
    ],
)
def test_facts_of_one_host(host: str, fact: str, value: Any, says: str) -> None:
    groups, hosts = good()
    hosts[host][fact] = value
    (problem,) = found(groups, hosts)
    assert says in problem


@pytest.mark.parametrize(
    ("fact", "value", "says"),
    [
        ("herd_model", "other", "fact herd_model: expected one of herd_models (m), found 'other'"),
        ("herd_models", {"m": {"name": "m", "file": "m", "source": {}}}, "model m: expected a value for layers"),
        ("herd_rpc_port", 80, "fact herd_rpc_port: expected a port between 1024 and 65535"),
        ("herd_rpc_port", 8000, "expected two different ports, found 8000 twice"),
    ],
)
def test_facts_of_all_hosts(fact: str, value: Any, says: str) -> None:
    groups, hosts = good()
    for facts in hosts.values():
        facts[fact] = value
    assert any(says in problem for problem in found(groups, hosts))


def test_a_missing_shared_fact_is_one_problem_with_all_hosts() -> None:
    groups, hosts = good()
    del hosts["node2"]["herd_prefix"]
    (problem,) = found(groups, hosts)
    assert "herd_prefix" in problem
    assert "node2" in problem


@pytest.mark.parametrize(
    ("core", "major", "refused"),
    [
        ("2.19.14", "8", True),
        ("2.20.0", "8", True),
        ("2.21.5", "8", False),
        ("2.22.0", "8", False),
        ("2.19.14", "9", False),
    ],
)
def test_el8_needs_an_ansible_core_that_supports_dnf(core: str, major: str, refused: bool) -> None:
    groups, hosts = good()
    for facts in hosts.values():
        facts["ansible_facts"]["distribution_major_version"] = major
    said = found(groups, hosts, core)
    assert bool(said) is refused
    assert all("ansible-core 2.21 or newer" in problem for problem in said)


FACTS = {
    "all_ipv4_addresses": ["10.0.0.32", "10.100.0.32"],
    "interfaces": ["lo", "eth0", "ib0"],
    "eth0": {"ipv4": {"address": "10.0.0.32"}, "mtu": 1500},
    "ib0": {"ipv4": {"address": "10.100.0.32"}, "mtu": 2044},
}


@pytest.mark.parametrize(
    ("address", "interface", "mtu", "says"),
    [
        ("10.100.0.32", "ib0", 2044, None),
        ("10.100.0.32", "ib0", None, None),
        ("10.100.0.99", "ib0", 2044, "found 10.0.0.32, 10.100.0.32"),
        ("10.0.0.32", "ib0", 2044, "found it on eth0"),
        ("10.100.0.32", "ib1", 2044, "found it on ib0"),
        ("10.100.0.32", "ib0", 4096, "expected an MTU of 4096 bytes on ib0"),
    ],
)
def test_the_fabric_of_a_host(address: str, interface: str, mtu: int | None, says: str | None) -> None:
    said = host_problems(FACTS, address, interface, mtu)
    assert (says is None) == (said == [])
    assert says is None or says in said[0]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('NAME="Rocky Linux"\nVERSION="8.10 (Green Obsidian)"\nID="rocky"\nID_LIKE="rhel"\nVERSION_ID="8.10"\n', True),
        ('NAME="AlmaLinux"\nID="almalinux"\nVERSION_ID="9.4"\n', False),
        ('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n', False),
        ("ID=rhel\nVERSION_ID=8.9\n", True),
        ("", False),
    ],
)
def test_el8_is_read_from_os_release(text: str, is_one: bool) -> None:
    assert is_el8(text) is is_one


def test_platforms_are_strings_as_ansible_reports_them() -> None:
    assert all(version.isdigit() for versions in PLATFORMS.values() for version in versions)
