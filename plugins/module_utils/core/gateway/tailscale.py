# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tailscaled serves to the tailnet, and the commands that lead from there to what it should serve.

tailscaled keeps one configuration for the machine, and others may have put theirs into it. So only paths that differ
are set or taken out, one command each. A path with and without a slash at its end is the same place.
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
    """What the machine is in its tailnet.

    :ivar name: its name there, without a dot at the end.
    :ivar address: its IPv4 address there, empty where it has none.
    """

    name: str
    address: str


@dataclass(frozen=True)
class Served:
    """What one HTTPS port of the machine serves.

    :ivar mounts: by path, where requests go; something other than a proxy is in words.
    :ivar is_public: whether the whole internet gets it (Funnel).
    :ivar is_web: whether the port serves HTTPS, or nothing yet.
    :ivar is_held: whether a command in the foreground (C(tailscale serve) without C(--bg)) has the port until it ends.
    """

    mounts: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False
    is_web: bool = True
    is_held: bool = False


@dataclass(frozen=True)
class Plan:
    """Commands, in their order, without the program's name; and what is served before and after them."""

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
        # As long as nothing was ever served.
        data = {} if data is None else data
        where = f"{machine.name}:{port}"
        tcp = (data.get("TCP") or {}).get(str(port)) or {}
        web = (data.get("Web") or {}).get(where) or {}
        handlers = web.get("Handlers") or {}
        # Services of the tailnet have names and addresses of their own, and do not concern this machine's ports.
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
    """Stop at what tailscale would refuse, or understand differently."""
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
        raise InvalidInputError("every path once, with or without a slash at its end", f"{twice} twice", "name it once")


def plan(
    served: Served, wanted: Mapping[str, str], port: int, is_present: bool = True, exclusive: bool = False
) -> Plan:
    """Say which commands lead from what is served to what should be.

    :param wanted: by path, where requests go.
    :param is_present: whether they should be served, or not.
    :param exclusive: whether other paths of this port are taken out.
    """
    check(wanted, port)
    if not served.is_web and is_present:
        raise InvalidInputError(
            f"port {port} free for HTTPS",
            "that it forwards plain TCP",
            f"take it out (tailscale serve --tcp={port} off), or choose another https_port",
        )
    held = {_same_place(path): path for path in served.mounts}
    after = dict(served.mounts)
    commands: list[tuple[str, ...]] = []

    def off(path: str) -> None:
        commands.append(("serve", "--yes", f"--https={port}", f"--set-path={path}", "off"))
        del after[path]

    def on(path: str, target: str) -> None:
        # Whatever is set this way is for the tailnet alone: it also ends Funnel at this port.
        commands.append(("serve", "--bg", "--yes", f"--https={port}", f"--set-path={path}", target))
        after[path] = target

    if exclusive or not is_present:
        places = {_same_place(path): target for path, target in wanted.items()}
        for place, path in held.items():
            # What is to go leads where it was set to lead; otherwise it is somebody else's.
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
            "that a command in the foreground has it",
            f"end it (tailscale serve or tailscale funnel without --bg, at port {port}), or choose another https_port",
        )
    is_public = served.is_public and bool(after) and not any("--bg" in command for command in commands)
    return Plan(tuple(commands), _picture(served.mounts, served.is_public), _picture(after, is_public))


def _picture(mounts: Mapping[str, str], is_public: bool) -> dict[str, Any]:
    return {"mounts": dict(sorted(mounts.items())), "funnel": is_public}
