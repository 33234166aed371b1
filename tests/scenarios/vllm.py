# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test helpers for vLLM as the Slurm job of an ordinary user in a lab."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

from ..lab import network
from ..lab.lab import Manager
from ..lab.naming import Places
from .slurm import CONTROLLER, SHARED, Ran, Slurm, until
from .streams import Answer

USER, MODEL, PORT = "scads", "tiny", 8011
WORK = f"{SHARED}/ws/{USER}/vllm"
HERDCTL = f"{WORK}/bin/herdctl vllm"
NODES = ("vasp-01", "vasp-02")
#: Longest time until a loss is noticed, and until the model is loaded again on two busy cores.
NOTICED_S, LOADED_S = 10.0, 600.0
#: A program of a user: one whole answer and one stream, from address, key and model.
CLIENT = """
import sys
from openai import OpenAI
address, key, model = sys.argv[1:]
client = OpenAI(base_url=address, api_key=key, timeout=60, max_retries=0)
question = [{"role": "user", "content": "Say hello."}]
whole = client.chat.completions.create(model=model, messages=question, max_tokens=8, temperature=0)
print(whole.usage.completion_tokens)
parts = client.chat.completions.create(model=model, messages=question, max_tokens=8, temperature=0, stream=True)
print(sum(1 for part in parts if part.choices and part.choices[0].delta.content is not None))
"""
#: Phases of a job that has noticed a loss.
OVER = ("draining", "ended", "failed")


class VllmLab(Slurm):
    """The Slurm cluster of the scenario, and its user."""

    def user(self, command: str, timeout: float = 120.0) -> Ran:
        """Run a line of shell as the user, with the user's own login environment."""
        return self.on(CONTROLLER, f"su - {USER} -c {shlex.quote(command)}", timeout=timeout)

    def herdctl(self, words: str, timeout: float = 120.0) -> Any:
        """Run herdctl vllm as the user, and return what it answers in JSON."""
        ran = self.user(f"{HERDCTL} {words} --config {WORK}/config.yaml --json", timeout)
        assert ran.rc == 0, f"herdctl vllm {words}: {ran.rc}: {ran.out}{ran.err}"
        return json.loads(ran.out)

    def launch(self, seconds: float = LOADED_S) -> Any:
        return self.herdctl(f"launch --timeout {seconds:g}", seconds + 60)

    @property
    def work(self) -> Path:
        """Return the work space's path on this machine."""
        return self.shared / "ws" / USER / "vllm"

    def statuses(self) -> list[dict[str, Any]]:
        """Return the states of all jobs, newest first."""
        found = []
        for path in (self.work / "status").glob("*.json"):
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                continue
        return sorted(found, key=lambda status: float(status["updated"]), reverse=True)

    def status(self, job: str) -> dict[str, Any]:
        return next((status for status in self.statuses() if status["job_id"] == job), {})

    def ready_job(self, after: float = 0.0) -> dict[str, Any] | None:
        """Return the state of a job that is ready, and that started after a time."""
        return next(
            (
                status
                for status in self.statuses()
                if status["phase"] == "ready" and status["started"] > after and time.time() - status["updated"] < 30
            ),
            None,
        )

    def wait_job(self, seconds: float = LOADED_S, after: float = 0.0) -> dict[str, Any]:
        found: dict[str, Any] = until("the model to be ready", lambda: self.ready_job(after), seconds)
        return found

    def queue(self) -> list[tuple[str, str, str]]:
        """Return id, state and reason of the user's jobs."""
        lines = self.sure(CONTROLLER, f"squeue --noheader --user={USER} --format='%i|%T|%r'").splitlines()
        return [(parts[0], parts[1], parts[2]) for parts in (line.split("|") for line in lines)]

    def text_of(self, job: str) -> str:
        """Return a job's log."""
        paths = sorted((self.work / "logs").glob(f"{MODEL}_{job}.out"))
        return paths[0].read_text(encoding="utf-8", errors="replace") if paths else ""

    def api_key(self) -> str:
        return (self.work / "api-key").read_text(encoding="utf-8").strip()

    def chat_with(
        self,
        status: dict[str, Any],
        tokens: int = 8,
        stream: bool = False,
        seconds: float = 60.0,
        key: str | None = None,
    ) -> Answer:
        """Request a chat completion of a ready job from the login node."""
        body = {
            "model": status["served_name"] or MODEL,
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": stream,
            "messages": [{"role": "user", "content": "Say hello."}],
        }
        url = f"http://{status['address']}:{status['port']}/v1/chat/completions"
        return self.ask(url, self.api_key() if key is None else key, body, seconds)

    def host_of(self, status: dict[str, Any], rank: int) -> str:
        """Return the node of a rank."""
        hosts = {int(each["rank"]): str(each["host"]) for each in status["ranks"]}
        return hosts[rank].partition(".")[0]

    def is_clear(self) -> bool:
        """Return whether no process of vLLM is left on any node."""
        return all(self.on(node, f"pgrep -u {USER} -f 'VLLM::|vllm serve'").rc == 1 for node in NODES)

    def cable(self, name: str, *, up: bool) -> None:
        """Unplug or plug in a node's cable of the fabric."""
        host = Manager(Places.of(os.environ)).lab(self.lab).host(name)
        network.set_cable(self.lab, host, network.network_of(host, "ib"), up=up)

    def signal(self, host: str, title: str, name: str = "KILL") -> None:
        """Send a signal to the processes of the user with a title, which must exist."""
        self.sure(host, f"pkill -{name} -u {USER} -f {shlex.quote(title)}")
