# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether an RPC worker is ready for its head, and say why it is not.

C(herdctl wait-for-workers) uses it before the head starts, and only moves bytes itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import HerdError
from .rpc_protocol import DeviceMemory, Version, parse_version

MIB = 1024 * 1024
SCHEMA = 1
#: Share of a GPU's memory that a device must report; the driver keeps some of it.
_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class ExpectedWorker:
    """What one worker must show. C(memory_mib) is the least memory of each device; 0 asks for none."""

    name: str
    address: str
    port: int
    devices: int
    memory_mib: int


def least_memory(memory_mib: float) -> int:
    """Compute the MiB that each device of a worker must report.

    :param memory_mib: memory of the worker's smallest GPU, as in the inventory.
    """
    return int(memory_mib * _MEMORY_SHARE)


@dataclass(frozen=True)
class ReadinessCheck:
    """Check of all workers: the protocol that they must speak, and the seconds to wait for them."""

    protocol: Version
    timeout_s: float
    workers: tuple[ExpectedWorker, ...]


@dataclass(frozen=True)
class WorkerObservation:
    """The result of one attempt to reach a worker.

    :param state: C(answered), C(refused), C(unreachable), C(silent) or C(foreign).
    :param detail: the error of the operating system, if there is one.
    """

    state: str
    protocol: Version | None = None
    devices: tuple[DeviceMemory, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class WorkerVerdict:
    """Why a worker is not ready; C(kind) is C(waiting), C(protocol) or C(devices)."""

    kind: str
    error: HerdError


def parse_check(data: Any) -> ReadinessCheck:
    """Build the worker readiness check from the document of its configuration file.

    :raises ValueError, KeyError, TypeError: if a value is missing or wrong.
    """
    workers = tuple(
        ExpectedWorker(w["name"], w["address"], int(w["port"]), int(w["devices"]), int(w["memory_mib"]))
        for w in data["workers"]
    )
    return ReadinessCheck(parse_version(data["protocol"]), float(data["timeout_s"]), workers)


def write_check(check: ReadinessCheck) -> str:
    """Write the configuration of the worker readiness check, the inverse of C(parse_check)."""
    data = {"schema": SCHEMA, **asdict(check), "protocol": str(check.protocol)}
    return json.dumps(data, indent=2) + "\n"


def _waiting(worker: ExpectedWorker, seen: WorkerObservation) -> tuple[str, str]:
    endpoint = f"{worker.address}:{worker.port}"
    if seen.state == "refused":
        return (
            f"connection refused at {endpoint}",
            f"start llama-rpc on {worker.name} and look at its journal, and that its firewall allows this head",
        )
    if seen.state == "silent":
        return (
            f"no answer at {endpoint} though it takes connections; it serves one client at a time and has one",
            f"stop the other head or client of {worker.name}; restart llama-rpc there if it holds a dead one",
        )
    if seen.state == "foreign":
        return (
            f"something else at {endpoint} ({seen.detail})",
            f"see with ss -ltnp on {worker.name} what listens there",
        )
    return (
        f"{endpoint} unreachable ({seen.detail})",
        f"see that {worker.name} is up and its fabric address can be reached from here",
    )


def judge(worker: ExpectedWorker, seen: WorkerObservation, protocol: Version) -> WorkerVerdict | None:
    """Compare an observation with the expected worker. None means that the worker is ready."""

    def verdict(kind: str, expected: str, found: str, remedy: str) -> WorkerVerdict:
        return WorkerVerdict(kind, HerdError(expected, found, remedy))

    if seen.state != "answered" or seen.protocol is None:
        return verdict(
            "waiting", f"worker {worker.name} to answer with RPC protocol {protocol}", *_waiting(worker, seen)
        )
    if seen.protocol != protocol:
        return verdict(
            "protocol",
            f"worker {worker.name} to speak RPC protocol {protocol}, as the head's release does",
            str(seen.protocol),
            "deploy the same release on every node; never mix releases",
        )
    if len(seen.devices) != worker.devices:
        # Engines number devices over all workers, so one too many moves every layer behind it elsewhere.
        return verdict(
            "devices",
            f"worker {worker.name} to offer {worker.devices} devices",
            str(len(seen.devices)),
            "look at nvidia-smi there and at the devices that llama-rpc prints when it starts"
            if len(seen.devices) < worker.devices
            else "list all of its GPUs in herd_gpus, or give those that it offers an id there, and run site.yml",
        )
    smallest = min((device.total // MIB for device in seen.devices), default=worker.memory_mib)
    if smallest < worker.memory_mib:
        return verdict(
            "devices",
            f"each device of worker {worker.name} to have {worker.memory_mib} MiB",
            f"one with {smallest} MiB, so another device than the expected one",
            "look at the devices that llama-rpc prints when it starts, and at herd_gpus of that host",
        )
    return None


def describe(worker: ExpectedWorker, seen: WorkerObservation) -> str:
    """Describe a ready worker in one line of the journal."""
    memory = ", ".join(f"{d.free // MIB} of {d.total // MIB} MiB free" for d in seen.devices)
    return f"{worker.name} ready at {worker.address}:{worker.port}, RPC {seen.protocol}, {memory}"


EXIT_READY = 0
EXIT_CODES = {"waiting": 3, "protocol": 4, "devices": 5}


def exit_code(verdicts: Sequence[WorkerVerdict]) -> int:
    """Choose the exit status. A wrong release or GPU outranks a worker that may only need time."""
    return max((EXIT_CODES[verdict.kind] for verdict in verdicts), default=EXIT_READY)
