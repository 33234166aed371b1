# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the commands and files of a node's support bundle by their names in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOW = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,NRestarts,Result,ExecMainStatus,ActiveEnterTimestamp,"
    "InactiveEnterTimestamp,MemoryCurrent,MemoryMax,TasksCurrent,NeedDaemonReload,User"
)


@dataclass(frozen=True)
class Piece:
    """A part of the bundle, named by its path there: the output of a command, or a file."""

    name: str
    argv: tuple[str, ...] = ()
    path: str = ""


def _command(name: str, *argv: str) -> Piece:
    return Piece(name, argv)


def pieces(units: Sequence[str], since: str, lines: int, prefix: str, models_dir: str) -> list[Piece]:
    """Return all parts of the bundle. Protected files, such as keys, are not among them."""
    found = [
        _command("system/uname.txt", "uname", "-a"),
        _command("system/os-release.txt", "cat", "/etc/os-release"),
        _command("system/uptime.txt", "uptime"),
        _command("system/memory.txt", "free", "-m"),
        _command("system/disks.txt", "df", "-hT"),
        _command("system/processors.txt", "lscpu"),
        # Without environments, which may contain secrets.
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
        Piece("herd/gateway.json", path="/etc/herd/gateway.json"),
        Piece("herd/tiers.json", path="/etc/herd/tiers.json"),
        Piece("herd/tiers-status.json", path="/run/herd/tiers.json"),
        # Slurm cuts the names of jobs in its own formats.
        _command("slurm/queue.txt", "squeue", "--all", "--format=%i|%P|%j|%u|%q|%T|%M|%l|%D|%R"),
        _command("slurm/nodes.txt", "sinfo", "--Node", "--long"),
        _command("slurm/jobs.txt", "scontrol", "show", "job"),
        _command(
            "slurm/accounting.txt",
            *("sacct", "--allusers", "--starttime=now-1days", "--parsable2"),
            "--format=JobID,JobName,User,QOS,State,ExitCode,Start,End,NodeList,Reason",
        ),
    ]
    for unit in units:
        # Of a template unit, all loaded instances.
        loaded = unit.replace("@.", "@*.")
        found += [
            _command(f"units/{unit}.txt", "systemctl", "cat", "--no-pager", unit),
            _command(f"units/{unit}.state.txt", "systemctl", "show", f"--property={SHOW}", loaded),
            _command(
                f"journal/{unit}.txt",
                *("journalctl", "--no-pager", "--output=short-iso-precise", f"--lines={lines}", f"--since={since}"),
                f"--unit={loaded}",
            ),
        ]
    return found
