# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test helpers for a lab's Slurm cluster: jobs, the endpoint registry, the engines' API."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.streams import Answer, RunningStream, answer, running_stream

CONTROLLER = "slurm-ctl"
NODES = ("vasp-01", "vasp-02", "vasp-03")
SHARED = "/cluster/shared"
SCRIPTS = f"{SHARED}/scripts/llama-cpp"
TIERS = {"fast": "run-14b.slurm", "reasoning": "run-72b-distributed.slurm"}
JOB_NAMES = {"fast": "llama-14b", "reasoning": "llama-72b"}
MANAGER = "herd-tiers.service"
KEY_FILE = "/etc/herd/tiers/api-keys"
# The key that inventory/lab_slurm accepts; it is valid in labs only.
TESTER = "herd-AAQgLa7MEdRRSsZOnn7R8dgXOwmao6CMq3XLW3xFj-M"
GATEWAY = {"fast": "http://10.0.0.5:8080", "reasoning": "http://10.0.0.5:8081"}


@dataclass(frozen=True)
class Ran:
    """The result of a command on a host."""

    rc: int
    out: str
    err: str


def until(what: str, is_so: Callable[[], Any], seconds: float, every: float = 0.3) -> Any:
    """Wait until a function returns a true value, and return the value."""
    limit = time.monotonic() + seconds
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > limit:
            raise AssertionError(f"{what}: not within {seconds:g} seconds")
        time.sleep(every)


def _curl(url: str, key: str, body: dict[str, Any] | None, seconds: float) -> str:
    """Return the line of shell that sends a request and prints the answer, then the status on a line of its own."""
    argv = ["curl", "-sS", "-N", "--max-time", str(seconds), "-w", "\n%{http_code}", "-K", "-", url]
    given = [f'header = "Authorization: Bearer {key}"'] if key else []
    if body is not None:
        text = json.dumps(body).replace("\\", "\\\\").replace('"', '\\"')
        given += ['header = "Content-Type: application/json"', f'data = "{text}"']
    # Key and body go over standard input, so that no list of processes shows them.
    return f"printf '%s\\n' {' '.join(shlex.quote(item) for item in given)} | {shlex.join(argv)}"


class Slurm:
    """The Slurm cluster of one lab."""

    def __init__(self, lab: str = "") -> None:
        self.lab = lab or os.environ["HERD_LAB"]
        self._had_manager = False

    # Hosts

    def on(self, host: str, command: str, user: str = "", timeout: float = 120.0) -> Ran:
        """Run a line of shell on a host."""
        if user:
            command = f"cd / && runuser -u {user} -- sh -c {shlex.quote(command)}"
        argv = self._ssh(host, command)
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)

    def _ssh(self, host: str, command: str) -> list[str]:
        configuration = f"/run/herd-lab/{self.lab}/ssh_config"
        argv = ["ssh", "-F", configuration, "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        return [*argv, "-o", f"ControlPath=/run/herd-lab/{self.lab}/cm/t-%h", host, "--", command]

    def sure(self, host: str, command: str, user: str = "", timeout: float = 120.0) -> str:
        """Run a command that must succeed, and return its output."""
        ran = self.on(host, command, user, timeout)
        assert ran.rc == 0, f"{host}: {command}: {ran.rc}: {ran.out}{ran.err}"
        return ran.out

    @property
    def shared(self) -> Path:
        """Return the shared directory's path on this machine."""
        described = json.loads((Path("/run/herd-lab") / self.lab / "lab.json").read_text(encoding="utf-8"))
        binds = [bind for host in described["hosts"] for bind in host["binds"] if bind["target"] == SHARED]
        return Path(binds[0]["source"])

    # Jobs

    def submit(self, tier: str) -> str:
        """Submit a tier's job by hand, and return its id."""
        return self.sure(CONTROLLER, f"sbatch --parsable {SCRIPTS}/{TIERS[tier]}", "llama").strip()

    def vasp(self, seconds: int, more: str = "") -> str:
        """Submit a job of higher priority that needs every GPU, and return its id."""
        line = (
            "sbatch --parsable -D /tmp -o /dev/null -p gpu_vasp --qos=vasp_priority -A vasp -J vasp -N3 --gres=gpu:1 "
        )
        return self.sure(CONTROLLER, f"{line}{more} --wrap 'sleep {seconds}'", "vasp").strip()

    def jobs(self, name: str = "") -> list[tuple[str, str, str]]:
        """Return id, state and reason of the jobs in the queue."""
        which = f"--name={name}" if name else "--user=llama"
        lines = self.sure(CONTROLLER, f"squeue --noheader {which} --format='%i|%T|%r'").splitlines()
        return [(parts[0], parts[1], parts[2]) for parts in (line.split("|") for line in lines)]

    def nodes(self, name: str) -> list[str]:
        """Return the nodes of the running job of this name."""
        return self.sure(
            CONTROLLER, f"scontrol show hostnames $(squeue --noheader --states=RUNNING --name={name} --format=%N)"
        ).split()

    def cancel_all(self) -> None:
        """Cancel every job, and wait until the queue is empty."""
        self.sure(CONTROLLER, "scancel --user=llama; scancel --user=vasp")
        until("every job to end", lambda: not self.sure(CONTROLLER, "squeue --noheader --user=llama,vasp").strip(), 90)

    def log(self, job: str) -> str:
        """Return a job's log."""
        path = self.shared / "ai" / "logs" / job / "job.log"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    # Endpoints

    def entries(self, tier: str = "") -> list[dict[str, Any]]:
        """Return the registry's entries."""
        found = []
        for path in sorted((self.shared / "ai" / "endpoints").glob("*.json")):
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(entry, dict) and (not tier or entry.get("tier") == tier):
                found.append(entry)
        return found

    def ready(self, tier: str) -> dict[str, Any] | None:
        """Return the entry of a tier that is ready and has a recent heartbeat."""
        return next(
            (e for e in self.entries(tier) if e["state"] == "ready" and time.time() - e["heartbeat"] < 15), None
        )

    def wait_ready(self, tier: str, seconds: float = 180.0) -> dict[str, Any]:
        """Wait for the entry of a ready tier."""
        found: dict[str, Any] = until(f"the tier {tier} to be ready", lambda: self.ready(tier), seconds)
        return found

    def keep_both(self) -> None:
        """Wait until both tiers are ready; submit their jobs if no manager runs."""
        self._had_manager = self.on(CONTROLLER, f"systemctl is-active {MANAGER}").rc == 0
        if not self._had_manager:
            self.cancel_all()
            for tier in TIERS:
                self.submit(tier)
        for tier in TIERS:
            self.wait_ready(tier)

    def leave(self) -> None:
        """Cancel the jobs that were submitted by hand."""
        if not self._had_manager:
            self.cancel_all()

    def key(self) -> str:
        """Return the API key of the engines."""
        return self.sure(CONTROLLER, f"head -n 1 {KEY_FILE}").strip()

    def ask(
        self, url: str, key: str, body: dict[str, Any] | None = None, seconds: float = 60.0, host: str = CONTROLLER
    ) -> Answer:
        """Send a request with curl from a host."""
        ran = self.on(host, _curl(url, key, body, seconds), timeout=seconds + 30)
        return answer(ran.out, ran.rc)

    def chat_at(self, tier: str, key: str = TESTER, tokens: int = 4, stream: bool = False) -> Answer:
        """Request a chat completion of the gateway from a host outside the cluster."""
        body = {
            "model": "lab-llama",
            "max_tokens": tokens,
            "stream": stream,
            "messages": [{"role": "user", "content": "Say hello."}],
        }
        return self.ask(f"{GATEWAY[tier]}/v1/chat/completions", key, body, host="mirror")

    def chat(self, entry: dict[str, Any], tokens: int = 4, stream: bool = False, seconds: float = 60.0) -> Answer:
        """Request a chat completion of an endpoint."""
        return self.ask(_chat_url(entry), self.key(), _chat_body(entry, tokens, stream), seconds)

    @contextmanager
    def streaming(self, entry: dict[str, Any], tokens: int, seconds: float = 300.0) -> Iterator[RunningStream]:
        """Request a stream of an endpoint that has exactly these tokens, and wait for its first one."""
        body = {**_chat_body(entry, tokens, True), "ignore_eos": True}
        argv = self._ssh(CONTROLLER, _curl(_chat_url(entry), self.key(), body, seconds))
        with running_stream(argv) as stream:
            stream.wait_for_token(seconds)
            yield stream

    def tokens_in(self, entry: dict[str, Any], seconds: float) -> int:
        """Return how many tokens an endpoint streams in a time at its present speed; at most half of its context."""
        with self.streaming(entry, 9) as stream:
            began = time.monotonic()
            assert stream.answer().is_whole
            per_s = 8 / (time.monotonic() - began)
        return max(2, min(int(per_s * seconds), int(entry["context"]) // int(entry["slots"]) // 2))


def _chat_url(entry: dict[str, Any]) -> str:
    return f"http://{entry['address']}:{entry['port']}/v1/chat/completions"


def _chat_body(entry: dict[str, Any], tokens: int, stream: bool) -> dict[str, Any]:
    message = {"role": "user", "content": "Say hello."}
    return {"model": entry["models"][0], "max_tokens": tokens, "stream": stream, "messages": [message]}
