# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and paths: each part of a lab on the machine contains the lab's name."""

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

# Short, because the name is part of socket paths, which have at most 107 characters.
_LAB_NAME = re.compile(r"[a-z][a-z0-9_-]{0,23}")
_HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_INTERFACE_LIMIT = 15


def check_lab_name(name: str) -> str:
    # With a dot, the namespace of one lab would equal that of another lab's host.
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
    # systemd-nspawn allows no underscore; a lab's name has no dot, so the result is unique.
    return f"herd-{lab.replace('_', '.')}-{host}"


def scope_name(lab: str, host: str) -> str:
    """Return the scope of one host, if the machine's PID 1 is systemd."""
    return f"herd-lab-{lab}.{host}.scope"


def port_name(network: str, host: str) -> str:
    """Return the interface name of the bridge's end of a host's cable, at most 15 characters."""
    plain = f"{network[0]}-{host}"
    if len(plain) <= _INTERFACE_LIMIT:
        return plain
    return f"{network[0]}-{hashlib.sha256(host.encode()).hexdigest()[:12]}"


def split_namespace(namespace: str) -> tuple[str, str | None] | None:
    """Return (lab, host or None) of a network namespace, or None if it belongs to no lab."""
    if not namespace.startswith(NETNS_PREFIX):
        return None
    lab, _dot, host = namespace[len(NETNS_PREFIX) :].partition(".")
    if not _LAB_NAME.fullmatch(lab) or (host and not _HOST_NAME.fullmatch(host)):
        return None
    return lab, host or None


@dataclass(frozen=True)
class Places:
    """The directories of the lab; its state lasts until `down`, the cache until it is pruned."""

    cache: Path
    data: Path
    run: Path = RUN_ROOT

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Places:
        home = env.get("HOME", "/root")
        base = env.get("XDG_CACHE_HOME") or f"{home}/.cache"
        cache = Path(env.get("HERD_CACHE") or f"{base}/herd.inference")
        # Not under /run: files of hosts would occupy memory there.
        return cls(cache=cache, data=Path(env.get("HERD_LAB_DATA") or "/var/lib/herd-lab"))

    @property
    def images(self) -> Path:
        return self.cache / "lab"

    def state(self, lab: str) -> Path:
        return self.run / lab

    def key(self, lab: str) -> Path:
        return self.state(lab) / "id_ed25519"

    def control_sockets(self, lab: str) -> Path:
        """Return the directory of ssh's control sockets of this lab, so that `down` can close the connections."""
        return self.state(lab) / "cm"

    def host_state(self, lab: str, host: str) -> Path:
        return self.state(lab) / "hosts" / host

    def shared(self, lab: str) -> Path:
        """Return a directory that hosts may share; the name cannot be a host's, since it begins with a dot."""
        return self.data / lab / ".shared"

    def disk(self, lab: str, host: str) -> Path:
        return self.data / lab / host
