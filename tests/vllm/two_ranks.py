# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two ranks of a vLLM job on this machine's loopback addresses: the real wrappers around the double of vLLM."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import engine_process, job_files
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import run as job_run
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import spec as job_spec

DOUBLE = Path(__file__).with_name("double_vllm.py")
JOB = "4711"
#: Limits of the tests, in seconds. The product's are longer.
LIMITS = {
    "join_s": 20.0,
    "silent_s": 3.0,
    "frozen_s": 1.0,
    "vanished_s": 0.5,
    "vanished_loading_s": 2.0,
    "load_s": 60.0,
    "pause_s": 2.0,
}
_WRAPPER = """
import json, sys
library, herdctl, spec, job, rank, limits = sys.argv[1:7]
sys.path.insert(0, library)
sys.argv = [herdctl]
from herd.agent.vllm import job_files, rank as job_rank
from herd.core.vllm.job import watch
job_rank.LOOK_S, job_rank.PROBE_EVERY_S, job_rank.LINGER_S = 0.3, 2.0, 3.0
given = json.loads(limits)
sys.exit(job_rank.run_rank(job_files.read_spec(spec), job, int(rank), 0, watch.WatchLimits(**given) if given else None))
"""


def free_ports() -> tuple[int, int, int]:
    """Return three neighbouring ports that are free."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first > 60000:
            continue
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("", port))
        except OSError:
            continue
        return first, first + 1, first + 2


def make_spec(folder: Path, herdctl: Path, **changes: Any) -> job_spec.JobSpec:
    """Make a specification whose vLLM is the double."""
    venv = folder / "venv" / "bin"
    if not venv.exists():
        venv.mkdir(parents=True)
        (venv / "vllm").write_text(f'#!/bin/sh\nexec {sys.executable} -S {DOUBLE} "$@"\n', encoding="ascii")
        (venv / "vllm").chmod(0o755)
        (venv / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="ascii")
        (venv / "python").chmod(0o755)
    spec = job_spec.JobSpec(
        way=job_spec.USER,
        user="kim",
        model="double",
        names=("double", "a/double"),
        source="/models/double",
        work_dir=str(folder),
        script=f"{folder}/jobs/double.sh",
        herdctl=str(herdctl),
        python=str(venv / "python"),
        vllm=str(venv / "vllm"),
        key_file=f"{folder}/api-key",
        nodes=2,
        gpus_per_node=1,
        cpus_per_node=1,
        memory="1G",
        time_limit="10",
        port=18000,
        device=job_spec.CPU,
        cache=job_spec.CacheFolders(xdg=f"{folder}/cache"),
        timing=job_spec.JobTiming(drain=20, step=5, rendezvous=30),
    )
    return replace(spec, **changes)


def doubles_of(master: int) -> list[int]:
    """List the processes of the double that still run, and have this port for their rendezvous."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            is_alive = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        is_ours = str(DOUBLE).encode() in words and str(master).encode() in words
        if is_ours and is_alive:
            found.append(int(path.name))
    return found


class TwoRanks:
    """A running job."""

    def __init__(self, folder: Path, herdctl: Path, how: str = "", nodes: int = 2, **changes: Any) -> None:
        self.herdctl, self.library = herdctl, herdctl.parents[1] / "lib"
        environment = {"DOUBLE_VLLM": how} if how else {}
        self.master, heartbeats, self.port = free_ports()
        facts = {"nodes": nodes, "port": self.port, "master_port_base": self.master, "environment": environment}
        self.spec = make_spec(folder, herdctl, **{**facts, **changes})
        job_files.install(self.spec)
        self.folder = job_files.JobFolder(self.spec, JOB)
        self.folder.begin()
        places = [job_run.RankPlace(f"n{rank + 1}", f"127.0.0.{rank + 1}", "", "127.0.0.1") for rank in range(nodes)]
        self.facts = job_run.Run(JOB, 0, tuple(places), self.master, heartbeats, self.port, "ab" * 32)
        self.folder.write_run(self.facts)
        self.wrappers: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *ranks: int, limits: dict[str, float] | None = None) -> TwoRanks:
        """Start wrappers: of these ranks, or of all."""
        given = json.dumps(LIMITS if limits is None else limits)
        for rank in ranks or range(self.spec.nodes):
            argv = [str(self.library), str(self.herdctl), self.spec.spec_path, JOB, str(rank), given]
            log = (self.folder.path / f"log-{rank}").open("wb")
            # As below srun: a session of its own, whose signals only the test sends.
            self.wrappers[rank] = subprocess.Popen(
                [sys.executable, "-I", "-c", _WRAPPER, *argv], stdout=log, stderr=log, start_new_session=True
            )
            log.close()
        return self

    def log(self, rank: int) -> str:
        """Return what a rank has logged."""
        return (self.folder.path / f"log-{rank}").read_text(encoding="utf-8", errors="replace")

    def until(self, is_so: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, "\n".join(self.log(rank) for rank in self.wrappers)
            time.sleep(0.05)

    def until_ready(self) -> TwoRanks:
        """Wait until the job serves, and until every rank knows it."""
        self.until(lambda: all(": ready" in self.log(rank) for rank in self.wrappers))
        return self

    def status(self) -> tuple[str, str]:
        """Return phase and reason of the status file."""
        found = self.folder.read_status()
        assert found is not None
        return found.phase, found.reason

    def pid(self, rank: int, title: str) -> int:
        """Return the process of a rank with this title; C(vllm) is vLLM's main process, C(wrapper) the wrapper."""
        wrapper = self.wrappers[rank].pid
        if title == "wrapper":
            return wrapper
        tree = engine_process.below(wrapper, engine_process.all_processes())
        if title == "vllm":
            return next(pid for pid, one in tree.items() if one.parent == wrapper)
        return next(pid for pid, one in tree.items() if engine_process.name_of(pid, one).startswith(title))

    def send(self, rank: int, title: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        os.kill(self.pid(rank, title), number)

    def wait(self, seconds: float = 20.0, ranks: tuple[int, ...] = ()) -> dict[int, int]:
        """Wait until wrappers have ended, and return their exit statuses."""
        chosen = ranks or tuple(self.wrappers)
        self.until(lambda: all(self.wrappers[rank].poll() is not None for rank in chosen), seconds)
        return {rank: int(self.wrappers[rank].returncode) for rank in chosen}

    def leftovers(self) -> list[int]:
        """List the double's processes of this job that still run."""
        return doubles_of(self.master)

    def stream(self, tokens: int) -> Stream:
        """Start a streamed answer."""
        return Stream(self.port, job_files.read_key(Path(self.spec.key_file)), tokens)

    def close(self) -> None:
        """Kill all that is left."""
        for wrapper in self.wrappers.values():
            if wrapper.poll() is None:
                wrapper.kill()
            wrapper.wait()
        for pid in self.leftovers():
            os.kill(pid, signal.SIGKILL)


class Stream:
    """A client of a streamed answer, in a thread."""

    def __init__(self, port: int, key: str, tokens: int) -> None:
        self.text, self.error, self.ended_at = "", "", 0.0
        self._port, self._key, self._tokens = port, key, tokens
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        body = json.dumps(
            {"model": "double", "prompt": "x", "max_tokens": self._tokens, "ignore_eos": True, "stream": True}
        )
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/completions", body, headers)
            answer = connection.getresponse()
            while piece := answer.read1(65536):
                self.text += piece.decode()
        except (OSError, http.client.HTTPException) as error:
            self.error = type(error).__name__
        finally:
            self.ended_at = time.monotonic()
            connection.close()

    @property
    def count(self) -> int:
        """Tokens so far."""
        return self.text.count('"text":"t"')
