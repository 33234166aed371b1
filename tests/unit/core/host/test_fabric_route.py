# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether traffic takes the fabric, as tables. What ip says was captured from lab hosts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import RemoteFailureError
from ansible_collections.herd.inference.plugins.module_utils.core.host import fabric_route
from ansible_collections.herd.inference.plugins.module_utils.core.host.fabric_route import (
    FabricSpec,
    FabricState,
    Interface,
    RdmaPort,
    Route,
)
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware.interfaces import PortInterface, Stack

FIXTURES = Path(__file__).parents[3] / "fixtures/fabric"
UP = (FIXTURES / "addresses.json").read_text(encoding="ascii")
DOWN = (FIXTURES / "addresses-down.json").read_text(encoding="ascii")

# A double of a ConnectX-6 at HDR100, in the words of the kernel and of ibv_devinfo: no lab has one.
FILES = {"state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "100 Gb/sec (2X HDR)", "link_layer": "InfiniBand"}
DEVINFO = (FIXTURES / "ibv_devinfo.txt").read_text(encoding="ascii")

WANTED = FabricSpec("ib0", "10.100.0.31", 2044, 4096, 100, "InfiniBand")
IB0 = Interface(
    "ib0",
    exists=True,
    is_up=True,
    has_carrier=True,
    addresses=("10.100.0.31",),
    mtu=2044,
    kind=32,
    mode="datagram",
    numa_node=0,
)
PORT = RdmaPort("mlx5_0", 1, "ACTIVE", "LinkUp", "InfiniBand", 100.0, 2, "HDR", 4096, 4096)
ROUTE = Route("10.100.0.32", "fabric", "ib0", "", "10.100.0.31", reverse=True, reaches=True)
SEEN = FabricState(IB0, PORT, (ROUTE,), {"0000:3b:00.0": 0})


@pytest.mark.parametrize(
    ("status", "out", "err", "expected"),
    [
        (
            0,
            '[{"dst":"10.100.0.32","dev":"ib0","prefsrc":"10.100.0.31","flags":[],"uid":0,"cache":[]}]',
            "",
            Route("10.100.0.32", "fabric", "ib0", source="10.100.0.31"),
        ),
        (
            0,
            '[{"dst":"10.100.0.32","gateway":"10.0.0.32","dev":"eth0","prefsrc":"10.0.0.31","flags":[],"cache":[]}]',
            "",
            Route("10.100.0.32", "fallback", "eth0", "10.0.0.32", "10.0.0.31"),
        ),
        (
            0,
            '[{"dst":"10.100.0.32","dev":"ib0","prefsrc":"10.100.0.31","cache":[],"metrics":[{"mtu":1400}]}]',
            "",
            Route("10.100.0.32", "fabric", "ib0", source="10.100.0.31", mtu=1400),
        ),
        (
            0,
            '[{"type":"local","dst":"10.100.0.32","dev":"lo","prefsrc":"10.100.0.32","flags":[],"cache":["local"]}]',
            "",
            Route("10.100.0.32", "local", "lo", source="10.100.0.32"),
        ),
        (2, "", "RTNETLINK answers: Network is unreachable\n", Route("10.100.0.32", "missing")),
        (2, "", "RTNETLINK answers: No route to host\n", Route("10.100.0.32", "refused", refusal="unreachable")),
        (2, "", "RTNETLINK answers: Permission denied\n", Route("10.100.0.32", "refused", refusal="prohibit")),
        (2, "", "RTNETLINK answers: Invalid argument\n", Route("10.100.0.32", "refused", refusal="blackhole")),
    ],
)
def test_a_route_is_read(status: int, out: str, err: str, expected: Route) -> None:
    assert fabric_route.parse_route("10.100.0.32", "ib0", status, out, err) == expected


def test_other_failures_of_ip_are_errors() -> None:
    with pytest.raises(RemoteFailureError, match="found Error: any valid prefix is expected"):
        fabric_route.parse_route("x", "ib0", 1, "", "Error: any valid prefix is expected rather than x.")


def test_an_interface_is_read() -> None:
    sysfs = {"type": "32", "mode": "datagram", "numa_node": "0", "speed": "100000"}
    assert fabric_route.parse_interface("ib0", UP, sysfs) == replace(IB0, speed_gbps=100.0)
    assert fabric_route.parse_interface("ib1", UP, {}) == Interface("ib1")
    assert fabric_route.parse_interface("ib0", "no JSON", {}) == Interface("ib0")


def test_an_interface_that_is_down_is_read() -> None:
    down = fabric_route.parse_interface("ib0", DOWN, {"numa_node": "-1", "speed": "-1"})
    assert (down.exists, down.is_up, down.has_carrier) == (True, False, False)
    assert (down.numa_node, down.speed_gbps, down.addresses) == (None, None, ("10.100.0.31",))


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("100 Gb/sec (2X HDR)", (100.0, 2, "HDR")),
        ("100 Gb/sec (4X EDR)", (100.0, 4, "EDR")),
        ("2.5 Gb/sec (1X SDR)", (2.5, 1, "SDR")),
        ("10 Gb/sec (4X)", (10.0, 4, "")),
        ("200 Gb/sec", (200.0, None, "")),
        ("", (None, None, "")),
    ],
)
def test_a_rate_is_read(rate: str, expected: tuple[float | None, int | None, str]) -> None:
    port = fabric_route.parse_port("mlx5_0", 1, {**FILES, "rate": rate})
    assert (port.rate_gbps, port.width, port.generation) == expected


def test_a_port_is_read_with_its_mtu() -> None:
    assert fabric_route.parse_port("mlx5_0", 1, FILES, DEVINFO) == PORT
    assert fabric_route.parse_port("mlx5_1", 1, FILES, DEVINFO).mtu == 1024
    assert fabric_route.parse_port("mlx5_0", 2, FILES, DEVINFO).mtu is None
    assert fabric_route.parse_port("mlx5_0", 1, FILES, "No IB devices found\n").mtu is None


def test_a_fabric_that_matches_the_inventory_has_no_problem() -> None:
    assert fabric_route.problems(WANTED, SEEN) == []
    assert fabric_route.advice(SEEN) == []


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (replace(SEEN, interface=Interface("ib0"), routes=()), ["expected the interface ib0, found none"]),
        (replace(SEEN, interface=replace(IB0, is_up=False)), ["expected ib0 to be up, found it down"]),
        (
            replace(SEEN, interface=replace(IB0, has_carrier=False)),
            ["found no carrier: look at the cable and the switch's port, and at the subnet manager"],
        ),
        (replace(SEEN, interface=replace(IB0, addresses=())), ["expected 10.100.0.31 on ib0, found no address"]),
        (
            replace(SEEN, interface=replace(IB0, mtu=65520, mode="connected")),
            ["expected an MTU of 2044 bytes on ib0, found 65520 in connected mode"],
        ),
        (
            replace(SEEN, interface=replace(IB0, kind=1), port=None),
            ["to be an InfiniBand interface, found kind 1", "expected an RDMA device behind ib0, found none"],
        ),
        (
            replace(SEEN, port=replace(PORT, state="DOWN", physical="Polling")),
            [r"mlx5_0 port 1 to be ACTIVE, found DOWN \(Polling\): look at the cable"],
        ),
        (
            replace(SEEN, port=replace(PORT, state="INIT")),
            [r"found INIT \(LinkUp\): start the subnet manager; the cable is well"],
        ),
        (replace(SEEN, port=replace(PORT, state="ARMED")), ["the subnet manager's log"]),
        (replace(SEEN, port=replace(PORT, state="", physical="")), [r"no state \(unknown\): look at ibstat"]),
        (replace(SEEN, port=replace(PORT, mtu=2048)), ["hardware's MTU of mlx5_0 port 1 to be 4096 bytes, found 2048"]),
        (
            replace(SEEN, port=replace(PORT, rate_gbps=50.0, width=1)),
            [r"expected a link of 100 Gb/s on ib0, found 50 \(1X HDR\)"],
        ),
        (replace(SEEN, port=replace(PORT, link_layer="Ethernet")), ["to be InfiniBand, found Ethernet"]),
        (
            replace(SEEN, routes=(Route("10.100.0.32", "missing"),)),
            ["expected a route to 10.100.0.32 by ib0, found none at all"],
        ),
        (
            replace(SEEN, routes=(Route("10.100.0.32", "fallback", "eth0", "10.0.0.1"),)),
            ["to leave by ib0, found it on eth0 through 10.0.0.1, which is slow"],
        ),
        (
            replace(SEEN, routes=(Route("10.100.0.32", "refused", refusal="blackhole"),)),
            ["found a route of the type blackhole"],
        ),
        (replace(SEEN, routes=(Route("10.100.0.32", "local", "lo"),)), ["to be another host, found it on this one"]),
        (
            replace(SEEN, routes=(replace(ROUTE, source="10.100.0.99"),)),
            ["to come from 10.100.0.31, found 10.100.0.99"],
        ),
        (
            replace(SEEN, routes=(replace(ROUTE, mtu=1400),)),
            ["of 2044 bytes to 10.100.0.32, found a route"],
        ),
        (replace(SEEN, routes=(replace(ROUTE, reverse=False),)), ["reverse path filter"]),
        (replace(SEEN, routes=(replace(ROUTE, reaches=False),)), ["to answer to a packet of 2044 bytes by ib0"]),
        # What nobody knows is no problem.
        (replace(SEEN, routes=(replace(ROUTE, reverse=None, reaches=None),)), []),
        (replace(SEEN, port=replace(PORT, mtu=None, rate_gbps=None)), []),
        # The cause comes before what follows from it.
        (
            replace(SEEN, interface=replace(IB0, is_up=False), routes=(Route("10.100.0.32", "missing"),)),
            ["to be up", "a route to"],
        ),
    ],
)
def test_each_problem_is_one_sentence(seen: FabricState, found: list[str]) -> None:
    problems = fabric_route.problems(WANTED, seen)
    assert len(problems) == len(found), problems
    for sentence, part in zip(problems, found, strict=True):
        assert re.search(part, sentence), sentence
        assert sentence.startswith("expected ")
        assert sentence.endswith(".")


def test_the_rate_of_an_ethernet_fabric_is_that_of_its_interface() -> None:
    wanted = FabricSpec("eth1", rate_gbps=25, link_layer="Ethernet")
    here = Interface("eth1", exists=True, is_up=True, has_carrier=True, kind=1, speed_gbps=10.0)
    assert fabric_route.problems(wanted, FabricState(here)) == [
        "expected a link of 25 Gb/s on eth1, found 10: reseat or change the cable, and look at the switch's port; "
        "a link that has lost lanes goes on at a lower rate."
    ]


@pytest.mark.parametrize(
    ("near", "gpus", "count"),
    [(0, {"a": 0, "b": 1}, 1), (1, {"a": 1}, 0), (None, {"a": 1}, 0), (0, {}, 0)],
)
def test_a_gpu_on_another_node_is_advice(near: int | None, gpus: dict[str, int], count: int) -> None:
    found = fabric_route.advice(FabricState(replace(IB0, numa_node=near), gpu_nodes=gpus))
    assert len(found) == count
    assert all("found b on 1" in sentence for sentence in found)


@pytest.mark.parametrize(("mtu", "size"), [(2044, 2016), (1500, 1472), (None, 548), (20, 8)])
def test_an_echo_fills_a_packet(mtu: int | None, size: int) -> None:
    assert fabric_route.echo_size(mtu) == size


BOND = FabricSpec("bond0", "10.100.0.31", 2044, 4096, 100, "InfiniBand")
MEMBERS = tuple(PortInterface(f"ib{index}", 32, f"mlx5_{index}", 1, index) for index in (0, 1))
BOND0 = FabricState(
    replace(IB0, name="bond0"),
    replace(PORT, interface="ib0"),
    (replace(ROUTE, interface="bond0"),),
    other_ports=(replace(PORT, device="mlx5_1", interface="ib1"),),
    stack=Stack(MEMBERS, (), "bond0", "active-backup"),
)


def second(**changes: Any) -> FabricState:
    """Return the bond with a change of its second port."""
    return replace(BOND0, other_ports=(replace(BOND0.other_ports[0], **changes),))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (BOND0, []),
        (
            second(state="DOWN", physical="Polling"),
            [r"expected mlx5_1 port 1 \(ib1, below bond0\) to be ACTIVE, found DOWN \(Polling\)"],
        ),
        (
            second(rate_gbps=25.0, width=1),
            [r"expected a link of 100 Gb/s on ib1, below bond0, found 25 \(1X HDR\)"],
        ),
        (second(mtu=2048), [r"hardware's MTU of mlx5_1 port 1 \(ib1, below bond0\) to be 4096 bytes, found 2048"]),
        (
            replace(BOND0, stack=replace(BOND0.stack, down=("ib1",))),
            ["expected ib1 below bond0 to be up, found it down: run ip link set ib1 up"],
        ),
        (
            replace(
                BOND0, other_ports=(), stack=replace(BOND0.stack, ports=(MEMBERS[0], replace(MEMBERS[1], adapter="")))
            ),
            ["expected an RDMA device behind ib1, below bond0, found none"],
        ),
        (
            replace(BOND0, port=None, other_ports=(), stack=Stack((), (), "bond0", "active-backup")),
            ["expected the bond bond0 to have members, found none"],
        ),
    ],
)
def test_each_port_of_a_bond_is_checked(seen: FabricState, words: list[str]) -> None:
    found = fabric_route.problems(BOND, seen)
    assert len(found) == len(words), found
    for sentence, pattern in zip(found, words):
        assert re.search(pattern, sentence), sentence


def test_rates_of_a_bond_that_uses_all_members_are_added() -> None:
    both = replace(BOND0, stack=replace(BOND0.stack, mode="802.3ad"))
    wanted = replace(BOND, rate_gbps=200)
    assert fabric_route.problems(wanted, both) == []
    down = replace(both, other_ports=(replace(both.other_ports[0], state="DOWN"),))
    rate, port = fabric_route.problems(wanted, down)
    assert rate.startswith("expected a link of 200 Gb/s on bond0, found 100:")
    assert "mlx5_1 port 1 (ib1, below bond0) to be ACTIVE, found DOWN" in port


def test_bond_of_ethernet_ports_may_share_one_rdma_device() -> None:
    """As with the driver's own bonding of RoCE, where the second interface has none."""
    members = (PortInterface("ens1", 1, "mlx5_bond_0", 1, 0), PortInterface("ens2", 1, "", 1, 0))
    seen = replace(
        BOND0,
        interface=replace(IB0, name="bond0", kind=1, mode=""),
        port=replace(PORT, device="mlx5_bond_0", link_layer="Ethernet", interface="ens1"),
        other_ports=(),
        stack=Stack(members, (), "bond0", "802.3ad"),
    )
    assert fabric_route.problems(replace(BOND, link_layer="Ethernet"), seen) == []


def test_child_of_a_partition_is_checked_by_its_port() -> None:
    wanted = replace(WANTED, interface="ib0.8001")
    child = replace(
        SEEN,
        interface=replace(IB0, name="ib0.8001"),
        port=replace(PORT, interface="ib0"),
        routes=(replace(ROUTE, interface="ib0.8001"),),
        stack=Stack(MEMBERS[:1]),
    )
    assert fabric_route.problems(wanted, child) == []
    (problem,) = fabric_route.problems(wanted, replace(child, port=replace(PORT, interface="ib0", rate_gbps=25.0)))
    assert problem.startswith("expected a link of 100 Gb/s on ib0, below ib0.8001, found 25 (2X HDR)")
