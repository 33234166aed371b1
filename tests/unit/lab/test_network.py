from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import config, network
from tests.lab.process import LabError

TEXT = """
[hosts.node1]
eth = "10.0.0.31"
ib = "10.100.0.31"
[hosts.mirror]
eth = "10.0.0.9"
hostname = "hub"
"""
LAB = config.parse(TEXT, "demo", {})
NODE, MIRROR = LAB.hosts


def test_host_has_a_cable_for_each_of_its_networks() -> None:
    assert network.cable_commands("demo", NODE, set()) == [
        "link add e-node1 mtu 1500 type veth peer name eth0 netns herd-demo.node1",
        "link set e-node1 mtu 1500 master br-eth up",
        "link add i-node1 mtu 2044 type veth peer name ib0 netns herd-demo.node1",
        "link set i-node1 mtu 2044 master br-ib up",
    ]
    assert [line for line in network.cable_commands("demo", MIRROR, set()) if "br-ib" in line] == []


def test_existing_cables_are_not_made_again() -> None:
    again = network.cable_commands("demo", NODE, {"e-node1", "i-node1"})
    assert again == [
        "link set e-node1 mtu 1500 master br-eth up",
        "link set i-node1 mtu 2044 master br-ib up",
    ]
    assert network.bridge_commands(config.ETH, {"br-eth"})[0].startswith("link set br-eth")


def test_only_ethernet_has_an_address_of_the_lab_itself() -> None:
    assert "address replace 10.0.0.1/24 dev br-eth" in network.bridge_commands(config.ETH, set())
    assert not [line for line in network.bridge_commands(config.IB, set()) if "address" in line]


def test_host_has_an_address_on_each_network() -> None:
    assert network.interface_commands(NODE) == [
        "link set lo up",
        "link set eth0 mtu 1500 up",
        "address replace 10.0.0.31/24 dev eth0",
        "link set ib0 mtu 2044 up",
        "address replace 10.100.0.31/24 dev ib0",
    ]


def test_host_without_power_is_silent_on_all_its_networks() -> None:
    assert network.dark_commands(NODE) == ["link set eth0 down", "link set ib0 down"]
    assert network.dark_commands(MIRROR) == ["link set eth0 down"]


def test_hosts_file_names_all_hosts_on_both_networks() -> None:
    assert network.etc_hosts(LAB, MIRROR).splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost",
        "127.0.1.1 hub",
        "10.0.0.31 node1",
        "10.100.0.31 node1-ib",
    ]


@pytest.mark.parametrize(
    ("rate", "latency", "tail"),
    [
        ("10mbit", None, "tbf rate 10mbit burst 64kbit latency 50ms"),
        (None, "20ms", "netem delay 20ms"),
        ("1gbit", "20ms", "netem delay 20ms rate 1gbit"),
    ],
)
def test_cable_is_slowed_by_tbf_or_netem(rate: str | None, latency: str | None, tail: str) -> None:
    words = network.shape_arguments("ib0", rate, latency)
    assert " ".join(words) == f"qdisc replace dev ib0 root {tail}"


def test_slow_requires_a_rate_or_latency() -> None:
    with pytest.raises(LabError, match="--rate, --latency or --off"):
        network.shape_arguments("ib0", None, None)


def test_host_without_a_fabric_cannot_be_cut_from_it() -> None:
    with pytest.raises(LabError, match="mirror is not on the network 'ib'"):
        network.network_of(MIRROR, "ib")
    assert network.network_of(NODE, "ib") is config.IB


def test_namespace_list_is_empty_without_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "NETNS_DIR", tmp_path / "none")
    assert network.namespaces() == set()
