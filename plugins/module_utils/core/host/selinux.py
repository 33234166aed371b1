# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan changes of a host's SELinux policy for a service: a policy module, and types of ports.

The policy module contains only the service's rules. A port has a type of the policy, or one local type of the host. A
local type that was not set by this collection is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, RemoteFailureError

_PROTOCOLS = ("tcp", "udp", "sctp", "dccp")
#: Default priority of C(semodule). Among modules of one name, the highest priority applies.
PRIORITY = "400"
#: Type of the ports on which nginx may listen.
PORT_TYPE = "http_port_t"


@dataclass(frozen=True)
class PortType:
    """A type and its range of ports."""

    name: str
    protocol: str
    low: int
    high: int


@dataclass(frozen=True)
class PolicyState:
    """The present state of the policy.

    :ivar module: text of the service's policy module, or empty.
    :ivar every: types of the policy, and the local ones of the host.
    :ivar ours: ports whose type this collection has set.
    """

    module: str = ""
    local: tuple[PortType, ...] = ()
    every: tuple[PortType, ...] = ()
    ours: tuple[int, ...] = ()


@dataclass(frozen=True)
class PolicySpec:
    """The required state of the policy. C(good_types) also allow the service to listen."""

    module: str = ""
    ports: tuple[int, ...] = ()
    good_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyPlan:
    """The changes of the policy.

    :ivar module: V(install), V(remove), or empty.
    :ivar commands: arguments of C(semanage port), in their order.
    """

    module: str = ""
    commands: tuple[tuple[str, ...], ...] = ()
    ours: tuple[int, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def read_ports(text: str) -> tuple[PortType, ...]:
    """Read the output of C(semanage port -l): type, protocol, and ports and ranges separated by commas."""
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
    """Read the names of locally installed modules from the output of C(semodule -lfull)."""
    rows = [line.split() for line in text.splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1 and row[0] == PRIORITY)


def read_record(text: str) -> tuple[int, ...]:
    """Read the record of ports whose type this collection has set; empty without a record."""
    if not text.strip():
        return ()
    try:
        return tuple(int(port) for port in json.loads(text)["ports"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            "ports as JSON in the record of SELinux types",
            f"{type(error).__name__}: {error}",
            "compare with: semanage port -l -C, write the ports that are the gateway's, or remove the file",
        ) from error


def format_record(ports: Iterable[int]) -> str:
    return json.dumps({"ports": sorted(ports)}) + "\n"


def _of(types: Sequence[PortType], port: int) -> list[PortType]:
    return [each for each in types if each.protocol == "tcp" and each.low <= port <= each.high]


def _exactly(types: Sequence[PortType], port: int) -> PortType | None:
    """Return the type of this port alone, without ranges."""
    return next((each for each in _of(types, port) if each.low == each.high), None)


def type_of(found: PolicyState, port: int) -> str:
    """Return the type of a port: the smallest range applies, and a local type precedes one of the policy."""
    fitting = _of((*found.local, *found.every), port)
    return min(fitting, key=lambda each: each.high - each.low).name if fitting else ""


def plan(found: PolicyState, wanted: PolicySpec, is_present: bool = True) -> PolicyPlan:
    """Return the changes from the present to the required state."""
    commands: list[tuple[str, ...]] = []
    ours = set(found.ours)
    types = {port: type_of(found, port) for port in wanted.ports}
    after = dict(types)
    for port in sorted(ours - (set(wanted.ports) if is_present else set())):
        ours.discard(port)
        own = _exactly(found.local, port)
        # Another type was set by another program since.
        if own is not None and own.name == PORT_TYPE:
            commands.append(("-d", "-t", PORT_TYPE, "-p", "tcp", str(port)))
            types[port] = PORT_TYPE
            # The list of all types also contains the former type.
            left = [tuple(each for each in some if each != own) for some in (found.local, found.every)]
            after[port] = type_of(PolicyState(local=left[0], every=left[1]), port)
    if is_present:
        for port in wanted.ports:
            if types[port] in (PORT_TYPE, *wanted.good_types):
                continue
            own = _exactly(found.local, port)
            if own is not None:
                raise InvalidInputError(
                    f"port {port} with a type that allows nginx to listen, such as {PORT_TYPE}",
                    f"the local type {own.name}",
                    f"give the tier another gateway_port, or remove the type: semanage port -d -p tcp {port}",
                )
            is_known = _exactly(found.every, port) is not None
            commands.append(("-m" if is_known else "-a", "-t", PORT_TYPE, "-p", "tcp", str(port)))
            ours.add(port)
            after[port] = PORT_TYPE
    text = wanted.module if is_present else ""
    action = "" if found.module.strip() == text.strip() else "install" if text else "remove"
    return PolicyPlan(
        action, tuple(commands), tuple(sorted(ours)), _picture(found.module, types), _picture(text, after)
    )


def _picture(module: str, types: Mapping[int, str]) -> dict[str, Any]:
    return {"module": module.strip().splitlines(), "ports": {str(port): name for port, name in sorted(types.items())}}
