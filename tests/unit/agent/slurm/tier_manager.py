# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a tier manager as a process, with doubles of Slurm's programs that print the output of 22.05."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.unit.agent.conftest import run_herdctl, run_inside

WIDTHS = (24, 64, 40, 20, 160, 8, 24, 24, 24, 512, 512, 64, 64, 12, 128)
ENTRY = {
    "schema": 1, "tier": "fast", "host": "vasp-02", "address": "10.0.0.42", "port": 8080, "models": ["lab-llama"],
    "state": "ready", "percent": 100, "context": 2048, "slots": 2, "release": "r", "started": 1.0,
}  # fmt: skip


def wait_for(what: str, is_so: Callable[[], Any], seconds: float = 30.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = is_so()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(what)


class Double:
    """Doubles of Slurm's programs. They print files, and record their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.comment = folder, folder / "bin", "herd-tiers"
        self.bin.mkdir()
        for name in ("squeue", "sacct", "sbatch", "scancel"):
            self.says(name, "")
            program = self.bin / name
            program.write_text(
                f'#!/bin/sh\necho "$*" >> {folder}/{name}.calls\ncat {folder}/{name}.out\n'
                f'echo "$SLURM_TIME_FORMAT $SBATCH_PARTITION" > {folder}/{name}.environment\n'
                f"exit $(cat {folder}/{name}.status)\n",
                encoding="utf-8",
            )
            program.chmod(0o755)

    def says(self, name: str, text: str, status: int = 0) -> None:
        """Set the output and exit status of a program."""
        for kind, value in (("out", text), ("status", str(status))):
            scratch = self.folder / f"{name}.{kind}.new"
            scratch.write_text(value, encoding="utf-8")
            scratch.replace(self.folder / f"{name}.{kind}")

    def calls(self, name: str) -> list[list[str]]:
        """Return the calls of a program."""
        path = self.folder / f"{name}.calls"
        return [shlex.split(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def queue(self, *jobs: tuple[str, str, str], name: str = "llama-14b") -> None:
        """Set the jobs of the queue: number, state, reason."""
        now = str(int(time.time()))
        lines = []
        for number, state, reason in jobs:
            values = [
                number,
                name,
                getpass.getuser(),
                state,
                reason,
                "0",
                now,
                now,
                "N/A",
                "vasp-02",
                "",
                "gpu_ai",
            ]
            values += ["ai_opportunistic", "0", self.comment]
            lines.append("".join(value.ljust(width) for value, width in zip(values, WIDTHS, strict=True)))
        self.says("squeue", "\n".join([*lines, ""]))


class Home:
    """A manager's files."""

    def __init__(self, folder: Path, herdctl: Path) -> None:
        self.folder, self.herdctl = folder, herdctl
        for name in ("registry", "logs", "state", "run"):
            (folder / name).mkdir()
        (folder / "double").mkdir()
        self.slurm = Double(folder / "double")
        tier = {"name": "fast", "job_name": "llama-14b", "script": "run-14b.slurm", "enabled": True, "hosts": []}
        self.data: dict[str, Any] = {
            "schema": 1, "user": getpass.getuser(), "registry": str(folder / "registry"), "logs": str(folder / "logs"),
            "state": str(folder / "state"), "view": str(folder / "run" / "tiers.json"), "scripts": "/scripts",
            "every": 0.1, "backoff": [10, 20], "nodes": ["vasp-02"],
            "qos": [{"name": "vasp_priority", "preempts": ["ai_opportunistic"]}],
            "tiers": [{**tier, "qos": "ai_opportunistic", "grace": 30}],
        }  # fmt: skip
        self.config = folder / "tiers.json"
        self.config.write_text(json.dumps(self.data), encoding="utf-8")
        self.processes: list[subprocess.Popen[bytes]] = []

    def tiers(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_herdctl(self.herdctl, "tiers", "--config", str(self.config), *arguments)

    def begin(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PATH": f"{self.slurm.bin}:{os.environ['PATH']}", "SBATCH_PARTITION": "wrong"}
        environment.pop("NOTIFY_SOCKET", None)
        argv = [sys.executable, "-I", str(self.herdctl), "tiers", "--config", str(self.config), "manage"]
        with (self.folder / "journal").open("ab") as journal:
            process = subprocess.Popen(argv, env=environment, stdout=journal, stderr=journal)
        self.processes.append(process)
        return process

    def tier(self) -> dict[str, Any]:
        path = self.folder / "run" / "tiers.json"
        if not path.exists():
            return {"state": "", "reason": "", "advice": "", "job_id": None, "pending_reason": None, "endpoints": []}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tiers"]["fast"]
        return found

    def problems(self) -> list[str]:
        path = self.folder / "run" / "tiers.json"
        found: list[str] = json.loads(path.read_text(encoding="utf-8"))["problems"] if path.exists() else []
        return found

    def inside(self, code: str) -> str:
        """Run code with an idle manager, and return its output."""
        begin = (
            "from dataclasses import replace\nfrom herd.agent.slurm import client, manager as tiers\n"
            "from herd.agent.slurm import manager_state\nfrom herd.core.slurm import endpoint_registry, tier_state\n"
            "from herd.core.slurm import manager as tier_manager\nfrom herd.core.slurm.queue import Job\n"
            f"manager = tiers.Manager(manager_state.read_settings({str(self.config)!r}))\n"
        )
        # Endless threads may block a normal exit of the interpreter.
        end = "\nsys.stdout.flush()\nos._exit(0)\n"
        return run_inside(self.herdctl, f"import json, os, threading, time\n{begin}{code}{end}")

    def entry(self, job: str, **change: Any) -> None:
        path = self.folder / "registry" / f"fast-{job}.json"
        text = json.dumps({**ENTRY, "job_id": job, "heartbeat": time.time(), **change})
        scratch = path.with_name(f".{path.name}.1")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)


def homes(folder: Path, herdctl: Path) -> Iterator[Home]:
    """Make the files of a manager, and end its processes afterwards."""
    found = Home(folder, herdctl)
    yield found
    for process in found.processes:
        process.kill()
        process.wait()
