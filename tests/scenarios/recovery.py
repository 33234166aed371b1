# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a lab's service under a light load, kill parts of it, and measure the recovery.

All hosts of a lab share the machine's clock, so times of different journals can be compared.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ..lab import cgroups, hosts, network
from ..lab.config import Host
from ..lab.lab import Manager
from ..lab.naming import Places
from .recovery_page import chaos_cells
from .testing import ETHERNET, HEAD, NODES

STOP = "/run/stop-load"
# A host outside the group, so that its client runs through every failure.
CLIENT = "mirror"
# A request that takes longer counts as failed.
PATIENCE_S = 15

# Runs on the client's host until the stop file exists: sends one short question after the other, and records
# each result. A refused request is followed by a short pause, as with users.
LOAD = """
import json, os, sys, time, urllib.request
body = {"model": "lab-llama", "max_tokens": 4, "messages": [{"role": "user", "content": "Say hello."}]}
while not os.path.exists("%(stop)s"):
    request = urllib.request.Request(
        "http://%(address)s:8000/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": "Bearer %(key)s", "Content-Type": "application/json"},
    )
    began, error = time.time(), ""
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=%(patience)d))
        error = "" if answer["usage"]["completion_tokens"] else "no tokens"
    except Exception as problem:
        error = type(problem).__name__ + ": " + str(problem)
    print(json.dumps({"began": began, "ended": time.time(), "error": error}), flush=True)
    time.sleep(0.2)
"""

# Runs on the client's host: a large request, for which the head allocates memory.
LARGE_REQUEST = r"""
import socket, time
time.sleep(2)
with socket.create_connection(("%(address)s", 8000), timeout=60) as connection:
    size = 200 << 20
    connection.sendall(b"POST /completion HTTP/1.1\r\nHost: head\r\nContent-Length: %%d\r\n" %% size)
    connection.sendall(b"Authorization: Bearer %(key)s\r\nContent-Type: application/json\r\n\r\n")
    try:
        for _each in range(size >> 20):
            connection.sendall(b" " * (1 << 20))
    except OSError:
        pass
"""

# A question with a deterministic response.
ANSWER = """
import json, urllib.request
body = {"prompt": "Say hello.", "n_predict": 24, "temperature": 0, "seed": 1, "cache_prompt": False}
request = urllib.request.Request(
    "http://%(address)s:8000/completion",
    json.dumps(body).encode(),
    {"Authorization": "Bearer %(key)s", "Content-Type": "application/json"},
)
print(json.load(urllib.request.urlopen(request, timeout=60))["content"])
"""


@dataclass(frozen=True)
class Request:
    """One request; times are seconds since the epoch."""

    began: float
    ended: float
    error: str


@dataclass
class Row:
    """The cost of one loss, in seconds; -1 if not seen.

    :ivar noticed: until an agent logged the loss.
    :ivar served: until the first response to a request that was sent after that.
    :ivar served_after_return: the same, counted from the end of the cause, if the test ends the cause itself.
    :ivar failed: requests that failed after the head accepted them; refused: requests that it did not accept.
    :ivar load: duration of the head's loading of the model.
    :ivar hand: the manual action without which the loss does not end.
    """

    what: str
    noticed: float = -1.0
    served: float = -1.0
    served_after_return: float = -1.0
    failed: int = 0
    refused: int = 0
    load: float = -1.0
    hand: str = "none"

    def check(self, notice_s: float, recovery_s: float) -> None:
        """Assert the limits: the time to notice, and from then the time to serve, without the model's loading."""
        assert self.noticed <= notice_s, self
        lasts = self.served if self.served_after_return < 0 else self.noticed + self.served_after_return
        assert lasts - self.noticed <= recovery_s + self.load, self

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table's row."""
        return chaos_cells(asdict(self))


class Service:
    """Head and workers of a lab."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self.name, self.rows = name, rows
        self.manager = Manager(Places.of(os.environ))
        self.lab = self.manager.lab(name)
        self._load: subprocess.Popen[str] | None = None
        self._output = self.manager.places.state(name) / "load.jsonl"

    # Actions

    def _ssh(self, host: str) -> list[str]:
        return ["ssh", "-F", str(self.manager.places.state(self.name) / "ssh_config"), host]

    def on(self, host: str, *argv: str) -> str:
        """Run a command on a host and return its output."""
        done = subprocess.run(
            [*self._ssh(host), shlex.join(argv)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{host}: {shlex.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def begin_load(self) -> None:
        """Start the client."""
        self._output.write_text("", encoding="utf-8")
        with self._output.open("a", encoding="utf-8") as sink:
            self._load = subprocess.Popen(
                [*self._ssh(CLIENT), "python3", "-u", "-"], stdin=subprocess.PIPE, stdout=sink, text=True
            )
        assert self._load.stdin is not None
        self._load.stdin.write(LOAD % {**self._where(), "stop": STOP, "patience": PATIENCE_S})
        self._load.stdin.close()
        self.wait_for_answer(time.time(), 60)

    def _where(self) -> dict[str, str]:
        return {"address": ETHERNET[HEAD], "key": self.on(HEAD, "cat", "/etc/herd/head/api-keys").split()[0]}

    def run_program(self, host: str, program: str) -> str:
        """Run a Python program on a host, passed over standard input, and return its output."""
        done = subprocess.run(
            [*self._ssh(host), "python3", "-"], input=program, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
        return done.stdout

    def answer(self) -> str:
        """Return the model's response to the fixed question; other weights give another response."""
        return self.run_program(CLIENT, ANSWER % self._where())

    def end_load(self) -> None:
        """Stop the client."""
        self.on(CLIENT, "touch", STOP)
        if self._load is not None:
            self._load.wait(timeout=150)
        self.on(CLIENT, "rm", "-f", STOP)

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def power_off(self, name: str) -> None:
        """Take the power from a host."""
        self.manager.crash(self.lab, self.host(name))

    def power_on(self, name: str) -> None:
        self.manager.start(self.lab, self.host(name))

    def cable(self, name: str, label: str, *, up: bool) -> None:
        """Unplug or plug in a host's cable of one network, C(ib) or C(eth)."""
        host = self.host(name)
        network.set_cable(self.name, host, network.network_of(host, label), up=up)

    @contextmanager
    def slow_fabric(self, name: str, rate: str) -> Iterator[None]:
        """Slow down the fabric of a host during the context."""
        host = self.host(name)
        fabric = network.network_of(host, "ib")
        network.slow(self.name, host, fabric, rate, None)
        try:
            yield
        finally:
            network.full_speed(self.name, host, fabric)

    def run_out_of_memory(self, name: str, unit: str) -> None:
        """Let the kernel kill a unit's process when it allocates 32 MiB more than it has."""
        pid = self.pid(name, unit)
        cgroups.run_out_of_memory(hosts.outer_pid(self.manager.leader(self.name, self.host(name)), pid), 32 << 20)

    def run_head_out_of_memory(self, unit: str) -> float:
        """Do the same with the head, which allocates memory for a large request; return the time of its kill."""
        with ThreadPoolExecutor() as pool:
            request = pool.submit(self.run_program, CLIENT, LARGE_REQUEST % self._where())
            self.run_out_of_memory(HEAD, unit)
            ended = time.time()
            request.result()
        return ended

    def pid(self, host: str, unit: str) -> int:
        return int(self.on(host, "systemctl", "show", "--property=MainPID", "--value", unit))

    def kill(self, host: str, unit: str, signal: str = "KILL") -> float:
        """Send a signal to a unit's main process; return the time in seconds since the epoch."""
        self.on(host, "kill", f"-{signal}", str(self.pid(host, unit)))
        return time.time()

    # Inspection

    def requests(self) -> list[Request]:
        """Return the results of all requests so far."""
        lines = self._output.read_text(encoding="utf-8").splitlines(keepends=True)
        return [Request(**json.loads(line)) for line in lines if line.endswith("\n")]

    def said(self, hosts: Sequence[str], since: float) -> list[tuple[float, str]]:
        """Return the log lines of these hosts' agents with their times."""
        found: list[tuple[float, str]] = []
        for host in hosts:
            text = self.on(
                host, "journalctl", "-q", "-u", "herd-agent", "-o", "json", "--since", f"@{since:.6f}", "--no-pager"
            )
            for line in text.splitlines():
                entry: dict[str, Any] = json.loads(line)
                if entry.get("_SYSTEMD_UNIT") == "herd-agent.service":
                    found.append((int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(entry["MESSAGE"])))
        return sorted(found)

    def is_well(self) -> bool:
        """Whether the agents report all nodes as healthy."""
        seen = json.loads(self.on(HEAD, "sh", "-c", "herdctl status --json; true"))
        return bool(seen["well"]) and set(seen["nodes"]) == set(NODES)

    def wait_until_well(self, seconds: float) -> None:
        """Wait until all nodes are healthy, also for an agent that has just started."""
        deadline = time.time() + seconds
        while not self.is_well():
            assert time.time() < deadline, self.on(HEAD, "sh", "-c", "herdctl status; true")
            time.sleep(0.5)

    def wait_for_words(self, host: str, since: float, words: str, seconds: float) -> float:
        """Wait for an agent's log line with these words, and return the time of the first one."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            for when, text in self.said([host], since):
                if words in text:
                    return when
            time.sleep(0.3)
        raise AssertionError(f"{host} did not log {words!r} within {seconds:g} seconds: {self.said([host], since)}")

    def wait_for_line(self, host: str, unit: str, since: float, words: str, seconds: float) -> float:
        """Wait for a unit's log line with these words, and return the time of the first one."""
        deadline = time.time() + seconds
        since_word = f"@{since:.6f}"
        while time.time() < deadline:
            text = self.on(host, "journalctl", "-q", "-u", unit, "-o", "json", "--since", since_word, "--no-pager")
            for line in text.splitlines():
                entry: dict[str, Any] = json.loads(line)
                if words in str(entry.get("MESSAGE", "")):
                    return int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            time.sleep(0.3)
        raise AssertionError(f"{unit} on {host} did not log {words!r} within {seconds:g} seconds")

    def wait_for_answer(self, since: float, seconds: float) -> float:
        """Wait for the first response to a request that was sent after this time, and return its time."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            for request in self.requests():
                if request.began >= since and not request.error:
                    return request.ended
            time.sleep(0.3)
        raise AssertionError(f"no answer within {seconds:g} seconds: {self.requests()[-5:]}")

    def account(self, row: Row, began: float, returned: float | None = None) -> Row:
        """Wait until the head serves again, and fill in the cost since then."""
        noticed = began + max(0.0, row.noticed)
        self.wait_for_words(HEAD, noticed - 0.001, "the head serves", 120)
        answered = self.wait_for_answer(noticed, 60)
        said = self.said([HEAD], noticed - 0.001)
        loads = [when for when, text in said if text.startswith("the head runs as process")]
        serves = [when for when, text in said if text.startswith("the head serves")]
        if loads:
            row.load = serves[-1] - loads[-1]
        row.served = answered - began
        if returned is not None:
            row.served_after_return = answered - returned
        # More requests show whether the recovery lasts.
        time.sleep(3)
        errors = [request for request in self.requests() if request.ended >= began and request.error]
        row.refused = sum("refused" in request.error or "503" in request.error for request in errors)
        row.failed = len(errors) - row.refused
        late = [request for request in errors if request.began > answered]
        assert not late, f"requests failed after the recovery: {late}"
        self.rows.append(row)
        return row
