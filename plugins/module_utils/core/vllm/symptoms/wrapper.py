# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the wrapper of a rank and the job's script say (core/vllm/job/watch.py, run.py, requeue.py)."""

from __future__ import annotations

from .rule import CONSEQUENCE, rule

_LOST = "rank-lost"
_SEE = "see the lines of that rank (herdctl vllm logs --rank) and sinfo -R; the job starts again, unless it fails often"

RULES = (
    rule(
        "peer-lost",
        "has sent no heartbeat",
        r"(?P<where>rank \d+ on \S+) (?:\([^)]*\) )?has sent no heartbeat for (?P<seconds>\d+) seconds",
        "{where} is lost: no heartbeat for {seconds} s; its node, its wrapper or the fabric is down",
        _SEE,
        _LOST,
        CONSEQUENCE,
    ),
    rule(
        "peer-never-came",
        "has not come within",
        r"(?P<where>rank \d+ on \S+) \([^)]*\) has not come within (?P<seconds>\d+) seconds",
        "{where} has not come within {seconds} s",
        "see the first lines of that rank: it failed, or cannot reach the first node; name nccl.socket_ifname",
        "rendezvous-timeout",
    ),
    rule(
        "rank-frozen",
        "has been stopped for",
        r"(?P<where>rank \d+ on \S+): (?P<name>.{1,60}?) has been stopped for (?P<seconds>\d+) seconds",
        "{name} of {where} has been stopped for {seconds} s",
        _SEE,
        _LOST,
    ),
    rule(
        "load-too-long",
        "vLLM is not ready",
        r"vLLM is not ready (?P<seconds>\d+) seconds after its start",
        "vLLM is not ready {seconds} s after its start",
        "see how far it came (herdctl vllm logs); a first start on a slow file system takes long",
        "time-limit",
    ),
    rule(
        "master-port-taken",
        "to be free for the rendezvous",
        r"port (?P<port>\d+) to be free for the rendezvous",
        "the rendezvous port {port} is taken on the first node",
        "the job takes another port at its next start; if it happens again, change distributed.master_port_base",
        "port-taken",
    ),
    rule(
        "wrong-interface",
        "with an IPv4 address",
        r"the interface (?P<interface>\S+) with an IPv4 address, found (?P<found>[^:]{1,200})",
        "a node has no interface {interface} with an address (it has {found})",
        "correct nccl.socket_ifname: srun --nodes=2 ip -br address shows the interfaces; empty means automatic",
        "wrong-interface",
        is_permanent=True,
    ),
    rule(
        "no-fabric-address",
        "an address on the fabric",
        r"an address on the fabric, found (?P<found>[^:]{1,120})",
        "a node has no address for the traffic between the ranks ({found})",
        "set nccl.socket_ifname to an interface that every node has: srun --nodes=2 ip -br address",
        "wrong-interface",
        is_permanent=True,
    ),
    rule(
        "job-cannot-start",
        "the job cannot start",
        r"herd: the job cannot start: (?P<what>.{1,400})",
        "the job cannot start: {what}",
        "see the lines before it in the log",
        "node-unsuitable",
        CONSEQUENCE,
    ),
    rule(
        "rank-ended",
        "without being asked",
        r"(?P<where>rank \d+ on \S+): (?P<name>.{1,60}?) has ended (?P<when>while it started, )?without being asked",
        "{name} of {where} has ended without being asked",
        _SEE,
        _LOST,
    ),
)
