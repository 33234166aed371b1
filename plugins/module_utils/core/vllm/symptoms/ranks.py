# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ranks and their network: rendezvous, ports, interfaces, NCCL, and ranks that are lost.

The messages are those of vLLM 0.32.0, torch 2.13, gloo and ZMQ, each seen in runs over two hosts; those of NCCL are
from its logs (NCCL_DEBUG=INFO).
"""

from __future__ import annotations

import re

from .rule import CONSEQUENCE, WARNING, Settings, rule

_RENDEZVOUS, _INTERFACE, _PORT, _LOST = "rendezvous-timeout", "wrong-interface", "port-taken", "rank-lost"
_LOST_CURE = "see the other rank's last lines (herdctl vllm logs --rank) and sinfo -R; the job starts again by itself"


def _died_reason(found: re.Match[str], _settings: Settings) -> str:
    code = found["code"]
    how = "was killed" if code == "-9" else f"ended with {code}" if code != "None" else "ended"
    return f"worker {found['worker']} {how}"


def _died_cure(found: re.Match[str], _settings: Settings) -> str:
    if found["code"] == "-9":
        return (
            "if no user killed it, the node ran out of memory: raise slurm.mem_per_gpu, and see sacct -j JOB -o MaxRSS"
        )
    return _LOST_CURE


RULES = (
    rule(
        "master-port-taken",
        "failed to listen on any local network address",
        r"failed to listen on any local network address\. port: (?P<port>\d+)",
        "the rendezvous port {port} is taken on the first node",
        "repeat: a new job takes another port; if it happens again, change distributed.master_port_base",
        _PORT,
    ),
    rule(
        "api-port-taken",
        "Address already in use",
        r"(?:address \('?(?P<host>[^',]*)'?, (?P<port>\d+)\): address already in use|"
        r"OSError: \[Errno 98\] Address already in use)",
        "another program on the node has the API's port",
        "give the model another port in models.<key>.port",
        _PORT,
    ),
    rule(
        "peer-never-came",
        "clients joined",
        r"Timed out after (?P<seconds>\d+) seconds waiting for clients\. (?P<have>\d+)/(?P<want>\d+) clients joined",
        "after {seconds} s only {have} of {want} ranks had come to the rendezvous",
        "look at the first lines of the missing rank (herdctl vllm logs --rank): it failed, or cannot reach the first "
        "node; name the fabric's interface in nccl.socket_ifname; for slow file systems raise distributed.rdzv_timeout",
        _RENDEZVOUS,
    ),
    rule(
        "rendezvous-unreachable",
        "TCP client failed to connect",
        r"TCP client failed to connect/validate to host (?P<host>[^\s,]+)",
        "a rank cannot connect to the first node at {host}",
        "wait while the first node still starts; else name the fabric's interface in nccl.socket_ifname",
        _RENDEZVOUS,
        WARNING,
    ),
    rule(
        "rendezvous-timeout",
        "DistNetworkError",
        r"DistNetworkError: (?:The client socket has timed out after (?P<ms>\d+)"
        r"ms while trying to connect to \((?P<host>[^)]*)\)|The client socket has failed to connect)",
        "a rank could not connect to the first node's rendezvous port",
        "see the first node's lines: it ended, or the network between the nodes is closed; name nccl.socket_ifname",
        _RENDEZVOUS,
    ),
    rule(
        "slow-reverse-lookup",
        "hostname of the client socket cannot be retrieved",
        r"hostname of the client socket cannot be retrieved",
        "the name of a node's fabric address cannot be looked up; each connection of the ranks waits a second for it",
        "the job works without; a line such as ::ffff:10.0.0.1 NODE in /etc/hosts, or the reverse zone, ends the wait",
        _RENDEZVOUS,
        WARNING,
    ),
    rule(
        "ray-message",
        "No available node types",
        r"No available node types",
        "a Ray program printed this; these jobs do not use Ray",
        "see which program writes to this log",
        _RENDEZVOUS,
    ),
    rule(
        "wrong-interface",
        "Unable to find address for",
        r"Unable to find address for: (?P<interface>\S+)",
        "a node has no interface {interface} with an address",
        "correct nccl.socket_ifname: srun --nodes=2 ip -br address shows the interfaces; empty means automatic",
        _INTERFACE,
        is_permanent=True,
    ),
    rule(
        "wrong-interface",
        "no socket interface found",
        r"NCCL WARN .*no socket interface found",
        "NCCL finds no interface of the name in nccl.socket_ifname",
        "correct nccl.socket_ifname: srun --nodes=2 ip -br address shows the interfaces; empty means automatic",
        _INTERFACE,
        is_permanent=True,
    ),
    rule(
        "wrong-host-address",
        "Cannot assign requested address",
        r"Cannot assign requested address(?: \(addr='tcp://(?P<address>[^']*?):\d+'\))?",
        "the address {address} is not one of this node",
        "remove the node's address from the site's facts, or correct it: ip -br address shows them",
        _INTERFACE,
        is_permanent=True,
    ),
    rule(
        "nccl-uses-sockets",
        "NCCL INFO",
        r"NCCL INFO Using network Socket",
        "NCCL uses TCP sockets, not InfiniBand: generation is several times slower",
        "check ibstat and /dev/infiniband on the nodes, set nccl.socket_ifname to the fabric (ib0), and look for "
        "NET/IB in the log with nccl.debug INFO",
        _INTERFACE,
        WARNING,
    ),
    rule(
        "nccl-failed",
        "NCCL error",
        r"NCCL error(?: in)?:? .*?(?P<what>unhandled (?:system|cuda) error|remote process exited|invalid usage|"
        r"internal error|network error)",
        "NCCL failed: {what}",
        "set nccl.debug INFO and launch again; the first NCCL WARN names the cause",
        _INTERFACE,
    ),
    rule(
        "nccl-failed",
        "NCCL WARN",
        r"NCCL WARN (?P<what>(?:NET/IB|Call to ibv_|Cuda failure|Failed to (?:open|init)|socket|Error while).{0,160})",
        "NCCL says: {what}",
        "check ibstat on the nodes; ulimit -l must be unlimited for InfiniBand",
        _INTERFACE,
        CONSEQUENCE,
    ),
    rule(
        "nccl-timeout",
        "Watchdog caught collective operation timeout",
        r"Watchdog caught collective operation timeout",
        "a collective operation did not end: a rank stopped, or the network between the nodes was cut",
        _LOST_CURE,
        _LOST,
    ),
    rule(
        "time-limit",
        "DUE TO TIME LIMIT",
        r"CANCELLED AT \S+ DUE TO TIME LIMIT|DUE TO TIME LIMIT",
        "the job reached its time limit",
        "raise slurm.time_default or the model's time, within the partition's limit",
        "time-limit",
    ),
    rule(
        "node-lost",
        "Node failure on",
        r"Node failure on (?P<node>\S+)",
        "node {node} was lost",
        "Slurm starts the job again by itself; sinfo -R says what is known of the node",
        _LOST,
    ),
    rule(
        "worker-died",
        "died unexpectedly",
        r"Worker proc (?P<worker>\S+) died unexpectedly \(exit code: (?P<code>\S+?)\)",
        _died_reason,
        _died_cure,
        _LOST,
    ),
    rule(
        "peer-frozen",
        "timed out",
        r"RPC call to (?P<call>\w+) timed out",
        "a rank did not answer a step in time: it is frozen, or the fabric is cut",
        _LOST_CURE,
        _LOST,
    ),
    rule(
        "peer-silent",
        "No available shared memory broadcast block",
        r"No available shared memory broadcast block found in (?P<seconds>\d+) seconds",
        "a rank has been silent for {seconds} s",
        "normal while a model compiles; else see the other rank's lines",
        _LOST,
        WARNING,
    ),
    rule(
        "peer-connection-lost",
        "Connection ",
        r"(?:Read error|Write error|Connection closed by peer) ?\[(?P<peer>[^\]]+)\]",
        "the connection to the rank at {peer} was lost",
        _LOST_CURE,
        _LOST,
        CONSEQUENCE,
    ),
    rule(
        "parent-died",
        "terminating worker queues",
        r"Parent process exited, terminating worker queues",
        "the process that started a worker has ended",
        _LOST_CURE,
        _LOST,
        CONSEQUENCE,
    ),
    rule(
        "bus-error",
        "Bus error",
        r"\bBus error\b",
        "a process lost its shared memory (/dev/shm is full)",
        "end other jobs of yours on the node; /dev/shm needs about 1 GiB for each GPU",
        _LOST,
    ),
    rule(
        "drain-cut",
        "force killing remaining process",
        r"force killing remaining process",
        "requests were still running when the time to drain was over, and were cut",
        "give more drain time, or accept it: the clients were told",
        _LOST,
        WARNING,
    ),
    rule(
        "engine-died",
        "EngineCore encountered a fatal error",
        r"EngineCore encountered a fatal error|EngineDeadError",
        "the engine ended because one of its ranks or workers ended",
        _LOST_CURE,
        _LOST,
        CONSEQUENCE,
    ),
    rule(
        "engine-died",
        "EngineDeadError",
        r"EngineDeadError",
        "the engine ended because one of its ranks or workers ended",
        _LOST_CURE,
        _LOST,
        CONSEQUENCE,
    ),
    rule(
        "rank-ended",
        "First task exited",
        r"First task exited (?P<seconds>\d+)s ago",
        "a rank ended, so Slurm ended the others",
        _LOST_CURE,
        _LOST,
        CONSEQUENCE,
    ),
)
