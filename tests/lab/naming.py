# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and places: everything that a lab makes on the machine carries the lab's name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .process import LabError

RUN_ROOT = Path("/run/herd-lab")
CGROUP_NAME = "herd-lab"
NETNS_PREFIX = "herd-"

# Short, because the name is part of socket paths, which end at 107 characters.
_LAB_NAME = re.compile(r"[a-z][a-z0-9_-]{0,23}")
_HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_INTERFACE_LIMIT = 15


def check_lab_name(name: str) -> str:
    # A dot would make the namespace of one lab look like that of another lab's host.
    if not _LAB_NAME.fullmatch(name):
        raise LabError(
            f"A lab's name is a letter followed by up to 23 small letters, digits, '-' or '_'; found {name!r}."
        )
    return name


def check_host_name(name: str) -> str:
    if not _HOST_NAME.fullmatch(name):
        raise LabError(f"A host's name is a letter followed by up to 31 small letters, digits or '-'; found {name!r}.")
    return name


def lab_namespace(lab: str) -> str:
    return f"{NETNS_PREFIX}{lab}"


def host_namespace(lab: str, host: str) -> str:
    return f"{NETNS_PREFIX}{lab}.{host}"


def machine_name(lab: str, host: str) -> str:
    # systemd-nspawn takes no underscore in a name, and a lab has no dot in its own.
    return f"herd-{lab.replace('_', '.')}-{host}"


def scope_name(lab: str, host: str) -> str:
    """The unit that holds one host where the machine's own PID 1 is systemd."""
    return f"herd-lab-{lab}.{host}.scope"


def port_name(network: str, host: str) -> str:
    """The bridge's end of a host's cable; an interface name has at most 15 characters."""
    plain = f"{network[0]}-{host}"
    if len(plain) <= _INTERFACE_LIMIT:
        return plain
    return f"{network[0]}-{hashlib.sha256(host.encode()).hexdigest()[:12]}"


def split_namespace(namespace: str) -> tuple[str, str | None] | None:
    """(lab, host or None) of a network namespace, or None where it belongs to no lab."""
    if not namespace.startswith(NETNS_PREFIX):
        return None
    lab, _dot, host = namespace[len(NETNS_PREFIX) :].partition(".")
    if not _LAB_NAME.fullmatch(lab) or (host and not _HOST_NAME.fullmatch(host)):
        return None
    return lab, host or None


@dataclass(frozen=True)
class Places:
    """Where things are kept; the state of labs lasts until `down`, the cache until it is pruned."""

    cache: Path
    data: Path
    run: Path = RUN_ROOT

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Places:
        home = env.get("HOME", "/root")
        base = env.get("XDG_CACHE_HOME") or f"{home}/.cache"
        cache = Path(env.get("HERD_CACHE") or f"{base}/herd.inference")
        # Not under /run: what hosts write there would be kept in memory.
        return cls(cache=cache, data=Path(env.get("HERD_LAB_DATA") or "/var/lib/herd-lab"))

    @property
    def images(self) -> Path:
        return self.cache / "lab"

    def state(self, lab: str) -> Path:
        return self.run / lab

    def key(self, lab: str) -> Path:
        return self.state(lab) / "id_ed25519"

    def control_sockets(self, lab: str) -> Path:
        """Where ssh's shared connections of this lab live, so that `down` can end them."""
        return self.state(lab) / "cm"

    def host_state(self, lab: str, host: str) -> Path:
        return self.state(lab) / "hosts" / host

    def shared(self, lab: str) -> Path:
        """A directory that hosts may have in common; no host's name begins with a dot."""
        return self.data / lab / ".shared"

    def disk(self, lab: str, host: str) -> Path:
        return self.data / lab / host
