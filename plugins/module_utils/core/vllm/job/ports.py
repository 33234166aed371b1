# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the ports of a vLLM job: the rendezvous of the ranks, their heartbeats, and the API.

The ports follow from the job's number, so that a person can compute them, and from what listens on the nodes. Gloo and
ZMQ take further, random ports of the fabric, which no setting of vLLM fixes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ...errors import InsufficientError
from .. import config_keys

#: Ports from the base on that the jobs of one cluster share: a pair for each job.
SPAN = config_keys.MASTER_PORT_SPAN
_STEP = 2
#: What a user's job of several nodes cannot change.
OPEN_TO_OTHERS = (
    "The ports between the nodes ask for no secret, and a user's job cannot close them: a program that reaches them "
    "can run code as you. The cluster's network is the protection; ask its administrators whether jobs of other users "
    "reach it."
)


@dataclass(frozen=True)
class RankPorts:
    """The port of torch's rendezvous, which rank 0 binds, and the port of the heartbeats, which every rank binds."""

    master: int
    heartbeat: int


def candidates(base: int, job: int) -> Iterator[RankPorts]:
    """Yield the pairs of ports in the order in which a job tries them: its own pair first."""
    first = job * _STEP % SPAN
    for offset in range(0, SPAN, _STEP):
        port = base + (first + offset) % SPAN
        yield RankPorts(port, port + 1)


def choose(base: int, job: int, taken: Collection[int]) -> RankPorts:
    """Choose the first pair that is free on all nodes.

    :param taken: ports in use on any node.
    """
    for pair in candidates(base, job):
        if pair.master not in taken and pair.heartbeat not in taken:
            return pair
    raise InsufficientError(
        f"two free ports between {base} and {base + SPAN - 1} on all nodes of the job",
        "sockets on all of them",
        "set distributed.master_port_base to another range; ss -tanp on the nodes names the programs",
    )


def choose_api(port: int, count: int, taken: Collection[int]) -> int:
    """Choose the port of the API: the model's own, or one of the next ones.

    :param taken: ports in use on the node of rank 0.
    """
    for found in range(port, port + count):
        if found not in taken:
            return found
    last = f" to {port + count - 1}" if count > 1 else ""
    raise InsufficientError(
        f"port {port}{last} to be free on the first node",
        "another program on it",
        "set the model's port to another value; ss -ltnp on the node names the program",
    )
