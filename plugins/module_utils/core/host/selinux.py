# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's SELinux policy is told for a service of ours, and what is taken out of it again.

Rules are a module of the policy that has nothing else in it, so that taking it out takes out exactly these. A port has
a type in the policy itself, or one that this host gives it, of which there is one only: what others gave stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, RemoteFailureError

_PROTOCOLS = ("tcp", "udp", "sctp", "dccp")
#: Of modules of the same name the one of the highest priority counts; this is what C(semodule) takes by itself.
PRIORITY = "400"


@dataclass(frozen=True)
class PortType:
    """A type that ports have."""

    name: str
    protocol: str
    low: int
    high: int


@dataclass(frozen=True)
class PolicyState:
    """What the policy has.

    :ivar module: text of our module; empty where there is none.
    :ivar local: types that this host gives to ports.
    :ivar every: these, and those of the policy itself.
    :ivar ours: ports whose type we have given.
    """

    module: str = ""
    local: tuple[PortType, ...] = ()
    every: tuple[PortType, ...] = ()
    ours: tuple[int, ...] = ()


@dataclass(frozen=True)
class PolicySpec:
    """What it should have.

    :ivar port_type: what ports get.
    :ivar good_types: what they may have besides.
    """

    module: str = ""
    ports: tuple[int, ...] = ()
    port_type: str = "http_port_t"
    good_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyPlan:
    """What leads from the one to the other.

    :ivar module: V(install), V(remove), or empty.
    :ivar commands: words for C(semanage port), in their order.
    :ivar ours: ports whose type is ours afterwards.
    """

    module: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    ours: tuple[int, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def read_ports(text: str) -> tuple[PortType, ...]:
    """Read C(semanage port -l): a type, a protocol, and ports and ranges with commas between."""
    found = []
    for line in text.splitlines():
        words = line.replace(",", " ").split()
        if len(words) < 3 or words[1] not in _PROTOCOLS:
            continue
        for word in words[2:]:
            low, _sign, high = word.partition("-")
            try:
                found.append(PortType(words[0], words[1], int(low), int(high or low)))
            except ValueError as error:
                raise RemoteFailureError(
                    "ports such as 8080 and 10001-10010", repr(line), "look at: semanage port -l"
                ) from error
    return tuple(found)


def read_modules(text: str) -> tuple[str, ...]:
    """Read C(semodule -lfull): the names of modules that were put there, and not by the policy itself."""
    rows = [line.split() for line in text.splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1 and row[0] == PRIORITY)


def read_record(text: str) -> tuple[int, ...]:
    """Read which ports got their type from us; none where nothing was written yet."""
    if not text.strip():
        return ()
    try:
        return tuple(int(port) for port in json.loads(text)["ports"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            "ports as JSON in the record of what SELinux was told",
            f"{type(error).__name__}: {error}",
            "compare with: semanage port -l -C, write the ports that are the gateway's, or remove the file",
        ) from error


def format_record(ports: Iterable[int]) -> str:
    """Write it."""
    return json.dumps({"ports": sorted(ports)}) + "\n"


def _of(types: Sequence[PortType], port: int) -> list[PortType]:
    return [each for each in types if each.protocol == "tcp" and each.low <= port <= each.high]


def _exactly(types: Sequence[PortType], port: int) -> PortType | None:
    """The type that is said of this port alone."""
    return next((each for each in _of(types, port) if each.low == each.high), None)


def type_of(found: PolicyState, port: int) -> str:
    """Say which type a port has: what is said of the fewest ports counts, and of this host before the policy itself."""
    fitting = _of((*found.local, *found.every), port)
    return min(fitting, key=lambda each: each.high - each.low).name if fitting else ""


def plan(found: PolicyState, wanted: PolicySpec, is_present: bool = True) -> PolicyPlan:
    """Say what leads from what there is to what should be."""
    commands: list[tuple[str, ...]] = []
    ours = set(found.ours)
    types = {port: type_of(found, port) for port in wanted.ports}
    after = dict(types)
    for port in sorted(ours - (set(wanted.ports) if is_present else set())):
        ours.discard(port)
        own = _exactly(found.local, port)
        # What has another type by now was given it by somebody else.
        if own is not None and own.name == wanted.port_type:
            commands.append(("-d", "-t", wanted.port_type, "-p", "tcp", str(port)))
            types[port] = wanted.port_type
            # A list of all shows what it had before as well.
            left = [tuple(each for each in some if each != own) for some in (found.local, found.every)]
            after[port] = type_of(PolicyState(local=left[0], every=left[1]), port)
    if is_present:
        for port in wanted.ports:
            if types[port] in (wanted.port_type, *wanted.good_types):
                continue
            own = _exactly(found.local, port)
            if own is not None:
                raise InvalidInputError(
                    f"port {port} of a type that nginx may listen at, such as {wanted.port_type}",
                    f"that somebody has given it the type {own.name} on this host",
                    f"give the tier another gateway_port, or take it out: semanage port -d -p tcp {port}",
                )
            is_known = _exactly(found.every, port) is not None
            commands.append(("-m" if is_known else "-a", "-t", wanted.port_type, "-p", "tcp", str(port)))
            ours.add(port)
            after[port] = wanted.port_type
    text = wanted.module if is_present else ""
    action = "" if found.module.strip() == text.strip() else "install" if text else "remove"
    return PolicyPlan(
        action, tuple(commands), tuple(sorted(ours)), _picture(found.module, types), _picture(text, after)
    )


def _picture(module: str, types: Mapping[int, str]) -> dict[str, Any]:
    return {"module": module.strip().splitlines(), "ports": {str(port): name for port, name in sorted(types.items())}}
