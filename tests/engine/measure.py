# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a head and its workers on this machine, and read what each of them allocated.

A worker's log (GGML_RPC_DEBUG) has the exact size of every allocated buffer, and the head's log names their purpose.
The head is stopped as soon as it is ready, so nothing is computed.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WORKER_PROGRAMS = ("ggml-rpc-server", "rpc-server")
_READY = ("server is listening on", "llama_server: listening on", "all slots are idle", "starting the main loop")
_ALLOCATED = re.compile(r"\[alloc_buffer\] device: \d+, size: (\d+) -> remote_ptr: ([0-9a-f]+)")
_FREED = re.compile(r"\[free_buffer\] remote_ptr: ([0-9a-f]+)")
_BUFFER = re.compile(
    r"(?P<name>[A-Za-z_]+)(?P<index>\d*)(?:\[(?P<endpoint>[^\]]+)\])?\s+"
    r"(?P<kind>model|KV|RS|compute|output) buffer size\s*=\s*(?P<mib>[\d.]+) MiB"
)
_ASSIGNED = re.compile(r"load_tensors: layer\s+(\d+) assigned to device (\w+)")
_MIB = 1 << 20


class MeasureError(Exception):
    """A measurement failed because of the engine."""


@dataclass(frozen=True)
class Case:
    """One start of head and workers.

    :param value_type: type of the values' cache; empty for that of the keys.
    """

    model: str
    release: str
    context: int
    cache_type: str = "f16"
    split: tuple[float, ...] = (1, 1)
    slots: int = 1
    ubatch: int = 512
    batch: int = 2048
    flash_attention: str = "on"
    unified: bool = False
    value_type: str = ""
    more: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Build the head's arguments without model, workers and port."""
        argv = ["--ctx-size", str(self.context), "--parallel", str(self.slots)]
        argv += ["--ubatch-size", str(self.ubatch), "--batch-size", str(self.batch)]
        argv += ["--cache-type-k", self.cache_type, "--cache-type-v", self.value_type or self.cache_type]
        argv += ["--flash-attn", self.flash_attention, *(["--kv-unified"] if self.unified else [])]
        if len(self.split) > 1:
            argv += ["--tensor-split", ",".join(f"{share:g}" for share in self.split)]
        return argv + list(self.more)


@dataclass
class Device:
    """Bytes that one worker allocated, by purpose."""

    weights: int = 0
    cache: int = 0
    recurrent: int = 0
    compute: int = 0
    layers: list[int] = field(default_factory=list)
    peak_rss: int = 0


@dataclass
class Measured:
    """Memory of one start. The head's own buffers are in MiB, as it prints them."""

    devices: list[Device]
    head_mib: dict[str, float]
    head_rss: dict[str, int]

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


def free_ports(count: int) -> list[int]:
    """Return free ports on the loopback interface."""
    sockets = [socket.socket() for _each in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block."""
    with log.open("wb") as stream:
        environment = {**os.environ, "GGML_RPC_DEBUG": "1", "GGML_NO_BACKTRACE": "1"}
        process = subprocess.Popen(
            argv, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def worker_program(binaries: Path) -> Path:
    """Return the worker program of a build. Its name differs between releases."""
    found = [binaries / name for name in WORKER_PROGRAMS if (binaries / name).exists()]
    if not found:
        raise MeasureError(f"expected one of {', '.join(WORKER_PROGRAMS)} in {binaries}, found neither")
    return found[0]


def memory_of(pid: int) -> dict[str, int]:
    """Read a process's peak, private and mapped bytes from the kernel."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _colon, value = line.partition(":")
        if key in ("VmHWM", "RssAnon", "RssFile", "RssShmem"):
            found[key] = int(value.split()[0]) * 1024
    return found


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, limit: float = 10) -> None:
    end = time.monotonic() + limit
    needle = f":{port:04X} "
    while time.monotonic() < end:
        # A worker takes one connection only, so the kernel's table is read instead.
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and f"{local[-5:]} " == needle:
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise MeasureError(f"the worker on port {port} does not listen: {log.read_text(errors='replace')[-300:]}")


def _wait_for_head(process: subprocess.Popen[bytes], log: Path, limit: float = 120) -> str:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        text = log.read_text(errors="replace")
        if any(word in text for word in _READY):
            return text
        if process.poll() is not None:
            raise MeasureError(f"the head ended with {process.returncode}: {text[-1500:]}")
        time.sleep(0.02)
    raise MeasureError(f"the head is not ready after {limit} s: {log.read_text(errors='replace')[-500:]}")


def buffers_alive(log: str) -> list[int]:
    """List the sizes of the buffers that a worker still holds, in the order of their allocation."""
    alive: dict[str, int] = {}
    for line in log.splitlines():
        if found := _ALLOCATED.search(line):
            alive[found[2]] = int(found[1])
        elif found := _FREED.search(line):
            alive.pop(found[1], None)
    return list(alive.values())


def read_head(log: str, ports: Sequence[int]) -> tuple[list[list[tuple[str, float]]], dict[str, float], dict[int, int]]:
    """Read the head's log: kinds of buffers of each worker in order, its own buffers, and layers by device."""
    of_worker: list[list[tuple[str, float]]] = [[] for _port in ports]
    own: dict[str, float] = {}
    for line in log.splitlines():
        found = _BUFFER.search(line)
        if not found:
            continue
        kind, mib = found["kind"], float(found["mib"])
        if found["endpoint"]:
            of_worker[ports.index(int(found["endpoint"].rpartition(":")[2]))].append((kind, mib))
        else:
            key = f"{kind} {found['name']}"
            own[key] = own.get(key, 0) + mib
    assigned = {int(layer): device for layer, device in _ASSIGNED.findall(log)}
    layers = {layer: int(device.removeprefix("RPC")) for layer, device in assigned.items() if device.startswith("RPC")}
    return of_worker, own, layers


def _name_buffers(alive: Sequence[int], said: Sequence[tuple[str, float]], device: Device) -> None:
    """Match each buffer of a worker with the buffer of its size in the head's log."""
    left = [size for size in alive if size > 1]
    attributes = {"model": "weights", "KV": "cache", "RS": "recurrent", "compute": "compute"}
    for number, (kind, mib) in enumerate(said):
        near = [size for size in left if abs(size / _MIB - mib) <= 0.00501]
        if not near:
            # A context that reserves its buffer again prints it again.
            if mib == 0 or (kind, mib) in said[:number]:
                continue
            raise MeasureError(f"no buffer of {mib} MiB ({kind}) among {left}")
        left.remove(near[0])
        setattr(device, attributes[kind], getattr(device, attributes[kind]) + near[0])
    if left:
        raise MeasureError(f"buffers of unknown purpose: {left}, the head names {list(said)}")


def measure(case: Case, model: Path, binaries: Path) -> Measured:
    """Start the group once, and return what it allocated."""
    ports = free_ports(len(case.split) + 1)
    with tempfile.TemporaryDirectory(prefix="herd-engine-") as place:
        logs = [Path(place) / f"{name}.log" for name in ("head", *range(len(case.split)))]
        worker = str(worker_program(binaries))
        with ExitStack() as stack:
            workers = []
            for port, log in zip(ports[1:], logs[1:], strict=True):
                argv = [worker, "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
                workers.append(stack.enter_context(running(argv, log)))
                _wait_for_port(port, workers[-1], log)
            endpoints = ",".join(f"127.0.0.1:{port}" for port in ports[1:])
            argv = [str(binaries / "llama-server"), "--model", str(model), "--rpc", endpoints]
            argv += ["--host", "127.0.0.1", "--port", str(ports[0]), "--n-gpu-layers", "999", "--verbose"]
            argv += ["--no-warmup", "--cache-ram", "0", "--fit", "off", *case.arguments()]
            with running(argv, logs[0]) as head:
                text = _wait_for_head(head, logs[0])
                rss = memory_of(head.pid)
                peaks = [memory_of(process.pid)["VmHWM"] for process in workers]
                held = [buffers_alive(log.read_text(errors="replace")) for log in logs[1:]]
        said, own, layers = read_head(text, ports[1:])
        devices = []
        for index, alive in enumerate(held):
            device = Device(peak_rss=peaks[index])
            _name_buffers(alive, said[index], device)
            device.layers = sorted(layer for layer, holder in layers.items() if holder == index)
            devices.append(device)
        return Measured(devices, own, rss)
