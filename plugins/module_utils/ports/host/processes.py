# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read processes, sockets and addresses of this host from the kernel."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

PROC = Path("/proc")
_SIOCGIFADDR = 0x8915


def tcp_tables() -> str:
    """Return the TCP tables of this network namespace, for IPv4 and IPv6."""
    return "".join(path.read_text(encoding="ascii") for path in (PROC / "net/tcp", PROC / "net/tcp6") if path.exists())


def _text(path: Path) -> str:
    """Read a file of a process; empty if the process has ended."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def environment_of(pid: int) -> dict[str, str]:
    """Return the initial environment of a process; empty if it has ended."""
    return dict(item.split("=", 1) for item in _text(PROC / str(pid) / "environ").split("\0") if "=" in item)


def arguments_of(pid: int) -> list[str]:
    """Return the command line of a process; empty if it has ended."""
    return [word for word in _text(PROC / str(pid) / "cmdline").split("\0") if word]


def owner_of(inode: int) -> tuple[int, str]:
    """Return id and name of the process that holds a socket, or 0 if it is unknown."""
    wanted = f"socket:[{inode}]"
    for process in PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            for handle in (process / "fd").iterdir():
                if str(handle.readlink()) == wanted:
                    return int(process.name), (process / "comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue
    return 0, ""


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes, with mapped files; 0 if it has ended."""
    sizes = _text(PROC / str(pid) / "statm").split()
    return int(sizes[1]) * os.sysconf("SC_PAGE_SIZE") if sizes else 0


def control_group_of(pid: int) -> str:
    """Return the text of C(/proc/PID/cgroup), which contains the unit; empty if the process has ended."""
    return _text(PROC / str(pid) / "cgroup")


def age_of(pid: int) -> float:
    """Return the age of a process in seconds, by the kernel's clock; 0 if it has ended."""
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    if not fields:
        return 0.0
    uptime = float(_text(PROC / "uptime").split()[0])
    return max(0.0, uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))


def interface_of(address: str) -> str:
    """Return the name of the interface with this IPv4 address, or empty."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""


def can_bind(address: str) -> bool:
    """Return whether an address belongs to this host, by a bind to port 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def tree_size(root: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for folder, _folders, names in os.walk(root):
        for name in names:
            try:
                total += (Path(folder) / name).stat().st_size
            except OSError:
                continue
    return total
