# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy site.yml on the lab's cluster, kill it at any moment, and inspect the hosts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import cli
from tests.lab.lab import Manager
from tests.lab.naming import Places

CLONE = Path(__file__).resolve().parents[2]
HEAD = "vllm-node1"
WORKERS = ("vllm-node2", "vllm-node3")
NODES = (HEAD, *WORKERS)
MODEL = "lab-llama"
# The model, and the files that a successful fetch keeps.
MODEL_FILES = {"lab-llama.gguf", *(f".lab-llama.gguf.{word}" for word in ("lock", "progress", "verified"))}
PREFIX = "/opt/llama.cpp"
MARK = "HERD_SLOW_RUN"

# Runs on the head: the key does not leave it.
ASK = r"""
import json, sys, urllib.request
key = open("/etc/herd/head/api-keys").read().split()[0]
body = {"model": "lab-llama", "max_tokens": 6, "messages": [{"role": "user", "content": "Say hello."}]}
request = urllib.request.Request(
    "http://10.0.0.31:8000/v1/chat/completions",
    json.dumps(body).encode(),
    {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
)
answer = json.load(urllib.request.urlopen(request, timeout=120))
print(json.dumps({"tokens": answer["usage"]["completion_tokens"], "model": answer["model"]}))
"""

# Runs on the head until the stop file exists: clients that ask one short question after the other.
LOAD = r"""
import json, os, threading, time, urllib.request
key = open("/etc/herd/head/api-keys").read().split()[0]
body = {"model": "lab-llama", "max_tokens": 4, "messages": [{"role": "user", "content": "Say hello."}]}
found = []

def client():
    while not os.path.exists("/run/stop-load"):
        request = urllib.request.Request(
            "http://10.0.0.31:8000/v1/chat/completions",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        began, error = time.time(), ""
        try:
            answer = json.load(urllib.request.urlopen(request, timeout=300))
            error = "" if answer["usage"]["completion_tokens"] else "no tokens"
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
            time.sleep(0.2)
        found.append({"began": began, "ended": time.time(), "error": error})

clients = [threading.Thread(target=client) for _each in range(2)]
for one in clients:
    one.start()
for one in clients:
    one.join()
os.unlink("/run/stop-load")
print(json.dumps(sorted(found, key=lambda request: request["began"])))
"""

# Runs on every node: report the installed parts of the herd, and leftovers.
LOOK = r"""
import glob, hashlib, json, os, subprocess

def out(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()

def hidden(top):
    found = []
    for folder, folders, names in os.walk(top):
        found += [os.path.join(folder, name) for name in folders + names if name.startswith(".")]
    return sorted(found)

current = os.path.realpath("/opt/llama.cpp/current")
sums = hashlib.sha256()
for folder, folders, names in os.walk(current):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        relative = os.path.relpath(path, current)
        if os.path.islink(path):
            sums.update(f"{relative} -> {os.readlink(path)}\n".encode())
        else:
            with open(path, "rb") as stream:
                sums.update(f"{relative} {hashlib.sha256(stream.read()).hexdigest()}\n".encode())
running = {}
for unit in ("llama-rpc.service", "llama-head.service"):
    pid = out("systemctl", "show", "--property=MainPID", "--value", unit)
    if pid not in ("", "0"):
        running[unit] = os.readlink(f"/proc/{pid}/exe")
jobs = []
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        with open(path, "rb") as stream:
            words = stream.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        continue
    if "async_wrapper" in words or "AnsiballZ" in words:
        jobs.append(words)
print(json.dumps({
    "current": os.path.basename(current),
    "sum": sums.hexdigest(),
    "releases": sorted(os.listdir("/opt/llama.cpp/releases")),
    "hidden": hidden("/opt/llama.cpp") + hidden("/etc/herd") + hidden("/opt/herd"),
    "hidden_units": [n for n in os.listdir("/etc/systemd/system") if n.startswith(".")],
    "models": {n: os.path.getsize("/opt/models/" + n) for n in sorted(os.listdir("/opt/models"))},
    "build": sorted(os.path.relpath(p, "/opt/llama.cpp/build") for p in glob.glob("/opt/llama.cpp/build/*/*")),
    "failed": out("systemctl", "--failed", "--plain", "--no-legend").splitlines(),
    "share": out("systemctl", "is-active", "herd-share.service"),
    "running": running,
    "jobs": jobs,
}))
"""


@dataclass(frozen=True)
class Run:
    """A finished run of a playbook."""

    rc: int
    seconds: float
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """Return the number of changes by host, from the recap."""
        return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", self.output, re.M)}

    @property
    def changes(self) -> list[str]:
        """Return the names of the tasks that changed something."""
        task, found = "", []
        for line in self.output.splitlines():
            if line.startswith("TASK ["):
                task = line[6:].partition("]")[0]
            elif line.startswith("changed:"):
                found.append(f"{task} {line.split()[1]}")
        return found


@dataclass(frozen=True)
class Request:
    """The result of one request of a client.

    :ivar began: seconds since the epoch, as the head's clock says.
    :ivar error: empty if the response had tokens.
    """

    began: float
    ended: float
    error: str


class Cluster:
    """A lab for one test, from bare hosts to its removal."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.manager = Manager(Places.of(os.environ))

    def up(self) -> None:
        self.manager.up(cli.definition(self.manager, self.name, "cluster", []))

    def down(self) -> None:
        self.manager.down(self.name)

    def crash(self, hosts: Sequence[str]) -> None:
        """Take the power from these hosts."""
        lab = self.manager.lab(self.name)
        for host in hosts:
            self.manager.crash(lab, lab.host(host))

    def start(self, hosts: Sequence[str]) -> None:
        lab = self.manager.lab(self.name)
        for host in hosts:
            self.manager.start(lab, lab.host(host))

    # Playbooks

    def begin(self, output: Path, *arguments: str, playbook: str = "site.yml") -> subprocess.Popen[bytes]:
        """Start a playbook without waiting for it."""
        with output.open("wb") as sink:
            return subprocess.Popen(
                [str(CLONE / ".venv/bin/ansible-playbook"), playbook, "-i", "inventory/lab", *arguments],
                cwd=CLONE,
                env={
                    **os.environ,
                    "HERD_LAB": self.name,
                    MARK: self.name,
                    "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
                    "ANSIBLE_FORCE_COLOR": "0",
                    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                },
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def deploy(self, *arguments: str) -> Run:
        """Run site.yml to its end."""
        return self.play("site.yml", *arguments)

    def play(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook to its end."""
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            began = time.monotonic()
            process = self.begin(output, *arguments, playbook=playbook)
            try:
                rc = process.wait(timeout=1800)
            finally:
                if process.poll() is None:
                    self.kill(process)
            return Run(rc, time.monotonic() - began, output.read_text(encoding="utf-8", errors="replace"))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the controller as a power loss would: playbook, forks and ssh's shared connections at once.

        Forks have their own sessions, so an inherited environment variable identifies them. ssh's masters overwrite
        their environment with their title, which names the lab's socket.
        """
        os.killpg(process.pid, signal.SIGKILL)
        while found := self._controller():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        process.wait()
        for socket in self.manager.places.control_sockets(self.name).iterdir():
            socket.unlink()

    def _controller(self) -> list[int]:
        mark = f"{MARK}={self.name}".encode()
        sockets = os.fsencode(self.manager.places.control_sockets(self.name))
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if not words:  # a zombie, or the kernel's own
                    continue
                title = words.startswith(b"ssh: ") and sockets in words
                if title or mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    # Using

    @contextmanager
    def under_load(self, requests: list[Request]) -> Iterator[None]:
        """Send requests from clients all the time; the list has their results afterwards."""
        process = subprocess.Popen(
            [*self._ssh(HEAD), "python3", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        process.stdin.write(LOAD)
        process.stdin.close()
        try:
            # Some requests must be answered before the test goes on.
            time.sleep(5)
            yield
            time.sleep(5)
        finally:
            self.on(HEAD, "open('/run/stop-load', 'w').close()")
            assert process.stdout is not None
            output = process.stdout.read()
            process.wait()
        requests += [Request(**facts) for facts in json.loads(output)]

    # Inspection

    def _ssh(self, host: str) -> list[str]:
        return ["ssh", "-F", str(self.manager.places.state(self.name) / "ssh_config"), host]

    def on(self, host: str, program: str) -> str:
        """Run a Python program on a host, and return its output."""
        done = subprocess.run(
            [*self._ssh(host), "python3", "-"],
            input=program,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{host} says {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self) -> dict[str, Any]:
        """Request one chat completion."""
        answer: dict[str, Any] = json.loads(self.on(HEAD, ASK))
        return answer

    def look(self) -> dict[str, dict[str, Any]]:
        """Return the state of every node."""
        return {host: json.loads(self.on(host, LOOK)) for host in NODES}


def last_task(output: Path) -> str:
    """Return the task during which a playbook's output ends."""
    found = re.findall(r"^TASK \[(.*?)\] \*", output.read_text(encoding="utf-8", errors="replace"), re.M)
    return found[-1] if found else "before the first task"


def assert_converged(cluster: Cluster, run: Run, release: str) -> None:
    """Assert the state that site.yml leaves, whatever the hosts had before."""
    assert run.rc == 0, f"site.yml ended with {run.rc}:\n{run.output[-6000:]}"
    answer = cluster.ask()
    assert answer["model"] == MODEL
    assert answer["tokens"] > 0
    nodes = cluster.look()
    assert len({(found["current"], found["sum"]) for found in nodes.values()}) == 1, nodes
    for host, found in nodes.items():
        assert found["current"].startswith(f"{release}-"), host
        assert found["current"] in found["releases"], host
        unit = "llama-head.service" if host == HEAD else "llama-rpc.service"
        assert list(found["running"]) == [unit], host
        assert found["running"][unit].startswith(f"{PREFIX}/releases/{found['current']}/bin/"), host
        assert_tidy(host, found)


def assert_tidy(host: str, found: dict[str, Any]) -> None:
    """Assert that no interrupted step left a file behind."""
    assert found["hidden"] == [], f"{host} has leftovers"
    assert found["hidden_units"] == [], f"{host} has leftovers"
    assert found["failed"] == [], f"{host} has failed units"
    assert found["share"] in ("inactive", "unknown"), f"{host} still gives files"
    assert found["jobs"] == [], f"{host} still works on something"
    assert set(found["models"]) <= (MODEL_FILES if host == HEAD else set()), f"{host} has more than the model"


def assert_changes_nothing(run: Run) -> None:
    """Assert that a second run changes nothing."""
    assert run.rc == 0, f"the second run ended with {run.rc}:\n{run.output[-6000:]}"
    assert set(run.changed) >= set(NODES)
    assert not any(run.changed.values()), f"the second run changed {run.changes}"
