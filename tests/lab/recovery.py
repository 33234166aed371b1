# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's service under a light load while its parts are killed, and what became of it.

All hosts of a lab share the machine's clock, so times of different journals can be compared.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import network
from .config import Host
from .lab import Manager
from .naming import Places
from .testing import ETHERNET, HEAD

STOP = "/run/stop-load"

# Runs on the head until it is told to stop: a client that asks one short question after the other, and writes
# down what became of each. A refused one is asked again a little later, as users do.
LOAD = """
import json, os, sys, time, urllib.request
key = open("/etc/herd/head/api-keys").read().split()[0]
body = {"model": "lab-llama", "max_tokens": 4, "messages": [{"role": "user", "content": "Say hello."}]}
while not os.path.exists("%(stop)s"):
    request = urllib.request.Request(
        "http://%(address)s:8000/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": "Bearer " + key, "Content-Type": "application/json"},
    )
    began, error = time.time(), ""
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=120))
        error = "" if answer["usage"]["completion_tokens"] else "no tokens"
    except Exception as problem:
        error = type(problem).__name__ + ": " + str(problem)
    print(json.dumps({"began": began, "ended": time.time(), "error": error}), flush=True)
    time.sleep(0.2)
"""


@dataclass(frozen=True)
class Request:
    """One request; times are seconds since the epoch."""

    began: float
    ended: float
    error: str


@dataclass
class Row:
    """What one loss cost, in seconds; -1 is not seen.

    :ivar noticed: until an agent said so.
    :ivar served: until a request was answered that was asked afterwards.
    :ivar served_after_return: the same, from when the cause was gone, where it did not go by itself.
    :ivar failed: requests that failed; refused: those that were not even taken.
    :ivar load: how long the head took to load the model.
    """

    what: str
    noticed: float = -1.0
    served: float = -1.0
    served_after_return: float = -1.0
    failed: int = 0
    refused: int = 0
    load: float = -1.0

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        numbers = [self.noticed, self.served, self.served_after_return]
        shown = ["-" if number < 0 else f"{number:.1f}" for number in numbers]
        load = "-" if self.load < 0 else f"{self.load:.1f}"
        return (self.what, *shown, f"{self.failed} (and {self.refused} refused)", load)


class Service:
    """Head and workers of a lab."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self.name, self.rows = name, rows
        self.manager = Manager(Places.of(os.environ))
        self.lab = self.manager.lab(name)
        self._load: subprocess.Popen[str] | None = None
        self._output = self.manager.places.state(name) / "load.jsonl"

    # Doing

    def _ssh(self, host: str) -> list[str]:
        return ["ssh", "-F", str(self.manager.places.state(self.name) / "ssh_config"), host]

    def on(self, host: str, *argv: str) -> str:
        """Run a command on a host; gives what it prints."""
        done = subprocess.run(
            [*self._ssh(host), shlex.join(argv)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{host}: {shlex.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def begin_load(self) -> None:
        """Ask all the time."""
        self._output.write_text("", encoding="utf-8")
        with self._output.open("a", encoding="utf-8") as sink:
            self._load = subprocess.Popen(
                [*self._ssh(HEAD), "python3", "-u", "-"], stdin=subprocess.PIPE, stdout=sink, text=True
            )
        assert self._load.stdin is not None
        self._load.stdin.write(LOAD % {"address": ETHERNET[HEAD], "stop": STOP})
        self._load.stdin.close()
        self.wait_for_answer(time.time(), 60)

    def end_load(self) -> None:
        """Ask no more."""
        self.on(HEAD, "touch", STOP)
        if self._load is not None:
            self._load.wait(timeout=150)
        self.on(HEAD, "rm", "-f", STOP)

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def power_off(self, name: str) -> None:
        """Take the power from a host."""
        self.manager.crash(self.lab, self.host(name))

    def power_on(self, name: str) -> None:
        self.manager.start(self.lab, self.host(name))

    def fabric(self, name: str, *, up: bool) -> None:
        """Plug the fabric's cable of a host out or in."""
        host = self.host(name)
        network.set_cable(self.name, host, network.network_of(host, "ib"), up=up)

    def pid(self, host: str, unit: str) -> int:
        return int(self.on(host, "systemctl", "show", "--property=MainPID", "--value", unit))

    # Looking

    def requests(self) -> list[Request]:
        """What became of all requests so far."""
        lines = self._output.read_text(encoding="utf-8").splitlines(keepends=True)
        return [Request(**json.loads(line)) for line in lines if line.endswith("\n")]

    def said(self, hosts: Sequence[str], since: float) -> list[tuple[float, str]]:
        """What the agents of these hosts said, with the time of each line."""
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

    def wait_for_words(self, host: str, since: float, words: str, seconds: float) -> float:
        """When an agent first said this."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            for when, text in self.said([host], since):
                if words in text:
                    return when
            time.sleep(0.3)
        raise AssertionError(f"{host} did not say {words!r} within {seconds:g} seconds: {self.said([host], since)}")

    def wait_for_answer(self, since: float, seconds: float) -> float:
        """When the first request was answered that was asked after this."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            for request in self.requests():
                if request.began >= since and not request.error:
                    return request.ended
            time.sleep(0.3)
        raise AssertionError(f"no answer within {seconds:g} seconds: {self.requests()[-5:]}")

    def account(self, row: Row, began: float, returned: float | None = None) -> Row:
        """Wait until the head serves again, and fill in what it cost since then."""
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
        # Some more, so that it shows whether all goes well from here.
        time.sleep(3)
        errors = [request for request in self.requests() if request.began >= began - 1 and request.error]
        row.refused = sum("refused" in request.error or "503" in request.error for request in errors)
        row.failed = len([request for request in errors if request.ended >= began]) - row.refused
        late = [request for request in errors if request.began > answered]
        assert not late, f"requests failed after the recovery: {late}"
        self.rows.append(row)
        return row
