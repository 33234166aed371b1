# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read heartbeats: what a node reports of itself to the others.

A heartbeat comes over a network, so its size, its shape and every value have limits. Anything beyond them is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from ..errors import RemoteFailureError
from ..host import nvidia_smi as nvidia_smi_report
from ..text import CONTROL, LONGEST, plain

SCHEMA = 1
#: The only path that an agent serves.
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
class Disk:
    """A file system, named by a path on it; sizes in MiB, -1 if it does not answer.

    :param state: C(ok), C(low), C(full) or C(silent).
    """

    path: str
    free_mib: int
    total_mib: int
    state: str


@dataclass(frozen=True)
class Hold:
    """An operator's hold: the agents do nothing about this node for these seconds."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Worker:
    """The RPC worker of a node.

    :param active: systemd's ActiveState, and sub its SubState.
    :param job: whether systemd has a job for the unit.
    :param pid: 0 without a process.
    :param started: start of the process in clock ticks since boot, which identifies it together with pid and boot id.
    :param state: the kernel's letter for the state of the process, C(T) for a stopped one.
    :param clients: C(address:port) of the established connections to its port.
    :param stale: connections that the client has closed and the worker has not.
    :param unit_age_s: age of systemd's last answer on the unit.
    """

    unit: str
    active: str
    sub: str
    job: bool
    pid: int
    started: int
    state: str
    restarts: int
    release: str
    protocol: str
    listening: bool
    clients: tuple[str, ...]
    stale: int
    unit_age_s: float = 0.0


@dataclass(frozen=True)
class Head:
    """The head of the group, or a router of models, which has no workers; its slots are those of models in memory.

    :param health: C(ok), C(loading), C(refused), C(silent); empty without a process.
    :param lost: workers that it is not connected to.
    :param busy: slots that work on a request; waiting are requests that wait for a slot. -1 is unknown.
    :param supervision: the state of supervision in one word, and reason its cause.
    :param unit_age_s: age of systemd's last answer on the unit.
    """

    unit: str
    active: str
    sub: str
    job: bool
    pid: int
    started: int
    restarts: int
    release: str
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
    unit_age_s: float = 0.0


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
    disks: tuple[Disk, ...] = ()


def write(heartbeat: Heartbeat) -> bytes:
    """Write a heartbeat as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(heartbeat)}, separators=(",", ":")).encode()


class _Reader:
    """Read values of a JSON object by name, type and limit."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise ValueError(f"{where} is not an object")
        self.data, self.where = data, where

    def _get(self, name: str) -> Any:
        if name not in self.data:
            raise ValueError(f"{self.where} has no {name}")
        return self.data[name]

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or len(value) > LONGEST or CONTROL.search(value):
            raise ValueError(f"{self.where}.{name} is no plain text of at most {LONGEST} characters")
        return value

    def count(self, name: str, least: int = 0) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _COUNT:
            raise ValueError(f"{self.where}.{name} is no whole number from {least}")
        return value

    def number(self, name: str) -> float:
        value = self._get(name)
        # The limit comes first: a whole number of hundreds of digits fits no float. Nothing compares with NaN.
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _COUNT:
            raise ValueError(f"{self.where}.{name} is no number from 0")
        return float(value)

    def truth(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise ValueError(f"{self.where}.{name} is neither true nor false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > _LIST:
            raise ValueError(f"{self.where}.{name} is no list of at most {_LIST}")
        return tuple(_Reader({name: item}, self.where).text(name) for item in value)

    def parts(self, name: str) -> list[_Reader]:
        value = self.data.get(name, [])
        if not isinstance(value, list) or len(value) > _LIST:
            raise ValueError(f"{name} is no list of at most {_LIST}")
        return [_Reader(item, name) for item in value]

    def part(self, name: str) -> _Reader | None:
        value = self.data.get(name)
        return None if value is None else _Reader(value, name)


_Part = TypeVar("_Part", Worker, Head, Gpu, Disk)


def _read_part(kind: type[_Part], found: _Reader) -> _Part:
    """Read every field of a part by its type."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.type == "int":
            values[field.name] = found.count(field.name, -1 if field.name in _MAY_BE_UNKNOWN else 0)
        else:
            read_value = {"str": found.text, "bool": found.truth, "float": found.number}.get(
                str(field.type), found.texts
            )
            values[field.name] = read_value(field.name)
    return kind(**values)


def _read_worker(found: _Reader) -> Worker:
    worker = _read_part(Worker, found)
    if not all(_ENDPOINT.fullmatch(client) for client in worker.clients):
        raise ValueError("worker.clients holds something that is no address:port")
    return worker


def read(raw: bytes, node: str = "") -> Heartbeat:
    """Read a heartbeat that came from a node.

    :param node: the name that it must have; empty accepts any.
    :raises RemoteFailureError: if it is not a valid heartbeat.
    """
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        found = _Reader(json.loads(raw), "the heartbeat")
        if found.count("schema") != SCHEMA:
            raise ValueError(f"schema {found.count('schema')}")
        name = found.text("node")
        if node and name != node:
            raise ValueError(f"the node {name}")
        hold, worker = found.part("hold"), found.part("worker")
        head, router = found.part("head"), found.part("router")
        return Heartbeat(
            node=name,
            agent=found.text("agent"),
            sequence=found.count("sequence"),
            boot_id=found.text("boot_id"),
            uptime_s=found.number("uptime_s"),
            hold=None if hold is None else Hold(hold.text("reason"), hold.number("seconds")),
            worker=None if worker is None else _read_worker(worker),
            head=None if head is None else _read_part(Head, head),
            router=None if router is None else _read_part(Head, router),
            gpus=tuple(_read_part(Gpu, gpu) for gpu in found.parts("gpus")),
            disks=tuple(_read_part(Disk, disk) for disk in found.parts("disks")),
        )
    # RecursionError: thousands of brackets.
    except (ValueError, RecursionError) as error:
        raise RemoteFailureError(
            f"a heartbeat of schema {SCHEMA}" + (f" from {node}" if node else ""),
            str(error)[:LONGEST],
            "run site.yml, which installs the same agent on every node, and see what listens on that port",
        ) from error


def of_gpus(gpus: Sequence[nvidia_smi_report.Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that nvidia-smi reports, as a heartbeat holds them."""

    def known(number: int | None) -> int:
        return -1 if number is None else max(-1, number)

    return tuple(
        Gpu(
            gpu.index,
            plain(gpu.name),
            known(gpu.used_mib),
            known(gpu.total_mib),
            known(gpu.temperature_c),
            known(gpu.utilisation_percent),
        )
        for gpu in gpus
    )
