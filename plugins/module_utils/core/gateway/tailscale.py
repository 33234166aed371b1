# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the commands that change what tailscaled serves to the tailnet.

tailscaled has one configuration for the machine, which others may use too. So only paths that differ are set or
removed, with one command each. A path with and without a trailing slash is the same path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInputError, RemoteFailureError

_MOUNT = re.compile(r"/([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+)?")
_TARGET = re.compile(r"(http|https|https\+insecure)://(127\.0\.0\.1|localhost):(\d{1,5})(/[!-~]*)?")


@dataclass(frozen=True)
class Machine:
    """The machine in its tailnet.

    :ivar name: its DNS name, without the final dot.
    :ivar address: its IPv4 address; empty for none.
    """

    name: str
    address: str


@dataclass(frozen=True)
class Served:
    """The configuration of one HTTPS port of the machine.

    :ivar mounts: by path, the URL that it proxies; a description of anything else.
    :ivar is_public: whether the port is open to the internet (Funnel).
    :ivar is_web: whether the port serves HTTPS, or nothing yet.
    :ivar is_held: whether a foreground command (C(tailscale serve) without C(--bg)) uses the port.
    """

    mounts: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False
    is_web: bool = True
    is_held: bool = False


@dataclass(frozen=True)
class Plan:
    """Commands in order, without the program's name, and the configuration before and after them."""

    commands: tuple[tuple[str, ...], ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def read_machine(text: str) -> Machine:
    """Read C(tailscale status --json)."""
    try:
        data = json.loads(text)
        state = str(data["BackendState"])
        own = data.get("Self") or {}
        name = str(own.get("DNSName") or "").rstrip(".")
        addresses = [str(address) for address in own.get("TailscaleIPs") or ()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteFailureError(
            "tailscaled's status as JSON", f"{type(error).__name__}: {error}", "look at: tailscale status --json"
        ) from error
    if state != "Running" or not name:
        raise RemoteFailureError(
            "a machine that is in a tailnet, under a name", f"state {state}, name {name or 'none'}", "run: tailscale up"
        )
    return Machine(name, next((address for address in addresses if ":" not in address), ""))


def _in_words(handler: Mapping[str, Any]) -> str:
    if handler.get("Proxy"):
        return str(handler["Proxy"])
    kind = next((kind for kind in ("Path", "Text") if handler.get(kind)), "nothing")
    return f"{kind.lower()} {handler.get(kind, '')}".strip()


def read_served(text: str, machine: Machine, port: int) -> Served:
    """Read C(tailscale serve status --json): what this port of this machine serves."""
    try:
        data = json.loads(text)
        # The document is null until something has been served.
        data = {} if data is None else data
        where = f"{machine.name}:{port}"
        tcp = (data.get("TCP") or {}).get(str(port)) or {}
        web = (data.get("Web") or {}).get(where) or {}
        handlers = web.get("Handlers") or {}
        # Tailnet services have their own names and addresses, so they do not affect this machine's ports.
        sessions = (data.get("Foreground") or {}).values()
        return Served(
            mounts={str(path): _in_words(handler) for path, handler in sorted(handlers.items())},
            is_public=bool((data.get("AllowFunnel") or {}).get(where)),
            is_web=not tcp or bool(tcp.get("HTTPS")),
            is_held=any(str(port) in (session.get("TCP") or {}) for session in sessions),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise RemoteFailureError(
            "what tailscaled serves as JSON",
            f"{type(error).__name__}: {error}",
            "look at: tailscale serve status --json",
        ) from error


def _same_place(path: str) -> str:
    return path.rstrip("/") or "/"


def check(mounts: Mapping[str, str], port: int) -> None:
    """Check for values that tailscale would reject or interpret differently."""
    if not 0 < port < 65536:
        raise InvalidInputError("a port from 1 to 65535", str(port), "correct https_port")
    for path, target in mounts.items():
        if not _MOUNT.fullmatch(path) or "." in path.split("/") or ".." in path.split("/"):
            raise InvalidInputError("paths such as / and /reasoning/", repr(path), "correct mounts")
        match = _TARGET.fullmatch(target)
        if not match or not 0 < int(match[3]) < 65536:
            raise InvalidInputError(
                f"a server of this machine for {path}, such as http://127.0.0.1:8080", repr(target), "correct mounts"
            )
    places = [_same_place(path) for path in mounts]
    twice = next((path for path in places if places.count(path) > 1), "")
    if twice:
        raise InvalidInputError("each path once, with or without a trailing slash", f"{twice} twice", "name it once")


def plan(
    served: Served, wanted: Mapping[str, str], port: int, is_present: bool = True, exclusive: bool = False
) -> Plan:
    """Plan the commands that change the present configuration to the wanted one.

    :param wanted: by path, the URL to proxy.
    :param is_present: whether these paths should be served or removed.
    :param exclusive: whether all other paths of this port are removed.
    """
    check(wanted, port)
    if not served.is_web and is_present:
        raise InvalidInputError(
            f"port {port} free for HTTPS",
            "plain TCP forwarding",
            f"remove it (tailscale serve --tcp={port} off), or choose another https_port",
        )
    held = {_same_place(path): path for path in served.mounts}
    after = dict(served.mounts)
    commands: list[tuple[str, ...]] = []

    def off(path: str) -> None:
        commands.append(("serve", "--yes", f"--https={port}", f"--set-path={path}", "off"))
        del after[path]

    def on(path: str, target: str) -> None:
        # This also ends Funnel on the port: a path set this way is for the tailnet only.
        commands.append(("serve", "--bg", "--yes", f"--https={port}", f"--set-path={path}", target))
        after[path] = target

    if exclusive or not is_present:
        places = {_same_place(path): target for path, target in wanted.items()}
        for place, path in held.items():
            # A path to be removed must have its expected URL: otherwise it belongs to somebody else.
            if (place not in places) if is_present else places.get(place) == served.mounts[path]:
                off(path)
    if is_present:
        for path, target in wanted.items():
            there = held.get(_same_place(path), path)
            if served.mounts.get(there) != target:
                on(there, target)
        if served.is_public and wanted and not any("--bg" in command for command in commands):
            first = next(iter(wanted))
            on(held.get(_same_place(first), first), wanted[first])
    if served.is_held and any("--bg" in command for command in commands):
        raise InvalidInputError(
            f"port {port} free for HTTPS",
            "a foreground command that uses it",
            f"stop it (tailscale serve or tailscale funnel without --bg, port {port}), or choose another https_port",
        )
    is_public = served.is_public and bool(after) and not any("--bg" in command for command in commands)
    return Plan(tuple(commands), _picture(served.mounts, served.is_public), _picture(after, is_public))


def _picture(mounts: Mapping[str, str], is_public: bool) -> dict[str, Any]:
    return {"mounts": dict(sorted(mounts.items())), "funnel": is_public}
