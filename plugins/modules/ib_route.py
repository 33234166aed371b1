#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ib_route
short_description: Check that traffic between the nodes uses the fabric
version_added: 0.1.0
description:
  - Asks the kernel for the interface of packets to each peer. A route through the Ethernet is another problem than
    a missing route.
  - Reads the fabric's interface (address, MTU, carrier), its RDMA port in sysfs (state, rate, width), the NUMA nodes of
    the card and the GPUs, and whether the kernel accepts packets of the peers at this interface.
  - Measures the bandwidth to the peers in O(measure), on which an iperf3 server must run.
  - Changes nothing. Sends packets only for O(echo) and O(measure).
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  interface:
    description: Interface of the fabric.
    type: str
    required: true
  address:
    description: IPv4 address that the interface must have. Empty skips the check.
    type: str
    default: ""
  peers:
    description: IPv4 addresses whose route must use the interface.
    type: list
    elements: str
    default: []
  mtu:
    description: Required MTU of the interface in bytes, for example 2044 for IPoIB in datagram mode.
    type: int
  hardware_mtu:
    description:
      - Smallest allowed active MTU of the RDMA port in bytes, usually 4096. Without C(ibv_devinfo), which reports it,
        the module skips the check.
    type: int
  rate_gbps:
    description: Lowest allowed rate of the link in Gb/s, such as 100 for HDR100. V(0) skips the check.
    type: float
    default: 0
  link_layer:
    description: Required type of the link. Empty skips the check.
    type: str
    choices: ["", InfiniBand, Ethernet]
    default: ""
  echo:
    description: Whether to send each peer a full, unfragmented packet with C(ping).
    type: bool
    default: false
  measure:
    description: Peers to measure the bandwidth to. An iperf3 server must run on each.
    type: list
    elements: str
    default: []
  measure_port:
    description: Port of the iperf3 servers.
    type: int
    default: 50064
  measure_seconds:
    description: Duration of each measurement in seconds.
    type: int
    default: 10
  measure_reverse:
    description: Whether to measure from the peer to this host.
    type: bool
    default: false
  streams:
    description: Parallel connections. Before iperf3 3.16, one processor serves all of them.
    type: int
    default: 4
  good_gbps:
    description: Target of the bandwidth in Gb/s; more is good.
    type: float
    default: 50
  acceptable_gbps:
    description: Lowest acceptable bandwidth in Gb/s.
    type: float
    default: 30
  critical_gbps:
    description: Bandwidth in Gb/s below which it is critical.
    type: float
    default: 20
  report_only:
    description: Whether to return problems instead of failing.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop if traffic between the nodes does not use InfiniBand
  herd.inference.ib_route:
    interface: ib0
    address: 10.100.0.31
    peers: [10.100.0.32, 10.100.0.33]
    mtu: 2044
    hardware_mtu: 4096
    rate_gbps: 100
    link_layer: InfiniBand
    echo: true

- name: Measure the bandwidth of the fabric to an iperf3 server
  herd.inference.ib_route:
    interface: ib0
    address: 10.100.0.31
    measure: [10.100.0.32]
    streams: 8
    report_only: true
  register: fabric
"""

RETURN = r"""
ok:
  description: Whether the module found no problem.
  returned: success
  type: bool
problems:
  description: The problems, one sentence each. A cause precedes its consequences.
  returned: success
  type: list
  elements: str
  sample:
    - "expected traffic to 10.100.0.32 to leave by ib0, found it on eth0 through 10.0.0.1, which is slow and which
      nothing reports: bring ib0 up, and remove the route (ip route show match 10.100.0.32)."
advice:
  description: Advice on performance, such as a GPU and a card on different NUMA nodes.
  returned: success
  type: list
  elements: str
interface:
  description: The interface. C(kind) is the kernel's type, 32 for InfiniBand. C(mode) is IPoIB's. Unknown is null.
  returned: success
  type: dict
  sample:
    name: ib0
    exists: true
    is_up: true
    has_carrier: true
    addresses: [10.100.0.31]
    mtu: 2044
    kind: 32
    mode: datagram
    numa_node: 0
    speed_gbps: 100.0
port:
  description:
    - The RDMA port of the interface, from C(/sys/class/infiniband) and C(ibv_devinfo), or null. Bonds, VLANs and
      children of an IPoIB partition are followed; C(interface) is that of the port. The MTU is in bytes, the rate in
      Gb/s, C(width) in lanes.
  returned: success
  type: dict
  sample:
    device: mlx5_0
    number: 1
    state: ACTIVE
    physical: LinkUp
    link_layer: InfiniBand
    rate_gbps: 100.0
    width: 2
    generation: HDR
    mtu: 4096
    max_mtu: 4096
    interface: ib0
other_ports:
  description: The further RDMA ports of a bond, as RV(port), which is the active one.
  returned: success
  type: list
  elements: dict
  sample: []
stack:
  description:
    - The interfaces of ports below the interface, those below it that are down, and the bond on the way with its mode.
  returned: success
  type: dict
  sample:
    ports: [{name: ib0, kind: 32, adapter: mlx5_0, number: 1, numa_node: 0}]
    down: []
    bond: ""
    mode: ""
routes:
  description:
    - The route to each peer. C(state) is V(fabric), V(fallback) (through another interface), V(missing), V(refused) (by
      a route of the type C(refusal)) or V(local). C(reverse) tells whether the kernel accepts packets of the peer at
      the interface, C(reaches) whether the peer answered. Not checked is null.
  returned: success
  type: list
  elements: dict
  sample:
    - peer: 10.100.0.32
      state: fabric
      interface: ib0
      gateway: ""
      source: 10.100.0.31
      mtu: null
      refusal: ""
      reverse: true
      reaches: true
gpu_nodes:
  description: NUMA node of each NVIDIA GPU by PCI address.
  returned: success
  type: dict
  sample: {"0000:3b:00.0": 0}
bandwidth:
  description:
    - Results of iperf3. Rates are in Gb/s, processor times in percent of one processor. C(level) is V(good),
      V(acceptable), V(low) or V(critical).
  returned: success
  type: list
  elements: dict
  sample:
    - peer: 10.100.0.32
      direction: out
      gbps: 58.412
      seconds: 10.0
      streams: 8
      retransmits: 0
      local_cpu_percent: 71.4
      remote_cpu_percent: 88.0
      level: good
      bound_by_cpu: false
"""

from dataclasses import asdict, replace
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.host import fabric_route, iperf, numa
from ansible_collections.herd.inference.plugins.module_utils.core.host.hardware import interfaces
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule, run_module
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric


def spec_of(given: dict[str, Any]) -> fabric_route.FabricSpec:
    """Return the requirements of the task."""
    names = ("interface", "address", "mtu", "hardware_mtu", "rate_gbps", "link_layer")
    return fabric_route.FabricSpec(**{name: given[name] for name in names})


def read_route(peer: str, given: dict[str, Any], here: fabric_route.Interface) -> fabric_route.Route:
    """Read the route to one peer and, if it uses the fabric, the way back."""
    answer = fabric.route_to(peer)
    route = fabric_route.parse_route(peer, here.name, answer.rc, answer.out, answer.err)
    if route.state != "fabric":
        return route
    own = given["address"] or route.source
    if own in here.addresses:
        route = replace(route, reverse=fabric.accepts_packets(peer, own, here.name))
    if given["echo"]:
        route = replace(route, reaches=fabric.ping(peer, here.name, fabric_route.echo_size(here.mtu)))
    return route


def read_state(given: dict[str, Any]) -> fabric_route.FabricState:
    """Read the interface, the RDMA port, the routes and the GPUs' NUMA nodes."""
    name = given["interface"]
    stack, devinfo = interfaces.stack(name, fabric.Sysfs()), fabric.devinfo()
    files = {**fabric.interface_files(name), "numa_node": "".join(map(str, stack.numa_nodes[:1]))}
    here = fabric_route.parse_interface(name, fabric.links(), files)
    ports = [
        fabric_route.parse_port(
            port.adapter, port.number, fabric.port_files(port.adapter, port.number), devinfo, port.name
        )
        for port in stack.ports
        if port.adapter
    ]
    nodes = {device: numa.device_node(node) for device, node in fabric.gpu_nodes().items()}
    return fabric_route.FabricState(
        here,
        ports[0] if ports else None,
        tuple(read_route(peer, given, here) for peer in given["peers"]),
        {device: node for device, node in nodes.items() if node is not None},
        tuple(ports[1:]),
        stack,
    )


def measure(given: dict[str, Any]) -> tuple[list[iperf.BandwidthMeasurement], list[str]]:
    """Measure the bandwidth to each peer in turn, since parallel measurements would share the link."""
    limits = iperf.BandwidthLimits(given["good_gbps"], given["acceptable_gbps"], given["critical_gbps"])
    found: list[iperf.BandwidthMeasurement] = []
    for peer in given["measure"]:
        said = fabric.iperf(
            peer,
            given["address"],
            given["measure_port"],
            given["measure_seconds"],
            given["streams"],
            given["measure_reverse"],
        )
        found.append(iperf.parse(said, peer, limits))
    sentences = (iperf.problem(measured, limits) for measured in found)
    return found, [sentence for sentence in sentences if sentence]


def result(module: HerdModule) -> dict[str, Any]:
    """Compare the fabric with the requirements, and return the module's result."""
    given = module.params
    seen = read_state(given)
    problems = fabric_route.problems(spec_of(given), seen)
    # Without the fabric's route, iperf3 would measure another network.
    measured, slow = measure(given) if not problems else ([], [])
    problems += slow
    advice = fabric_route.advice(seen)
    for sentence in advice:
        module.warn(sentence)
    found = {
        "ok": not problems,
        "problems": problems,
        "advice": advice,
        **asdict(seen),
        "bandwidth": [asdict(one) for one in measured],
    }
    if problems and not given["report_only"]:
        module.fail_json(msg=" ".join(problems), **found)
    return found


def main() -> None:
    run_module(
        result,
        interface={"type": "str", "required": True},
        address={"type": "str", "default": ""},
        peers={"type": "list", "elements": "str", "default": []},
        mtu={"type": "int"},
        hardware_mtu={"type": "int"},
        rate_gbps={"type": "float", "default": 0},
        link_layer={"type": "str", "default": "", "choices": ["", "InfiniBand", "Ethernet"]},
        echo={"type": "bool", "default": False},
        measure={"type": "list", "elements": "str", "default": []},
        measure_port={"type": "int", "default": 50064},
        measure_seconds={"type": "int", "default": 10},
        measure_reverse={"type": "bool", "default": False},
        streams={"type": "int", "default": 4},
        good_gbps={"type": "float", "default": 50},
        acceptable_gbps={"type": "float", "default": 30},
        critical_gbps={"type": "float", "default": 20},
        report_only={"type": "bool", "default": False},
    )


if __name__ == "__main__":
    main()
