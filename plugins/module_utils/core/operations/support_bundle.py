# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a support bundle of one node holds: commands and files by the names that their text has in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOW = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,Result,ExecMainStatus,ActiveEnterTimestamp,"
    "InactiveEnterTimestamp,MemoryCurrent,MemoryMax,TasksCurrent,NeedDaemonReload,User"
)


@dataclass(frozen=True)
class Piece:
    """A part of the bundle: what a command prints, or a file.

    :ivar name: its path in the bundle.
    :ivar argv: the command, if it is one; a program that the host does not have is passed over.
    :ivar path: the file, if it is one.
    """

    name: str
    argv: tuple[str, ...] = ()
    path: str = ""


def _command(name: str, *argv: str) -> Piece:
    return Piece(name, argv)


def pieces(units: Sequence[str], since: str, lines: int, prefix: str, models_dir: str) -> list[Piece]:
    """Name everything, and nothing that only a service may read: key files are not among it."""
    found = [
        _command("system/uname.txt", "uname", "-a"),
        _command("system/os-release.txt", "cat", "/etc/os-release"),
        _command("system/uptime.txt", "uptime"),
        _command("system/memory.txt", "free", "-m"),
        _command("system/disks.txt", "df", "-hT"),
        _command("system/processors.txt", "lscpu"),
        # Without environments: they may hold what nobody should see.
        _command("system/processes.txt", "ps", "-eo", "user,pid,ppid,stat,lstart,rss,nlwp,args"),
        _command("system/systemd.txt", "systemctl", "--version"),
        _command("system/failed-units.txt", "systemctl", "--failed", "--no-pager", "--plain"),
        _command("system/kernel.txt", "journalctl", "--dmesg", "--no-pager", "--lines=500", "--output=short-iso"),
        _command("network/addresses.txt", "ip", "-details", "address"),
        _command("network/routes.txt", "ip", "route", "show", "table", "all"),
        _command("network/rules.txt", "ip", "rule"),
        _command("network/neighbours.txt", "ip", "neighbour"),
        _command("network/links.txt", "ip", "-statistics", "link"),
        _command("network/sockets.txt", "ss", "-tanpie"),
        _command("network/firewall.txt", "nft", "list", "ruleset"),
        _command("network/firewalld.txt", "firewall-cmd", "--list-all-zones"),
        _command("network/infiniband.txt", "ibstat"),
        _command("gpu/nvidia-smi.txt", "nvidia-smi"),
        _command("gpu/details.txt", "nvidia-smi", "--query"),
        _command("gpu/topology.txt", "nvidia-smi", "topo", "--matrix"),
        _command("herd/status.json", "/opt/herd/bin/herdctl", "status", "--json"),
        _command("herd/releases.txt", "ls", "-la", "--time-style=full-iso", prefix, f"{prefix}/releases"),
        _command("herd/models.txt", "ls", "-la", "--time-style=full-iso", models_dir),
        _command("herd/configuration.txt", "ls", "-laR", "/etc/herd"),
        Piece("herd/manifest.json", path=f"{prefix}/current/manifest.json"),
        Piece("herd/toolchain.json", path=f"{prefix}/etc/toolchain.json"),
        Piece("herd/wait-for-workers.json", path="/etc/herd/wait-for-workers.json"),
        Piece("herd/agent.json", path="/etc/herd/agent.json"),
    ]
    for unit in units:
        found += [
            _command(f"units/{unit}.txt", "systemctl", "cat", "--no-pager", unit),
            _command(f"units/{unit}.state.txt", "systemctl", "show", f"--property={SHOW}", unit),
            _command(
                f"journal/{unit}.txt",
                *("journalctl", "--no-pager", "--output=short-iso-precise", f"--lines={lines}", f"--since={since}"),
                f"--unit={unit}",
            ),
        ]
    return found
