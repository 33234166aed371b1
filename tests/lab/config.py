# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a lab's definition from TOML, and check it before anything is made."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomllib

from .images import DEFAULT, IMAGES
from .naming import check_host_name
from .process import LabError


@dataclass(frozen=True)
class Network:
    """One of the two networks; `label` is its name on the command line."""

    label: str
    interface: str
    subnet: ipaddress.IPv4Network
    mtu: int
    # The lab's own address, from which Ansible connects; only hosts are on the fabric.
    gateway: ipaddress.IPv4Address | None


ETH = Network("eth", "eth0", ipaddress.IPv4Network("10.0.0.0/24"), 1500, ipaddress.IPv4Address("10.0.0.1"))
IB = Network("ib", "ib0", ipaddress.IPv4Network("10.100.0.0/24"), 2044, None)
NETWORKS = (ETH, IB)


@dataclass(frozen=True)
class Bind:
    source: str
    target: str
    read_only: bool

    def words(self) -> str:
        return f"{self.source}:{self.target}" + (":ro" if self.read_only else "")


@dataclass(frozen=True)
class Host:
    name: str
    eth: str
    ib: str | None = None
    os: str = DEFAULT
    layers: tuple[str, ...] = ()
    binds: tuple[Bind, ...] = ()
    # Paths with a separate disk of a size: a test can fill it without filling the machine's disk.
    disks: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""

    def address(self, network: Network) -> str | None:
        return self.eth if network is ETH else self.ib


@dataclass(frozen=True)
class Lab:
    name: str
    hosts: tuple[Host, ...]

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"Lab {self.name} has no host {name!r}; it has {', '.join(h.name for h in self.hosts)}.")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SIZE = re.compile(r"[1-9][0-9]*[kMG]")
_HOST_KEYS = {"eth", "ib", "os", "layers", "binds", "disks", "hostname"}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ${NAME}; an unset name is an error, not an empty path."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not variables.get(name):
            raise LabError(f"{text!r} needs ${{{name}}}, which is not set; export it and try again.")
        return variables[name]

    return _VARIABLE.sub(value, text)


def parse_bind(text: str, variables: Mapping[str, str]) -> Bind:
    """Parse SOURCE:TARGET or SOURCE:TARGET:ro."""
    parts = expand(text, variables).split(":")
    if len(parts) == 2:
        parts.append("rw")
    if len(parts) != 3 or parts[2] not in {"ro", "rw"} or not all(p.startswith("/") for p in parts[:2]):
        raise LabError(f"A bind is /source:/target or /source:/target:ro with absolute paths; found {text!r}.")
    return Bind(parts[0], parts[1].rstrip("/") or "/", parts[2] == "ro")


def parse_host_bind(text: str, variables: Mapping[str, str]) -> tuple[str, Bind]:
    """Parse HOST:SOURCE:TARGET[:ro] of the command line."""
    host, colon, rest = text.partition(":")
    if not colon:
        raise LabError(f"--bind takes HOST:/source:/target[:ro]; found {text!r}.")
    return check_host_name(host), parse_bind(rest, variables)


def merge_binds(binds: Sequence[Bind], more: Sequence[Bind]) -> tuple[Bind, ...]:
    """Merge binds; a later one replaces an earlier one to the same place."""
    by_target = {bind.target: bind for bind in (*binds, *more)}
    return tuple(by_target.values())


def _texts(host: str, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LabError(f"Host {host}: {key} is a list of texts; found {value!r}.")
    return list(value)


def _address(host: str, network: Network, value: object) -> str:
    try:
        address = ipaddress.IPv4Address(str(value))
    except ValueError as error:
        raise LabError(f"Host {host}: {network.label} is an IPv4 address; found {value!r}.") from error
    if address not in network.subnet or address in {
        network.subnet.network_address,
        network.subnet.broadcast_address,
        network.gateway,
    }:
        raise LabError(f"Host {host}: {network.label} is a host address in {network.subnet}; found {address}.")
    return str(address)


def _system(owner: str, table: Mapping[str, Any], default: str) -> str:
    system = table.get("os", default)
    if not isinstance(system, str) or system not in IMAGES:
        raise LabError(f"{owner}: os is one of {', '.join(IMAGES)}; found {system!r}.")
    return system


def _host(
    name: str, table: Mapping[str, Any], system: str, variables: Mapping[str, str], common: Sequence[str]
) -> Host:
    """Parse the table of a host.

    :param system: the host's system.
    :param variables: values of ${...} on a host of that system.
    :param common: binds of all hosts.
    """
    check_host_name(name)
    unknown = set(table) - _HOST_KEYS
    if unknown:
        raise LabError(
            f"Host {name}: unknown key {', '.join(sorted(unknown))}; known are {', '.join(sorted(_HOST_KEYS))}."
        )
    if "eth" not in table:
        raise LabError(f"Host {name} has no 'eth' address; Ansible reaches hosts over it.")
    disks = table.get("disks", {})
    if not isinstance(disks, dict):
        raise LabError(f"Host {name}: disks is a table of path = size; found {disks!r}.")
    for path, size in disks.items():
        if not path.startswith("/") or not isinstance(size, str) or not _SIZE.fullmatch(size):
            raise LabError(
                f'Host {name}: a disk is an absolute path and a size such as "64M"; found {path} = {size!r}.'
            )
    binds = [parse_bind(text, variables) for text in (*common, *_texts(name, "binds", table.get("binds", [])))]
    return Host(
        name=name,
        eth=_address(name, ETH, table["eth"]),
        ib=_address(name, IB, table["ib"]) if "ib" in table else None,
        os=system,
        layers=tuple(_texts(name, "layers", table.get("layers", []))),
        binds=merge_binds(binds, ()),
        disks=dict(disks),
        hostname=str(table.get("hostname", name)),
    )


def parse(
    text: str, name: str, variables: Mapping[str, str], repositories: Mapping[str, str] = MappingProxyType({})
) -> Lab:
    """Parse the TOML text of a lab.

    :param repositories: the folder of each system's packages, which is ${LAB_REPOSITORY} in the binds of its hosts.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"The lab's definition is not TOML: {error}.") from error
    unknown = set(data) - {"binds", "hosts", "os"}
    if unknown:
        raise LabError(f"Unknown key {', '.join(sorted(unknown))}; a lab has 'binds', 'hosts' and 'os'.")
    tables = data.get("hosts")
    if not isinstance(tables, dict) or not tables:
        raise LabError("A lab needs at least one table [hosts.NAME].")
    common = _texts("*", "binds", data.get("binds", []))
    default = _system("The lab", data, DEFAULT)
    hosts = []
    for host, table in tables.items():
        system = _system(f"Host {host}", table, default)
        repository = {"LAB_REPOSITORY": repositories[system]} if system in repositories else {}
        hosts.append(_host(host, table, system, {**variables, **repository}, common))
    for network in NETWORKS:
        seen: dict[str, str] = {}
        for host in hosts:
            address = host.address(network)
            if address is not None and address in seen:
                raise LabError(f"Hosts {seen[address]} and {host.name} both have {network.label} {address}.")
            if address is not None:
                seen[address] = host.name
    return Lab(name, tuple(hosts))


def with_binds(lab: Lab, binds: Sequence[tuple[str, Bind]]) -> Lab:
    """Return the lab with the binds of the command line."""
    for name, _target in binds:
        lab.host(name)
    return Lab(
        lab.name,
        tuple(
            Host(**{**vars(host), "binds": merge_binds(host.binds, [b for n, b in binds if n == host.name])})
            for host in lab.hosts
        ),
    )


def to_data(lab: Lab) -> dict[str, Any]:
    """Return the lab as data for JSON. `up` writes it to the lab's state, so that later commands need no definition."""
    return {
        "name": lab.name,
        "hosts": [
            {**vars(host), "layers": list(host.layers), "binds": [vars(bind) for bind in host.binds]}
            for host in lab.hosts
        ],
    }


def from_data(data: Mapping[str, Any]) -> Lab:
    return Lab(
        data["name"],
        tuple(
            Host(
                **{
                    **host,
                    "layers": tuple(host["layers"]),
                    "binds": tuple(Bind(**bind) for bind in host["binds"]),
                }
            )
            for host in data["hosts"]
        ),
    )


def read(
    path: Path, name: str, variables: Mapping[str, str], repositories: Mapping[str, str] = MappingProxyType({})
) -> Lab:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"The lab's definition {path} cannot be read: {error.strerror}.") from error
    return parse(text, name, variables, repositories)
