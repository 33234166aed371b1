# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read heartbeats: what a node reports of itself to the others.

A heartbeat comes over a network, so its size, its shape and every value have limits. Anything beyond them is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

from ..errors import RemoteFailureError
from ..host.disk_space import DiskSpace
from ..text import CONTROL, LONGEST

SCHEMA = 1
#: The path at which an agent serves it.
PATH = "/heartbeat"
#: Limit in bytes. A node with eight GPUs and hundreds of connections has a tenth of that.
LARGEST = 65536
_COUNT = 2**53
_LIST = 512
_ENDPOINT = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}")
# Counts for which -1 stands for unknown.
_MAY_BE_UNKNOWN = {
    *("memory_used_mib", "memory_total_mib", "temperature_c", "utilization_percent"),
    *("free_mib", "total_mib"),
    *("slots", "busy", "waiting", "tokens_total"),
}


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in MiB, temperature in degrees Celsius. -1 is unknown."""

    index: int
    name: str
    memory_used_mib: int
    memory_total_mib: int
    temperature_c: int
    utilization_percent: int


@dataclass(frozen=True)
class LostGpu:
    """A GPU that the driver lists and cannot use: its index and PCI bus id as far as known, and nvidia-smi's words."""

    name: str
    reason: str


@dataclass(frozen=True)
class EngineBinding:
    """What a running engine may use on a host of several NUMA nodes: its processors and its memory's policy.

    :param bound: whether the processors are those of one node.
    """

    unit: str
    bound: bool
    where: str


@dataclass(frozen=True)
class Disk(DiskSpace):
    """A file system and its state: C(ok), C(low), C(full) or C(silent)."""

    state: str


@dataclass(frozen=True)
class Hold:
    """An operator's hold: the agents do nothing about this node for these seconds."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Service:
    """A service of a node: its unit and its process.

    :param active: systemd's ActiveState, and sub its SubState.
    :param job: whether systemd has a job for the unit.
    :param pid: 0 without a process.
    :param started: seconds from boot to the start of the process, which identifies it together with pid and boot id.
    :param unit_age_s: age of systemd's last answer on the unit.
    """

    unit: str
    active: str
    sub: str
    job: bool
    pid: int
    started: float
    restarts: int
    release: str
    unit_age_s: float


@dataclass(frozen=True)
class Worker(Service):
    """The RPC worker of a node.

    :param state: the kernel's letter for the state of the process, C(T) for a stopped one.
    :param clients: C(address:port) of the established connections to its port.
    :param stale: connections that the client has closed and the worker has not.
    """

    state: str
    protocol: str
    listening: bool
    clients: tuple[str, ...]
    stale: int


@dataclass(frozen=True)
class Head(Service):
    """The head of the group, or a router of models, which has no workers; its slots are those of models in memory.

    :param health: C(ok), C(loading), C(refused), C(silent); empty without a process.
    :param lost: workers that it is not connected to.
    :param busy: slots that work on a request; waiting are requests that wait for a slot. -1 is unknown.
    :param supervision: the state of supervision in one word, and reason its cause.
    :param models: names of the models that a router offers; empty if they are not known.
    """

    api: str
    health: str
    workers: tuple[str, ...]
    lost: tuple[str, ...]
    slots: int
    busy: int
    waiting: int
    tokens_total: int
    tokens_per_second: float
    supervision: str
    reason: str
    recoveries: int
    draining: bool
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heartbeat:
    """Everything that a node reports of itself.

    :param agent: names one run of the agent; sequence counts within it.
    :param boot_id: the kernel's name for the time since the host was started.
    :param uptime_s: seconds since then.
    """

    node: str
    agent: str
    sequence: int
    boot_id: str
    uptime_s: float
    hold: Hold | None = None
    worker: Worker | None = None
    head: Head | None = None
    router: Head | None = None
    gpus: tuple[Gpu, ...] = ()
    lost_gpus: tuple[LostGpu, ...] = ()
    bindings: tuple[EngineBinding, ...] = ()
    disks: tuple[Disk, ...] = ()

    @property
    def heads(self) -> list[Head]:
        """Return the head and the router, if they are there."""
        return [head for head in (self.head, self.router) if head is not None]

    @property
    def services(self) -> list[Service]:
        """Return the services that are there."""
        return [*self.heads, *([self.worker] if self.worker is not None else [])]


def write(heartbeat: Heartbeat) -> bytes:
    """Write a heartbeat as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(heartbeat)}, separators=(",", ":")).encode()


@dataclass(frozen=True)
class _Envelope:
    """What a heartbeat of any schema has."""

    schema: int
    node: str


# Parts of a heartbeat, by the type of the field that holds one of them or several.
_PARTS: dict[str, Any] = {"Hold | None": Hold, "Worker | None": Worker, "Head | None": Head}
_LISTS: dict[str, Any] = {
    "tuple[Gpu, ...]": Gpu,
    "tuple[LostGpu, ...]": LostGpu,
    "tuple[EngineBinding, ...]": EngineBinding,
    "tuple[Disk, ...]": Disk,
}
_Part = TypeVar("_Part", _Envelope, Heartbeat)


def _items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _LIST:
        raise ValueError(f"{where} is no list of at most {_LIST}")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST and not CONTROL.search(value)


def _is_number(value: Any, kinds: Any, least: int) -> bool:
    # The limit keeps out whole numbers of hundreds of digits, which fit no float. Nothing compares with NaN.
    return isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= _COUNT


def _read_value(kind: str, value: Any, where: str, least: int) -> Any:
    """Read a value by its type; a whole number may have another least value than 0."""
    if kind == "tuple[str, ...]":
        return tuple(_read_value("str", item, where, 0) for item in _items(value, where))
    is_valid, problem = {
        "str": (_is_text(value), f"no plain text of at most {LONGEST} characters"),
        "int": (_is_number(value, int, least), f"no whole number from {least}"),
        "float": (_is_number(value, (int, float), 0), "no number from 0"),
        "bool": (isinstance(value, bool), "neither true nor false"),
    }[kind]
    if not is_valid:
        raise ValueError(f"{where} is {problem}")
    return float(value) if kind == "float" else value


def _read_part(kind: type[_Part], data: Any, where: str) -> _Part:
    """Read every field of a part by its type. Unknown fields are ignored."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is not an object")
    values: dict[str, Any] = {}
    for field in fields(kind):
        name, of = field.name, str(field.type)
        if of in _PARTS:
            values[name] = None if data.get(name) is None else _read_part(_PARTS[of], data[name], name)
        elif of in _LISTS:
            values[name] = tuple(_read_part(_LISTS[of], item, name) for item in _items(data.get(name, []), name))
        elif name in data:
            values[name] = _read_value(of, data[name], f"{where}.{name}", -1 if name in _MAY_BE_UNKNOWN else 0)
        elif field.default is MISSING:
            raise ValueError(f"{where} has no {name}")
    return kind(**values)


def read(raw: bytes, node: str = "") -> Heartbeat:
    """Read a heartbeat that came from a node.

    :param node: the name that it must have; empty accepts any.
    :raises RemoteFailureError: if it is not a valid heartbeat.
    """
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        data = json.loads(raw)
        envelope = _read_part(_Envelope, data, "the heartbeat")
        if envelope.schema != SCHEMA:
            raise ValueError(f"schema {envelope.schema}")
        if node and envelope.node != node:
            raise ValueError(f"the node {envelope.node}")
        found = _read_part(Heartbeat, data, "the heartbeat")
        if found.worker is not None and not all(map(_ENDPOINT.fullmatch, found.worker.clients)):
            raise ValueError("worker.clients holds something that is no address:port")
        return found
    # RecursionError: thousands of brackets.
    except (ValueError, RecursionError) as error:
        raise RemoteFailureError(
            f"a heartbeat of schema {SCHEMA}" + (f" from {node}" if node else ""),
            str(error)[:LONGEST],
            "run site.yml, which installs the same agent on every node, and see what listens on that port",
        ) from error
