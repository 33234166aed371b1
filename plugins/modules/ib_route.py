#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module ib_route."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ib_route
short_description: Prove that traffic between the nodes takes the fabric
version_added: 0.2.0
description:
  - Asks the kernel by which interface packets to each peer leave, and tells a route by the Ethernet from a missing one.
  - Looks at the fabric's interface (address, MTU, carrier), at the RDMA port behind it in sysfs (state, rate, width),
    at the NUMA nodes of card and GPUs, and at whether the kernel lets packets of the peers in there.
  - Measures the bandwidth with iperf3 where O(measure) names peers on which its server runs.
  - Changes nothing. Without O(echo) and O(measure) it sends nothing.
author:
  - herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module]
options:
  interface:
    description: Interface of the fabric.
    type: str
    required: true
  address:
    description: IPv4 address of this host that must be on it. Not held when empty.
    type: str
    default: ""
  peers:
    description: IPv4 addresses that must be reached by it.
    type: list
    elements: str
    default: []
  mtu:
    description: MTU of the interface in bytes; 2044 is that of IPoIB in datagram mode. Not held when left out.
    type: int
  hardware_mtu:
    description:
      - Least active MTU of the RDMA port in bytes, usually 4096. Not held when left out, nor where C(ibv_devinfo),
        which alone knows it, is not installed.
    type: int
  rate_gbps:
    description: Least rate of the link in Gb/s, such as 100 for HDR100. V(0) does not hold it.
    type: float
    default: 0
  link_layer:
    description: What the link must be. Empty does not hold it.
    type: str
    choices: ["", InfiniBand, Ethernet]
    default: ""
  echo:
    description: Whether to ask each peer for an echo of a full packet that may not be split. Takes C(ping).
    type: bool
    default: false
  measure:
    description: Peers on which a server of iperf3 waits, to measure the bandwidth to.
    type: list
    elements: str
    default: []
  measure_port:
    description: Port of these servers.
    type: int
    default: 50064
  measure_seconds:
    description: Seconds that each measurement takes.
    type: int
    default: 10
  measure_reverse:
    description: Whether the peer sends, and not this host.
    type: bool
    default: false
  streams:
    description: Connections side by side. Before iperf3 3.16 one processor carries them all.
    type: int
    default: 4
  good_gbps:
    description: More than so many Gb/s is the target.
    type: float
    default: 50
  acceptable_gbps:
    description: More than so many Gb/s will do.
    type: float
    default: 30
  critical_gbps:
    description: Less than so many Gb/s is critical.
    type: float
    default: 20
  report_only:
    description: Whether to return problems and not to fail with them.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Stop when the nodes would not talk over InfiniBand
  herd.inference.ib_route:
    interface: ib0
    address: 10.100.0.31
    peers: [10.100.0.32, 10.100.0.33]
    mtu: 2044
    hardware_mtu: 4096
    rate_gbps: 100
    link_layer: InfiniBand
    echo: true

- name: Measure what the fabric carries, with iperf3 --server on the peer
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
  description: Whether there is no problem.
  returned: success
  type: bool
  sample: false
problems:
  description: What is wrong, a sentence each; the cause before what follows from it.
  returned: success
  type: list
  elements: str
  sample:
    - "expected traffic to 10.100.0.32 to leave by ib0, found it on eth0 through 10.0.0.1, which is slow and which
      nothing reports: bring ib0 up, and remove the route (ip route show match 10.100.0.32)."
advice:
  description: What costs speed and stops nothing, such as a GPU on another NUMA node than the card.
  returned: success
  type: list
  elements: str
  sample: []
interface:
  description: The interface. C(kind) is the kernel's number, 32 for InfiniBand; C(mode) is IPoIB's; null is unknown.
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
    - The RDMA port behind it, from C(/sys/class/infiniband) and C(ibv_devinfo); null where there is none. MTU in bytes,
      rate in Gb/s, C(width) in lanes.
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
routes:
  description:
    - The way to each peer. C(state) is V(fabric), V(fallback) (by another interface), V(missing), V(refused) (by a
      route of the type C(refusal)) or V(local). C(reverse) says whether packets of the peer are let in there,
      C(reaches) whether it answered; null where nobody asked.
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
  description: NUMA node of each NVIDIA GPU that has one, by PCI address.
  returned: success
  type: dict
  sample: {"0000:3b:00.0": 0}
bandwidth:
  description:
    - What iperf3 measured. Rates in Gb/s, processors in percent of one; C(level) is V(good), V(acceptable), V(low) or
      V(critical).
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.host import fabric_route, iperf
from ansible_collections.herd.inference.plugins.module_utils.ports.host import fabric


def wanted_of(given: dict[str, Any]) -> fabric_route.FabricSpec:
    """What the task holds the host to."""
    names = ("interface", "address", "mtu", "hardware_mtu", "rate_gbps", "link_layer")
    return fabric_route.FabricSpec(**{name: given[name] for name in names})


def way_to(peer: str, given: dict[str, Any], here: fabric_route.Interface) -> fabric_route.Route:
    """The route to one peer, and back."""
    answer = fabric.route_to(peer)
    route = fabric_route.parse_route(peer, here.name, answer.rc, answer.out, answer.err)
    if route.state != "fabric":
        return route
    own = given["address"] or route.source
    if own in here.addresses:
        route = replace(route, reverse=fabric.lets_in(peer, own, here.name))
    if given["echo"]:
        route = replace(route, reaches=fabric.echo(peer, here.name, fabric_route.echo_size(here.mtu)))
    return route


def look(given: dict[str, Any]) -> fabric_route.FabricState:
    """Gather everything once."""
    name = given["interface"]
    here = fabric_route.parse_interface(name, fabric.links(), fabric.interface_files(name))
    found = fabric.rdma_port(name)
    nodes = {device: fabric_route.numa(node) for device, node in fabric.gpu_nodes().items()}
    return fabric_route.FabricState(
        here,
        fabric_route.parse_port(*found, fabric.devinfo()) if found else None,
        tuple(way_to(peer, given, here) for peer in given["peers"]),
        {device: node for device, node in nodes.items() if node is not None},
    )


def measure(given: dict[str, Any]) -> tuple[list[iperf.BandwidthMeasurement], list[str]]:
    """Measure to each peer in turn; side by side they would share the link."""
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


def main() -> None:
    """Read the arguments, look, answer."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "peers": {"type": "list", "elements": "str", "default": []},
            "mtu": {"type": "int"},
            "hardware_mtu": {"type": "int"},
            "rate_gbps": {"type": "float", "default": 0},
            "link_layer": {"type": "str", "default": "", "choices": ["", "InfiniBand", "Ethernet"]},
            "echo": {"type": "bool", "default": False},
            "measure": {"type": "list", "elements": "str", "default": []},
            "measure_port": {"type": "int", "default": 50064},
            "measure_seconds": {"type": "int", "default": 10},
            "measure_reverse": {"type": "bool", "default": False},
            "streams": {"type": "int", "default": 4},
            "good_gbps": {"type": "float", "default": 50},
            "acceptable_gbps": {"type": "float", "default": 30},
            "critical_gbps": {"type": "float", "default": 20},
            "report_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        seen = look(given)
        problems = fabric_route.problems(wanted_of(given), seen)
        # What would take another way measures another network.
        measured, slow = measure(given) if not problems else ([], [])
    except HerdError as error:
        module.fail_json(msg=str(error))
    problems += slow
    advice = fabric_route.advice(seen)
    for sentence in advice:
        module.warn(sentence)
    answer = {
        "ok": not problems,
        "problems": problems,
        "advice": advice,
        **asdict(seen),
        "bandwidth": [asdict(one) for one in measured],
    }
    if problems and not given["report_only"]:
        module.fail_json(msg=" ".join(problems), **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
