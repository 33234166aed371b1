# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start vLLM, watch all of its processes, and end them without leaving one behind.

vLLM's processes set their own titles, which overwrites their environment, and orphans of them go on serving. So the
wrapper adopts them: it is the subreaper of everything below it, and finds its processes by their parents.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ...core.errors import NotFoundError, reason_of
from ...core.vllm.job import watch
from ..common import command
from ..common.log import log_with_time

PROC = Path("/proc")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
#: Begins the titles that vLLM gives to its processes.
TITLE = "VLLM::"
#: Longest line of the log that is kept in one piece, in bytes.
LONGEST_LINE = 16384
KILL_S = 5.0


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value)


def adopt_orphans() -> None:
    """Make this process the parent of all processes below it whose parent ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def execute(argv: Sequence[str]) -> int:
    """Execute a program that the kernel kills when its parent, the wrapper, ends."""
    parent = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    try:
        os.execv(argv[0], list(argv))
    except OSError as error:
        raise NotFoundError(
            f"the program {argv[0]}", error.strerror or str(error), "set paths.venv_dir to the environment with vLLM"
        ) from error


@dataclass(frozen=True)
class ProcessState:
    """A process: its parent, the kernel's letter for its state, its start in ticks since boot, and its name."""

    parent: int
    state: str
    started: int
    name: str


def read_process(pid: int) -> ProcessState | None:
    """Read a process; None if it is not there."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The kernel's name stands in brackets and may hold brackets itself.
    fields = stat[stat.rfind(")") + 2 :].split()
    return ProcessState(int(fields[1]), fields[0], int(fields[19]), stat[stat.find("(") + 1 : stat.rfind(")")])


def name_of(pid: int, process: ProcessState) -> str:
    """Return the title that vLLM gave to a process, or else the kernel's name of it."""
    try:
        title = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0", 1)[0].decode(errors="replace")
    except OSError:
        return process.name
    return title.split(maxsplit=1)[0][:64] if title.startswith(TITLE) else process.name


def all_processes() -> dict[int, ProcessState]:
    """Read all processes of this node that this user sees."""
    pids = [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]
    return {pid: found for pid in pids if (found := read_process(pid))}


def below(root: int, processes: Mapping[int, ProcessState]) -> dict[int, ProcessState]:
    """Return all processes below one."""
    children: dict[int, list[int]] = {}
    for pid, found in processes.items():
        children.setdefault(found.parent, []).append(pid)
    tree: dict[int, ProcessState] = {}
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        if pid not in tree:
            tree[pid] = processes[pid]
            waiting += children.get(pid, ())
    return tree


def read_lines(stream: BinaryIO, on_line: Callable[[str], None]) -> None:
    """Read a stream to its end, whatever becomes of a line: vLLM would wait for ever for a reader of its output."""
    has_failed = False
    # A progress bar ends its lines with a carriage return.
    while line := stream.readline(LONGEST_LINE):
        for part in line.rstrip(b"\r\n").split(b"\r"):
            try:
                on_line(part.decode(errors="replace"))
            except Exception as error:
                if not has_failed:
                    has_failed = True
                    log_with_time(f"herd: a line of vLLM's output is not read: {reason_of(error)}")


class Engine:
    """The processes of vLLM on this node.

    :param on_line: called with each line of vLLM's output, without its end.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        shim = [sys.executable, "-I", str(Path(sys.argv[0]).absolute()), "vllm-job", "engine", "--"]
        self.process = command.ChildProcess(
            [*shim, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            # Signals to the wrapper's group are the wrapper's matter.
            start_new_session=True,
        )
        self._known: dict[int, ProcessState] = {}
        self._stopped: dict[int, float] = {}
        self._vanished: dict[int, float] = {}
        self._reader = threading.Thread(target=read_lines, args=(self.process.stdout, on_line), daemon=True)
        self._reader.start()

    def read_rest(self, timeout_s: float) -> None:
        """Wait until the output of ended processes has been read."""
        self._reader.join(timeout_s)

    def look(self, now: float) -> None:
        """Read the states of all processes, and reap adopted ones that have ended."""
        found = below(os.getpid(), all_processes())
        for pid, process in found.items():
            if process.state == "Z" and process.parent == os.getpid() and pid != self.process.pid:
                with suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
        # A process gets its title after its start.
        alive = {pid: replace(one, name=name_of(pid, one)) for pid, one in found.items() if one.state not in ("Z", "X")}
        for pid, former in self._known.items():
            is_gone = pid not in alive or alive[pid].started != former.started
            if is_gone and former.name.startswith(TITLE):
                self._vanished.setdefault(pid, now)
        self._known = {pid: one for pid, one in (self._known | alive).items() if pid in alive or pid in self._vanished}
        halted = {pid for pid, one in alive.items() if one.state in ("T", "t")}
        self._stopped = {pid: self._stopped.get(pid, now) for pid in halted}

    def _name(self, pid: int) -> str:
        return f"{self._known[pid].name if pid in self._known else 'process'} (process {pid})"

    def observe(self, now: float, pauses: watch.PauseDetector) -> watch.Processes:
        """Return what the rules need to know of the processes."""
        return watch.Processes(
            is_started=True,
            status=self.process.poll(),
            stopped={self._name(pid): pauses.since(at, now) for pid, at in self._stopped.items()},
            vanished={self._name(pid): pauses.since(at, now) for pid, at in self._vanished.items()},
        )

    def terminate(self) -> None:
        """Ask the main process to drain: it alone gets the signal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self, timeout_s: float = KILL_S, spared: int = 0) -> bool:
        """Kill all processes but one, and return whether they have ended.

        :param spared: a process that stays.
        """
        until = time.monotonic() + timeout_s
        while True:
            self.process.poll()
            left = [
                pid
                for pid, one in below(os.getpid(), all_processes()).items()
                if pid != spared and not (one.state == "Z" and self._reap(pid, one))
            ]
            if not left:
                return True
            if time.monotonic() >= until:
                return False
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _reap(self, pid: int, process: ProcessState) -> bool:
        """Reap an ended process if it is this one's child; a zombie of another one needs no further signal."""
        if process.parent == os.getpid() and pid != self.process.pid:
            with suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        return True

    def end(self, farewell_s: float) -> bool:
        """End vLLM at once, and return whether nothing is left.

        Its API process tells its clients that the engine is dead, if it has a moment. If it were killed first, their
        streams would end in the middle without a word.
        """
        if farewell_s > 0 and self.process.poll() is None:
            self.kill(spared=self.process.pid)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(farewell_s)
        return self.kill()
