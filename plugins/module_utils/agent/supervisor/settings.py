# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration, and the flags that an operator sets at run time: hold and drain."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.gateway import service_status
from ...core.host import disk_space
from ...core.supervision.heartbeat import Hold
from ...core.supervision.limits import RecoveryLimits
from ...core.text import plain
from ..common.atomic_files import write_whole
from ..common.config import read_config

SCHEMA = 1
DEFAULT_PATH = "/etc/herd/agent.json"


@dataclass(frozen=True)
class Settings:
    """The agent's configuration.

    :param peers: fabric addresses of all nodes by name, including this one.
    :param scrapers: addresses that may read the metrics, beside this node.
    :param models_dir: folder of the models, whose downloads the metrics show; empty for none.
    :param tiers: tiers behind the gateway on this host, whose status the agent publishes.
    """

    node: str
    address: str
    port: int
    peers: Mapping[str, str]
    prefix: Path
    run_dir: Path
    limits: RecoveryLimits
    disks: Sequence[str]
    disk_limits: disk_space.DiskLimits
    tiers: Sequence[service_status.ServiceTier] = ()
    scrapers: Sequence[str] = ()
    models_dir: str = ""


def _parse(data: Any) -> Settings:
    given = dict(data["limits"])
    pauses = tuple(map(float, given.pop("backoff_s", RecoveryLimits.backoff_s)))
    if not pauses:
        raise ValueError("backoff_s has no pause")
    # All other fields are numbers.
    values: dict[str, Any] = {str(name): float(value) for name, value in given.items()}
    limits = RecoveryLimits(backoff_s=pauses, **values)
    disks = data["disks"]
    disk_limits = {name: float(disks[name]) for name in ("low_gib", "full_gib") if disks[name] is not None}
    return Settings(
        node=str(data["node"]),
        address=str(data["address"]),
        port=int(data["port"]),
        peers={str(name): str(address) for name, address in data["peers"].items()},
        prefix=Path(data["prefix"]),
        run_dir=Path(data.get("run_dir", "/run/herd")),
        limits=limits,
        disks=tuple(map(str, disks["paths"])),
        disk_limits=disk_space.DiskLimits(**disk_limits),
        tiers=tuple(map(service_status.from_data, data.get("tiers", ()))),
        scrapers=tuple(map(str, data.get("scrapers", ()))),
        models_dir=str(data.get("models_dir", "")),
    )


def read_settings(path: str) -> Settings:
    """Read the agent's configuration."""
    return read_config(path, SCHEMA, _parse, "the agent's configuration", "node_agent")


class OperatorFlags:
    """Flags of an operator as files. Each expires, so that a forgotten one does not last; a reboot clears it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, name: str, reason: str, seconds: float) -> None:
        """Set a flag atomically, for some seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # The kernel's clock since boot: a change of the wall clock must not extend the flag.
        until = time.monotonic() + seconds
        write_whole(self.folder / name, json.dumps({"reason": plain(reason), "until": until}))

    def clear(self, name: str) -> None:
        """Clear a flag."""
        (self.folder / name).unlink(missing_ok=True)

    def get(self, name: str) -> Hold | None:
        """Return a flag with its remaining seconds; None if it is not set or has expired."""
        try:
            data = json.loads((self.folder / name).read_text(encoding="utf-8"))
            left = float(data["until"]) - time.monotonic()
            return Hold(plain(str(data["reason"])), round(left, 1)) if left > 0 else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
