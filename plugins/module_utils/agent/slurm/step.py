# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a tier's job: the process that srun starts on a node, and that starts the engine.

When a job is preempted, Slurm signals every process of the job's steps, and not the batch script. A worker that got the
signal would end during a request, and the head with it. So the signals are blocked before the engine starts. This
process receives them and reports them to the runtime, which decides.

It writes events as lines of JSON to standard output. A line on standard input, or its end, stops the engine.
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
from ...core.host.hardware import locality
from ...core.slurm import job_spec
from ..common import command, sysfs
from ..common.output import write_line
from ..supervisor import local_state

TICK_S = 0.2
PR_SET_PDEATHSIG = 1
# Numbers of the system call, for which the C library has no function.
SET_MEMPOLICY, MPOL_PREFERRED = {"x86_64": 238, "aarch64": 237}, 1
#: Seconds between two heartbeats. A node without power sends none.
ALIVE_S = 2.0
# Signals that Slurm or users may send to all processes of a step. SIGINT is missing: it stops the engine.
BLOCKED_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
GUARD_TIMEOUT_S = 10.0


def emit(event: str, **facts: Any) -> None:
    """Send an event to the runtime."""
    write_line(json.dumps({"event": event, **facts}))


def engine_command(arguments: argparse.Namespace) -> int:
    """Execute the engine, which ends with its parent process and has the job's signals blocked."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
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


def binding(interface: str, threads: int) -> numa.Binding:
    """Choose the processors and the memory for the engine."""
    host = sysfs.Sysfs()
    gpus, index = list(locality.gpu_nodes(host).values()), numa.first_gpu(os.environ)
    gpu = gpus[index] if index < len(gpus) else None
    fabric = locality.fabric_node(host, interface)
    return numa.near(locality.processors(host), os.sched_getaffinity(0), gpu, fabric, threads)


def bound_processors(pid: int) -> str:
    """Say on which processors the running engine may compute; empty if it has ended."""
    with suppress(OSError):
        return f" (processors {numa.format_list(os.sched_getaffinity(pid))})"
    return ""


def prefer_memory(numa_node: int) -> bool:
    """Prefer memory of a NUMA node for this process and its children; say whether the kernel accepts that."""
    number = SET_MEMPOLICY.get(os.uname().machine)
    if number is None or not 0 <= numa_node < 64:
        return False
    mask = ctypes.c_uint64(1 << numa_node)
    call = ctypes.CDLL(None, use_errno=True).syscall
    return bool(call(ctypes.c_long(number), MPOL_PREFERRED, ctypes.byref(mask), ctypes.c_ulong(65)) == 0)


def _bindable(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the engine does: closing connections of a former engine do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def choose_port(address: str, first: int, count: int) -> int:
    """Choose the first port without a listener.

    Engines share a port with another listener, and each gets half of the requests. So a port that can be bound is not
    necessarily free.
    """
    taken = {found.local_port for found in local_state.sockets() if found.state == "LISTEN"}
    for port in range(first, first + count):
        if port not in taken and _bindable(address, port):
            return port
    raise InsufficientError(
        f"a free port between {first} and {first + count - 1} on {address}",
        "listeners on all of them",
        "look for the listeners with ss -ltnp; a job that did not end cleanly may still run",
    )


def open_guard(path: str, port: int, allowed: str) -> socket.socket:
    """Ask the port guard to open the port to one address while the returned connection is open."""
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
            emit("note", text="the kernel does not allow a preferred NUMA node for its memory")
        with Path(order["log"]).open("ab") as log:
            shim = [sys.executable, str(Path(sys.argv[0]).absolute()), "job", "engine", "--"]
            self.process = command.ChildProcess(
                [*shim, *([buffered, "-oL"] if buffered else []), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self.began, self.is_listening = time.monotonic(), False
        emit("started", pid=self.process.pid, port=self.port, binding=bound.reason + bound_processors(self.process.pid))

    def _mine(self) -> set[int]:
        """List the inodes of the engine's sockets."""
        found: set[int] = set()
        with suppress(OSError):
            for handle in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with suppress(OSError):
                    target = str(handle.readlink())
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
        return found

    def check_port(self) -> None:
        """Report once that the engine listens, and that no other process does."""
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
            # Both would get requests. The job starts again with another port.
            emit("error", text=f"another process also listens on port {self.port}")
            self.stop(0.0)

    def loaded(self) -> int:
        """Return the bytes of files that the engine, or a model's process of a router, has read or mapped."""
        return max(_loaded(pid) for pid in (self.process.pid, *local_state.children(self.process.pid)))

    def stop(self, patience_s: float) -> None:
        """Stop the engine: send SIGINT, wait, then kill it."""
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
    """Remove files of the worker's cache that may be truncated."""
    if order.get("cache"):
        argv = [sys.argv[0], "rpc-cache", "prune", moment, *map(str, order["cache"])]
        status, text = command.run(argv, 120.0)
        if status or text.strip():
            emit("note", text=f"cache: {text.strip()[:300] or f'status {status}'}")


def worker_heartbeat(pid: int, port: int) -> dict[str, Any]:
    """Describe the worker for a heartbeat."""
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
    """Send the memory of the job's GPUs on this node."""
    known = [gpu for gpu in gpus.readings if gpu.memory_total_mib > 0 and gpu.memory_used_mib >= 0]
    if known:
        facts = [{"name": g.name, "used_mib": g.memory_used_mib, "total_mib": g.memory_total_mib} for g in known]
        emit("gpus", gpus=facts)


def follow(engine: Engine, orders: Sequence[queue.Queue[Any]]) -> int:
    """Monitor the engine until it ends or must stop."""
    signals, lines = orders
    interface, last, heartbeat_sent = str(engine.order.get("interface", "")), 0.0, 0.0
    gpus, gpus_sent = local_state.Gpus(), time.monotonic()
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
        engine.check_port()
        now = time.monotonic()
        if now - gpus_sent >= gpus.EVERY_S:
            gpus_sent = now
            _emit_gpus(gpus)
        if now - heartbeat_sent >= ALIVE_S:
            heartbeat_sent = now
            pid = engine.process.pid
            emit("alive", **({"worker": worker_heartbeat(pid, engine.port)} if is_worker else {}))
        if shows_progress and now - last >= 1.0:
            last = now
            emit("progress", read=engine.loaded(), sent=_sent(interface) - sent_before)


def step_command(arguments: argparse.Namespace) -> int:
    """Run one step."""
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
        # The runtime has ended, and so have its other processes.
        return 1
    finally:
        engine.stop(0.0)
        with suppress(BrokenPipeError):
            _cache(order, "--ended")
