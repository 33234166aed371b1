# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read routes, interfaces and RDMA ports from the kernel, and run ping and iperf3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import NotFoundError, RemoteFailureError
from .. import commands

SYS = Path("/sys")
NVIDIA = "0x10de"
# A display or 3D controller.
DISPLAY_CLASS = "0x03"
ECHO_WAIT_S = 1


def links() -> str:
    """Return all interfaces as JSON."""
    return commands.run(["ip", "-json", "address", "show"]).out


def route_to(peer: str) -> commands.CommandResult:
    return commands.run(["ip", "-json", "route", "get", peer])


def accepts_packets(peer: str, address: str, interface: str) -> bool:
    """Return whether the kernel accepts packets of a peer at an interface."""
    return commands.run(["ip", "-json", "route", "get", address, "from", peer, "iif", interface]).rc == 0


def ping(peer: str, interface: str, size: int) -> bool | None:
    """Return whether a peer answers to an unfragmented packet of this size; None without ping."""
    argv = ["ping", "-n", "-q", "-c", "1", "-W", str(ECHO_WAIT_S), "-M", "do", "-s", str(size), "-I", interface, peer]
    try:
        return commands.run(argv, timeout=ECHO_WAIT_S + 5).rc == 0
    except NotFoundError:
        return None


def _read(path: Path) -> str | None:
    # Some of these files cannot be read while a link is down.
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _files(folder: Path, names: Sequence[str]) -> dict[str, str]:
    found = {Path(name).name: _read(folder / name) for name in names}
    return {name: text for name, text in found.items() if text is not None}


@dataclass(frozen=True)
class Sysfs:
    """Reads sysfs for the rules of core."""

    root: Path = SYS

    def read(self, path: str) -> str:
        """Return the content of a file without blanks around it; empty if it cannot be read."""
        return _read(self.root / path) or ""

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder; empty without one."""
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []


def interface_files(name: str, sys: Path = SYS) -> dict[str, str]:
    """Read the files of an interface in sysfs."""
    return _files(sys / "class/net" / name, ["type", "mode", "speed"])


def port_files(adapter: str, number: int, sys: Path = SYS) -> dict[str, str]:
    """Read the files of a port of an RDMA device."""
    folder = sys / "class/infiniband" / adapter / "ports" / str(number)
    return _files(folder, ["state", "phys_state", "rate", "link_layer"])


def devinfo() -> str:
    """Return the output of ibv_devinfo; empty if it is not installed."""
    try:
        return commands.run(["ibv_devinfo"], timeout=20).out
    except (NotFoundError, RemoteFailureError):
        return ""


def gpu_nodes(sys: Path = SYS) -> dict[str, str]:
    """Return the NUMA node of each NVIDIA GPU by PCI address."""
    found: dict[str, str] = {}
    for device in sorted((sys / "bus/pci/devices").glob("*")):
        files = _files(device, ["vendor", "class", "numa_node"])
        if files.get("vendor") == NVIDIA and files.get("class", "").startswith(DISPLAY_CLASS):
            found[device.name] = files.get("numa_node", "")
    return found


def iperf(peer: str, address: str, port: int, seconds: int, streams: int, is_reverse: bool) -> str:
    """Measure the bandwidth to an iperf3 server, and return its output, even after a failure."""
    argv = ["iperf3", "--json", "--client", peer, "--bind", address, "--port", str(port), "--time", str(seconds)]
    argv += ["--parallel", str(streams), "--connect-timeout", "5000", *(["--reverse"] if is_reverse else [])]
    answer = commands.run(argv, timeout=seconds + 30)
    return answer.out or answer.err
