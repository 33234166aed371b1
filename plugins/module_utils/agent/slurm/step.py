# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One engine of a tier's job on its node: the process that srun starts, and that starts the engine.

When a job is preempted, Slurm signals the job's steps, every process of them, and not the batch script. A worker that
took that signal would end in the middle of an answer and take the head with it. So the engine does not see it (it is
blocked from before the engine's first instruction), this process does, and tells the job, which decides.

It speaks in lines of JSON on standard output, and is told to stop by a line on standard input, or by its end.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...core.engine.command_line import value_of
from ...core.errors import HerdError, InsufficientError, InvalidInputError, NotFoundError
from ...core.host import numa, proc_net
from ...core.slurm import job_spec
from ..common import command
from ..supervisor import local_state

TICK_S = 0.2
PR_SET_PDEATHSIG = 1
# The system call's numbers; the C library has no function for it.
SET_MEMPOLICY, MPOL_PREFERRED = {"x86_64": 238, "aarch64": 237}, 1
# Seconds between two signs of life to the job: a node that loses its power says nothing any more.
ALIVE_S = 2.0
# What Slurm or people may send to all processes of a step. SIGINT is left: it is how an engine is told to end.
NOT_FOR_THE_ENGINE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
GUARD_TIMEOUT_S = 10.0


def emit(event: str, **facts: Any) -> None:
    """Tell the job something."""
    print(json.dumps({"event": event, **facts}), flush=True)


def engine_command(arguments: argparse.Namespace) -> int:
    """Become the engine: it does not outlive the process that started it, and does not see the job's signals."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_THE_ENGINE)
    argv = [word for index, word in enumerate(arguments.argv) if index or word != "--"]
    if os.getppid() != parent:
        return 1
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        raise NotFoundError(
            f"the program {argv[0]}", error.strerror or str(error), "run playbooks/slurm.yml --tags release"
        ) from error


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu_node() -> int | None:
    """The NUMA node of the job's first GPU: devices are numbered in the order of their places on the bus."""
    gpus = []
    for device in sorted(Path("/sys/bus/pci/devices").glob("*")):
        with suppress(OSError):
            is_nvidia = (device / "vendor").read_text(encoding="ascii").strip() == "0x10de"
            if is_nvidia and (device / "class").read_text(encoding="ascii").startswith("0x03"):
                gpus.append(_number(device / "numa_node"))
    index = numa.first_gpu(os.environ)
    return gpus[index] if index < len(gpus) else None


def binding(interface: str, threads: int) -> numa.Binding:
    """Where the engine should run on this machine."""
    nodes = {}
    for folder in Path("/sys/devices/system/node").glob("node[0-9]*"):
        with suppress(OSError):
            text = (folder / "cpulist").read_text(encoding="ascii")
            nodes[int(folder.name[4:])] = numa.parse_list(text)
    fabric = _number(Path("/sys/class/net") / interface / "device/numa_node") if interface else None
    return numa.near(nodes, os.sched_getaffinity(0), _gpu_node(), fabric, threads)


def prefer_memory(numa_node: int) -> bool:
    """Let memory of this process, and of what it starts, come from a node while there is some; whether it will."""
    number = SET_MEMPOLICY.get(os.uname().machine)
    if number is None or not 0 <= numa_node < 64:
        return False
    mask = ctypes.c_uint64(1 << numa_node)
    call = ctypes.CDLL(None, use_errno=True).syscall
    return bool(call(ctypes.c_long(number), MPOL_PREFERRED, ctypes.byref(mask), ctypes.c_ulong(65)) == 0)


def _bindable(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the engine does: connections of the one before that are about to end do not keep it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def choose_port(address: str, first: int, count: int) -> int:
    """The first port on which nobody listens."""
    taken = {found.local_port for found in local_state.sockets() if found.state == "LISTEN"}
    for port in job_spec.candidates(first, count, taken):
        if _bindable(address, port):
            return port
    raise InsufficientError(
        f"a free port between {first} and {first + count - 1} on {address}",
        "all of them taken",
        "see with ss -ltnp who listens there; a job that was not ended well may still run",
    )


def open_guard(path: str, port: int, allowed: str) -> socket.socket:
    """Have the port opened to one address for as long as the connection to the guard lives."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(GUARD_TIMEOUT_S)
    try:
        channel.connect(path)
        channel.sendall(json.dumps({"port": port, "address": allowed}).encode() + b"\n")
        answer = channel.makefile("r", encoding="utf-8").readline()
    except OSError as error:
        raise InvalidInputError(
            f"the guard of the workers' ports at {path}",
            error.strerror or str(error),
            "start herd-job-guard.service on this node; playbooks/slurm.yml --tags tiers installs it",
        ) from error
    if answer.strip() != "open":
        raise InvalidInputError(
            f"the guard to open port {port} to {allowed}", answer.strip() or "no answer", "see its journal on this node"
        )
    return channel


def _loaded(pid: int) -> int:
    read = mapped = 0
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
            if line.startswith("rchar:"):
                read = int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssFile:"):
                mapped = int(line.split()[1]) * 1024
    return max(read, mapped)


class Engine:
    """The engine's process."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.port = choose_port(order["address"], int(order["port"]), int(order["ports"]))
        guard = order.get("guard") or ""
        self._guard = open_guard(guard, self.port, order["allow"]) if guard else None
        argv = job_spec.with_port(order["argv"], self.port)
        buffered = shutil.which("stdbuf")
        environment = {**os.environ, **order.get("environment", {})}
        threads = value_of(argv, "--threads", "-t")
        bound = binding(order.get("interface", ""), int(threads) if threads.isdigit() else int(order.get("cpus", 1)))
        if bound.processors:
            os.sched_setaffinity(0, bound.processors)
        elif bound.memory is not None and not prefer_memory(bound.memory):
            emit("note", text="the kernel does not let its memory come from one NUMA node")
        with Path(order["log"]).open("ab") as log:
            shim = [sys.executable, str(Path(sys.argv[0]).absolute()), "job", "engine", "--"]
            self.process = subprocess.Popen(
                [*shim, *([buffered, "-oL"] if buffered else []), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.began, self.is_listening = time.monotonic(), False
        emit("started", pid=self.process.pid, port=self.port, binding=bound.reason)

    def _mine(self) -> set[int]:
        """The sockets of the engine and of what it has started, by inode."""
        found: set[int] = set()
        with suppress(OSError):
            for handle in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with suppress(OSError):
                    target = str(handle.readlink())
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
        return found

    def look(self) -> None:
        """Say once that it listens, and that it listens alone."""
        if self.is_listening:
            return
        listeners = proc_net.listening_on(local_state.sockets(), self.port)
        mine = self._mine()
        if not any(found.inode in mine for found in listeners):
            return
        self.is_listening = True
        if all(found.inode in mine for found in listeners):
            emit("listening", port=self.port)
        else:
            # Both would get requests. The job starts anew, with another port.
            emit("error", text=f"somebody else came to listen on port {self.port} at the same time")
            self.stop(0.0)

    def loaded(self) -> int:
        """Bytes of files that it, or a process of a router's model, has read, or has in memory as they are."""
        return max(_loaded(pid) for pid in (self.process.pid, *local_state.children(self.process.pid)))

    def stop(self, patience_s: float) -> None:
        """End it: gently first, if there is time."""
        if patience_s > 0 and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _sent(interface: str) -> int:
    return _number(Path("/sys/class/net") / interface / "statistics/tx_bytes") or 0 if interface else 0


def _listen(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line.strip())
    lines.put("stop 0")


def _cache(order: dict[str, Any], moment: str) -> None:
    """Let nothing of the worker's cache that may be cut short be taken for whole."""
    if order.get("cache"):
        argv = [sys.argv[0], "rpc-cache", "prune", moment, *map(str, order["cache"])]
        status, text = command.run(argv, 120.0)
        if status or text.strip():
            emit("note", text=f"cache: {text.strip()[:300] or f'status {status}'}")


def worker_facts(pid: int, port: int) -> dict[str, Any]:
    """What a worker's step tells of its engine."""
    process, table = local_state.process(pid), local_state.sockets()
    clients = proc_net.established_from(table, port)
    return {
        "pid": pid,
        "started": process.started,
        "state": process.state,
        "clients": [f"{found.remote_address}:{found.remote_port}" for found in clients][:64],
        "stale": sum(1 for found in table if found.local_port == port and found.state == "CLOSE_WAIT"),
        "unanswered": any(found.is_unacked for found in clients),
    }


def _emit_gpus(gpus: local_state.Gpus) -> None:
    """Tell how full the GPUs of this node are that the job has."""
    known = [gpu for gpu in gpus.readings if gpu.memory_total_mib > 0 and gpu.memory_used_mib >= 0]
    if known:
        facts = [{"name": g.name, "used_mib": g.memory_used_mib, "total_mib": g.memory_total_mib} for g in known]
        emit("gpus", gpus=facts)


def follow(engine: Engine, orders: Sequence[queue.Queue[Any]]) -> int:
    """Watch the engine until it ends, or until it is to end."""
    signals, lines = orders
    interface, last, spoke = str(engine.order.get("interface", "")), 0.0, 0.0
    gpus, told = local_state.Gpus(), time.monotonic()
    threading.Thread(target=gpus.run, daemon=True).start()
    sent_before, shows_progress = _sent(interface), engine.order.get("role") == "head"
    is_worker = engine.order.get("role") == "worker"
    while True:
        with suppress(queue.Empty):
            emit("signal", name=signals.get_nowait())
        with suppress(queue.Empty):
            word, _blank, patience = lines.get(timeout=TICK_S).partition(" ")
            if word == "stop":
                engine.stop(float(patience or 0))
                emit("exit", status=engine.process.returncode, wanted=True)
                return 0
            shows_progress = shows_progress and word != "loaded"
        status = engine.process.poll()
        if status is not None:
            emit("exit", status=status, wanted=False)
            return 1
        engine.look()
        now = time.monotonic()
        if now - told >= gpus.EVERY_S:
            told = now
            _emit_gpus(gpus)
        if now - spoke >= ALIVE_S:
            spoke = now
            pid = engine.process.pid
            emit("alive", **({"worker": worker_facts(pid, engine.port)} if is_worker else {}))
        if shows_progress and now - last >= 1.0:
            last = now
            emit("progress", read=engine.loaded(), sent=_sent(interface) - sent_before)


def step_command(arguments: argparse.Namespace) -> int:
    """Run one engine."""
    order = json.loads(Path(arguments.order).read_text(encoding="utf-8"))
    signals: queue.Queue[str] = queue.Queue()
    lines: queue.Queue[str] = queue.Queue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: signals.put(signal.Signals(received).name))
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    _cache(order, "--starting")
    try:
        engine = Engine(order)
    except (HerdError, OSError) as error:
        emit("error", text=str(error))
        return 1
    try:
        return follow(engine, (signals, lines))
    except BrokenPipeError:
        # The job is gone, and so is everything that it had started.
        return 1
    finally:
        engine.stop(0.0)
        with suppress(BrokenPipeError):
            _cache(order, "--ended")
