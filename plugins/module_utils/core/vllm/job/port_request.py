# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request of a rank to the port guard of its node: which ports only the ranks of its job may reach.

Gloo and ZMQ listen on random ports, and torch's store listens on all addresses. None of them asks for a secret. So a
rank names the ports on which its processes listen, and the ports of the other ranks, as their heartbeats report them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...values import invalid
from .heartbeat_message import MOST_PORTS, MOST_RANKS

#: Bytes of the longest request, which is one line.
LARGEST = 128 * 1024
#: Services of a node have lower ports. No request can close one of them.
LOWEST = 10240
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")
_REMEDY = "see the journal of herd-job-guard on this node"


@dataclass(frozen=True)
class RankPortRequest:
    """The ports of a job's ranks.

    :param own: address of the asking rank on the fabric.
    :param ports: ports on which the ranks listen, by the address of each rank.
    """

    own: str
    ports: Mapping[str, tuple[int, ...]]

    @property
    def own_ports(self) -> tuple[int, ...]:
        """The ports on this node."""
        return self.ports[self.own]


def write(request: RankPortRequest) -> str:
    """Write a request as one line."""
    return json.dumps({"own": request.own, "ports": dict(request.ports)}, separators=(",", ":"))


def _ports(data: Any) -> tuple[int, ...]:
    if not isinstance(data, list) or len(data) > MOST_PORTS:
        raise invalid(f"a list of at most {MOST_PORTS} ports", data, _REMEDY)
    for port in data:
        if not isinstance(port, int) or isinstance(port, bool) or not LOWEST <= port <= 65535:
            raise invalid(f"a port from {LOWEST} to 65535", port, _REMEDY)
    return tuple(sorted(set(data)))


def parse(data: Mapping[str, Any], addresses: Collection[str]) -> RankPortRequest:
    """Read a request strictly.

    :param addresses: addresses of the cluster's nodes.
    :raises InvalidInputError: if a port or an address is none that a rank may have.
    """
    ports = data.get("ports")
    if not isinstance(ports, dict) or not 0 < len(ports) <= MOST_RANKS:
        raise invalid(f"the ports of at most {MOST_RANKS} ranks", ports, _REMEDY)
    for address in ports:
        if address not in addresses or not _ADDRESS.fullmatch(address):
            raise invalid("addresses of nodes of the cluster", address, _REMEDY)
    own = data.get("own")
    if not isinstance(own, str) or own not in ports:
        raise invalid("the rank's own address among those of the ranks", own, _REMEDY)
    return RankPortRequest(own, {address: _ports(listed) for address, listed in ports.items()})
