# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of this node: units, processes, the kernel's TCP tables and GPUs."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.engine.command_line import value_of
from ...core.errors import HerdError
from ...core.host import numa, proc_net
from ...core.host import nvidia_smi as nvidia_smi_report
from ...core.host.hardware import locality
from ...core.supervision import heartbeat
from ...core.supervision.observations import HeadObservation
from ...core.text import plain
from ..common import command, gpus, sysfs

PROC = Path("/proc")
#: Seconds between two queries of systemd: for a loaded unit, and for one that is not installed.
UNIT_S, ABSENT_S = 1.0, 5.0
#: Seconds to wait for systemd. A later answer is used at the next refresh.
WAIT_S = 0.4


@dataclass(frozen=True)
class Unit:
    """The state of a unit, as systemd reports it."""

    loaded: bool = False
    active: str = "inactive"
    sub: str = "dead"
    job: bool = False
    pid: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class Process:
    """The state of a process: start in seconds since boot, state letter, processor time and command line."""

    started: float = 0.0
    state: str = ""
    cpu_s: float = 0.0
    arguments: tuple[str, ...] = ()


def ask_unit(name: str) -> Unit | None:
    """Ask systemd for the state of a unit; None if it does not answer."""
    names = "LoadState,ActiveState,SubState,MainPID,NRestarts,Job"
    status, text = command.run(["systemctl", "show", f"--property={names}", name])
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if status or "ActiveState" not in found:
        return None
    return Unit(
        loaded=found.get("LoadState") == "loaded",
        active=found["ActiveState"],
        sub=found.get("SubState", ""),
        job=found.get("Job", "0") not in ("", "0"),
        pid=int(found.get("MainPID") or 0),
        restarts=int(found.get("NRestarts") or 0),
    )


def unit(name: str) -> Unit:
    """Return the state of a unit, or of a missing unit if systemd does not answer."""
    return ask_unit(name) or Unit()


def process(pid: int) -> Process:
    """Read a process. Without that process, C(started) is 0."""
    if not pid:
        return Process()
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return Process()
    arguments = tuple(word.decode(errors="replace") for word in raw.split(b"\0") if word)
    # The fields of proc(5) from the third on: its state, then utime and stime of all threads and its start in ticks.
    ticks = os.sysconf("SC_CLK_TCK")
    return Process(int(fields[19]) / ticks, fields[0], (int(fields[11]) + int(fields[12])) / ticks, arguments)


def children(pid: int) -> list[int]:
    """Return the child processes of all threads of a process."""
    found: set[int] = set()
    for path in (PROC / str(pid) / "task").glob("*/children") if pid else ():
        try:
            found.update(map(int, path.read_text(encoding="ascii").split()))
        except OSError:
            # The thread has ended meanwhile; another one has adopted its children.
            continue
    return sorted(found)


def sockets() -> list[proc_net.TcpSocket]:
    """Read the kernel's TCP tables."""
    # A sandbox that shows processes only (ProcSubset=pid) hides the link /proc/net.
    paths = (PROC / "self/net/tcp", PROC / "self/net/tcp6")
    return proc_net.parse("".join(path.read_text(encoding="ascii") for path in paths if path.exists()))


def boot_id() -> str:
    """Return the kernel's id of the current boot."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def release_of(arguments: Sequence[str]) -> str:
    """Return the release that a process runs from, by its command line."""
    parts = Path(arguments[0]).parts if arguments else ()
    return parts[parts.index("releases") + 1] if "releases" in parts[:-1] else ""


def engine_view(unit: Unit, process: Process, health: str) -> HeadObservation:
    """Return an engine's observation from its unit and process, without the slots that its API shows."""
    return HeadObservation(
        active=unit.active,
        sub=unit.sub,
        job=unit.job,
        pid=unit.pid if process.started else 0,
        started=process.started,
        state=process.state,
        release=release_of(process.arguments),
        health=health,
        cpu_s=process.cpu_s,
        may_sleep=value_of(process.arguments, "--sleep-idle-seconds") not in ("", "-1"),
    )


class ObservedUnit:
    """A unit and its process.

    Systemd is queried periodically, and when the process changes. The query runs in a thread: systemd may stall, and
    heartbeats must continue with its last answer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.unit, self.process, self.heard_at = Unit(), Process(), 0.0
        self._heard = (self.unit, 0.0)
        self._asked_at = -ABSENT_S
        self._known = self.unit
        self._asking: threading.Thread | None = None

    def refresh(self, now: float) -> None:
        """Read the process, and query systemd for the unit when that is due."""
        before, was = self._heard, self.process
        found = process(before[0].pid)
        every = UNIT_S if before[0].loaded else ABSENT_S
        if (now - self._asked_at >= every or found.started != was.started) and not self._is_asking():
            asking = threading.Thread(target=self._ask, daemon=True)
            self._asked_at, self._asking = now, asking
            asking.start()
            # Systemd usually answers within milliseconds, so that the answer is current.
            asking.join(WAIT_S)
        heard = self._heard
        self.unit, self.heard_at = heard
        found = process(self.unit.pid)
        # A process of the same id may be another one: the kernel reuses ids before systemd reports the end.
        self.process = Process() if heard[0] is self._known and found.started != was.started else found
        self._known = heard[0]

    def _is_asking(self) -> bool:
        return self._asking is not None and self._asking.is_alive()

    def _ask(self) -> None:
        asked_at = time.monotonic()
        found = ask_unit(self.name)
        if found is not None:
            self._heard = (found, asked_at)

    def age_s(self, now: float) -> float:
        """Return the age of systemd's last answer in seconds."""
        return round(max(0.0, now - self.heard_at), 1)


class Protocols:
    """The RPC protocols of releases, from their manifests."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self._known: dict[str, str] = {}

    def of(self, release: str) -> str:
        """Return the protocol of a release; empty without a manifest."""
        if release and release not in self._known:
            path = self.prefix / "releases" / release / "manifest.json"
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                self._known[release] = str(found["rpc_protocol"])
            except (OSError, ValueError, KeyError, TypeError):
                return ""
        return self._known.get(release, "")


def of_gpus(found: Sequence[nvidia_smi_report.Gpu]) -> tuple[heartbeat.Gpu, ...]:
    """Return the GPUs that nvidia-smi reports, as a heartbeat holds them."""

    def known(number: int | None) -> int:
        return -1 if number is None else max(-1, number)

    return tuple(
        heartbeat.Gpu(
            gpu.index,
            plain(gpu.name),
            *map(known, (gpu.used_mib, gpu.total_mib, gpu.temperature_c, gpu.utilisation_percent)),
        )
        for gpu in found
    )


def memory_policy(pid: int) -> str:
    """Return the policy of a process's memory, such as C(prefer:1); empty if the kernel does not show it."""
    try:
        handle = os.open(PROC / str(pid) / "numa_maps", os.O_RDONLY)
    except OSError:
        return ""
    try:
        # Few bytes: for each further line the kernel walks the pages of a mapping, such as those of a model.
        words = os.read(handle, 64).decode("ascii", errors="replace").split()
    except OSError:
        return ""
    finally:
        os.close(handle)
    return plain(words[1]) if len(words) > 1 else ""


class Bindings:
    """What running engines may use on a host of several NUMA nodes, read once for each process."""

    def __init__(self, host: sysfs.Sysfs | None = None) -> None:
        self._nodes = locality.processors(host or sysfs.Sysfs())
        self._known: dict[str, tuple[float, heartbeat.EngineBinding]] = {}

    def of(self, units: Sequence[ObservedUnit]) -> tuple[heartbeat.EngineBinding, ...]:
        """Return the bindings of running engines; none on a host with one NUMA node."""
        found = []
        for unit in units if len(self._nodes) > 1 else ():
            started = unit.process.started
            if started and self._known.get(unit.name, (0, None))[0] != started:
                with suppress(OSError):
                    pid = unit.unit.pid
                    status = (PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
                    allowed, memory = os.sched_getaffinity(pid), numa.memory_nodes(status)
                    bound = numa.running(self._nodes, allowed, memory_policy(pid), memory)
                    self._known[unit.name] = (started, heartbeat.EngineBinding(unit.name, *bound))
            known = self._known.get(unit.name)
            if known is not None and known[0] == started:
                found.append(known[1])
        return tuple(found)


class Gpus:
    """The GPUs, read in a thread of their own: a driver that hangs must not stop the agent."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self.program = shutil.which("nvidia-smi")
        self.readings: tuple[heartbeat.Gpu, ...] = ()
        self.lost: tuple[heartbeat.LostGpu, ...] = ()
        #: Whether nvidia-smi has ended once. Then its last answer, None if it describes no usable GPU, and its time.
        self.is_known = False
        self.report: nvidia_smi_report.GpuReport | None = None
        self.answered_at = 0.0

    def run(self) -> None:
        """Read the GPUs periodically; return only without nvidia-smi."""
        while self.program:
            self.refresh()
            time.sleep(self.EVERY_S)

    def refresh(self) -> None:
        """Read the GPUs once; none if the driver is broken, which the module gpu_memory explains."""
        try:
            report = gpus.read(self.program or "nvidia-smi")
        except HerdError:
            self.readings, self.lost, self.report, self.is_known = (), (), None, True
            return
        self.report, self.answered_at, self.is_known = report, time.monotonic(), True
        self.readings = of_gpus(report.gpus)
        self.lost = tuple(heartbeat.LostGpu(plain(each.name), plain(each.reason)) for each in report.lost)
