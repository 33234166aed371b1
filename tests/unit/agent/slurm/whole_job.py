# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a whole job on this host.

Slurm and the engines are doubles; processes, connections and signals are real.
"""

from __future__ import annotations

import getpass
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# srun starts its command on this host; scontrol prints a file's text.
SLURM = """#!{python}
import os, pathlib, sys
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
folder = pathlib.Path("{folder}")
with (folder / "slurm.log").open("a") as log:
    log.write(" ".join([name, *words][:4]) + "\\n")
if name == "srun":
    words = [word for at, word in enumerate(words) if not (word.startswith("--") and at < 12)]
    os.execvp(words[0], words)
elif words[:2] == ["show", "hostnames"]:
    print(words[2].replace(",", "\\n"))
elif words[:2] == ["show", "job"]:
    said = folder / "word"
    print(said.read_text() if said.exists() else "slurm_load_jobs error")
    sys.exit(not said.exists())
elif name == "squeue":
    print("RUNNING")
"""
# Answers as a router, or as a head with a connection to each worker; files in a folder cause its faults.
HEAD = """#!{python}
import http.server, json, pathlib, socket, sys, threading, time
from urllib.parse import urlparse
words, folder = sys.argv[1:], pathlib.Path("{folder}")
port = int(words[words.index("--port") + 1])
kept = []
for endpoint in words[words.index("--rpc") + 1].split(",") if "--rpc" in words else ():
    host, _colon, number = endpoint.partition(":")
    kept.append(socket.create_connection((host, int(number))))
busy = [0]

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *each): pass
    def say(self, found, status=200):
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        path = urlparse(self.path).path
        if path == "/slow":
            busy[0] += 1
            time.sleep(float(urlparse(self.path).query))
            busy[0] -= 1
            self.say("answered")
        elif path == "/slots":
            self.say([{{"is_processing": busy[0] > 0, "id_task": 1}}])
        elif path in ("/models", "/v1/models"):
            models = {{"data": [{{"id": name, "status": {{"value": "loaded"}}}} for name in ("one", "two")]}}
            self.say(*(({{"error": "no"}}, 500) if (folder / "mute").exists() else (models,)))
        else:
            self.say({{}})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (folder / "asked").open("a") as log:
            log.write(str(asked.get("model")) + "\\n")
        if (folder / ("no-" + str(asked.get("model")))).exists():
            self.say({{"error": "failed to load"}}, 500)
        else:
            self.say({{"content": "x"}})

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True
Server(("127.0.0.1", port), Handler).serve_forever()
"""
# Accepts connections and keeps them.
WORKER = """#!{python}
import socket, sys, time
words = sys.argv[1:]
server = socket.create_server(("127.0.0.1", int(words[words.index("-p") + 1])))
kept = []
while True:
    kept.append(server.accept())
"""
# Without the worker readiness check, which a worker's double does not support, and with shorter time limits.
LAUNCH = """
import sys
sys.path.insert(0, sys.argv[1])
herdctl, data, changes = sys.argv[2:5]
sys.argv[:] = [herdctl, "job", "run", "--data", data]
import argparse, json
from dataclasses import replace
from herd.agent.commands import job
from herd.agent.services import wait_for_workers
from herd.agent.slurm import engine_monitor, runtime, slurm_times
from herd.core.slurm import drain as job_drain
job_drain.IDLE_S, job_drain.CLOCKS_S = 1.0, 1.0
wait_for_workers.wait_for = lambda rule, log: []
runtime.AGAIN_S = 0.5
changes = json.loads(changes)
slurm_times.EVERY_S = changes.pop("every", 0.5)
engine_monitor.ASK_EVERY_S = 1.0
engine_monitor.LIMITS = replace(engine_monitor.LIMITS, **changes)
sys.exit(job.run_command(argparse.Namespace(data=data, fingerprint="aa", kept=data + ".kept")))
"""
FLAGS = [
    "--load-mode", "--fit", "--cache-ram", "--model", "--alias", "--host", "--port", "--api-key-file", "--rpc",
    "--device", "--tensor-split", "--split-mode", "--n-gpu-layers", "--ctx-size", "--parallel", "--threads",
    "--batch-size", "--ubatch-size", "--cache-type-k", "--cache-type-v", "--flash-attn", "--timeout", "--metrics",
    "--log-verbosity", "--models-preset", "--models-max", "--sleep-idle-seconds",
]  # fmt: skip
START = 1795000000


def free_ports(count: int) -> int:
    """Find several free ports in a row; return the first. The search starts anywhere, since tests run side by side."""
    blocks = range(42000, 60000, count)
    for first in random.sample(blocks, len(blocks)):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def said_of(end: float, preempted: float | None = None) -> str:
    """Format scontrol's output for a job that started long ago."""
    chosen = "None" if preempted is None else f"{preempted:.0f}"
    return (
        "JobId=77 JobName=llama\n   JobState=RUNNING Reason=None\n"
        f"   StartTime={START} EndTime={end:.0f} Deadline=N/A\n"
        f"   PreemptEligibleTime={START} PreemptTime={chosen}\n"
    )


class Job:
    """A running job."""

    def __init__(
        self,
        herdctl: Path,
        folder: Path,
        workers: int = 0,
        limits: dict[str, Any] | None = None,
        grace: int = 12,
        more: dict[str, Any] | None = None,
        restarts: int = 1,
    ) -> None:
        self.folder, self.port = folder, free_ports(8)
        self.log, self.said = folder / "job.log", folder / "word"
        programs = folder / "release" / "bin"
        programs.mkdir(parents=True)
        (folder / "current").symlink_to(folder / "release")
        manifest = {
            "id": "x",
            "rpc_protocol": "4.0.1",
            "programs": {"head": "llama-server", "worker": "ggml-rpc-server"},
            "flags": {"llama-server": FLAGS},
            "cuda": {"architectures": ["70"]},
        }
        (folder / "release" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        for path, text in (
            (programs / "llama-server", HEAD),
            (programs / "ggml-rpc-server", WORKER),
            *((folder / "bin" / name, SLURM) for name in ("srun", "scontrol", "squeue")),
        ):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(python=sys.executable, folder=folder), encoding="utf-8")
            path.chmod(0o755)
        for name in ("one", "two"):
            (folder / f"{name}.gguf").write_bytes(b"GGUF")
        (folder / "key").write_text("secret\n", encoding="utf-8")
        (folder / "registry").mkdir()
        nodes = [f"n{number}" for number in range(workers + 1)]
        data = {
            "schema": 1,
            "tier": "fast",
            "kind": "distributed" if workers else "router",
            "user": getpass.getuser(),
            "prefix": str(folder),
            "registry": str(folder / "registry"),
            "logs": str(folder / "logs"),
            "key_file": str(folder / "key"),
            "port": self.port,
            "worker_port": self.port + 4,
            "ports": 4,
            "models": [
                {"id": name, "path": str(folder / f"{name}.gguf"), "layers": 8, "size": 100}
                for name in ("one", "two")[: 1 if workers else 2]
            ],
            "settings": {"context": 2048},
            "split": {},
            "fingerprint": "aa",
            "nodes": {name: {"address": "127.0.0.1", "fabric": "127.0.0.1", "gpus": 1} for name in nodes},
            "timing": {"grace": grace, "settle": 0.5, "reserve": 2, "renew_before": 150, "start": 30, "load": 30},
            "restarts": restarts,
            **(more or {}),
        }
        (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
        self._line = [
            *(sys.executable, "-I", "-c", LAUNCH, str(herdctl.parents[1] / "lib"), str(herdctl)),
            *(str(folder / "data.json"), json.dumps(limits or {})),
        ]
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NODELIST": ",".join(nodes),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Job:
        """Start the job."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._line, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def send(self, number: int) -> None:
        assert self.process
        os.kill(self.process.pid, number)

    def ended(self) -> int:
        assert self.process
        return self.process.wait(60)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def state(self) -> str:
        for path in (self.folder / "registry").glob("fast-77.json"):
            return str(json.loads(path.read_text(encoding="utf-8"))["state"])
        return ""

    def until(self, is_so: Callable[[], Any], what: str) -> Any:
        limit = time.monotonic() + 60
        while not (found := is_so()):
            assert time.monotonic() < limit, f"{what}\n{self.text()}"
            time.sleep(0.05)
        return found

    def says(self, words: str) -> None:
        self.until(lambda: words in self.text(), f"it does not say {words!r}")

    def ready(self) -> Job:
        self.until(lambda: self.state() == "ready", "it is not ready")
        return self

    def ask(self, seconds: float) -> subprocess.Popen[bytes]:
        """Start a client that waits for a response."""
        # It runs as another user, like the gateway: the runtime does not count its own connections.
        code = (
            "import encodings.idna, os, urllib.request\nos.getuid() or os.setuid(65534)\n"
            f"print(urllib.request.urlopen('http://127.0.0.1:{self.port}/slow?{seconds}', timeout=60).read().decode())"
        )
        found = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self.until(lambda: self._clients() > 0, "nobody asks")
        return found

    def _clients(self) -> int:
        table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return sum(1 for line in table if line.split()[1].endswith(f":{self.port:04X}") and line.split()[3] == "01")

    def pids(self, program: str) -> list[int]:
        """List the processes of a double."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if len(words) > 1 and words[1] == str(self.folder / "release" / "bin" / program):
                found.append(int(path.name))
        return found


@contextmanager
def jobs(herdctl: Path, folder: Path) -> Iterator[Callable[..., Job]]:
    """Make jobs, and end their processes afterwards."""
    made: list[Job] = []

    def make(**options: Any) -> Job:
        made.append(Job(herdctl, folder, **options))
        return made[-1]

    yield make
    for job in made:
        if job.process and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()
