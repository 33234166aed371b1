# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test helpers for a lab's Slurm cluster whose tier manager runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scenarios.slurm import CONTROLLER, GATEWAY, MANAGER, TESTER, Slurm, until

ROOT = Path(__file__).resolve().parents[2]
CLIENT = "mirror"
LOADER = Path(__file__).with_name("tier_load.py")
STOP, SEEN = "/tmp/tier-load-stop", "/tmp/tier-load-seen"
CLIENTS = 2
TOKENS = 8


class Kept(Slurm):
    """A cluster with a running tier manager."""

    def view(self) -> dict[str, Any]:
        """Return the manager's view."""
        found: dict[str, Any] = json.loads(self.sure(CONTROLLER, "cat /run/herd/tiers.json"))
        return found

    def tier(self, name: str) -> dict[str, Any]:
        """Return the manager's view of a tier."""
        found: dict[str, Any] = self.view()["tiers"][name]
        return found

    def wait(self, name: str, state: str, seconds: float) -> dict[str, Any]:
        """Wait until a tier is in a state."""

        def look() -> dict[str, Any] | None:
            tier = self.tier(name)
            return tier if tier["state"] == state else None

        found: dict[str, Any] = until(f"the tier {name} to be {state}", look, seconds)
        return found

    def hurry(self, job: str) -> None:
        """Release a requeued job from Slurm's pause of two minutes."""
        self.on(CONTROLLER, f"scontrol update jobid={job} starttime=now")

    def wait_ready_again(self, name: str, seconds: float) -> dict[str, Any]:
        """Wait for a tier whose job may have been requeued."""

        def look() -> dict[str, Any] | None:
            tier = self.tier(name)
            if str(tier["pending_reason"]).startswith("BeginTime"):
                self.hurry(str(tier["job_id"]))
            return tier if tier["state"] == "ready" else None

        found: dict[str, Any] = until(f"the tier {name} to be ready again", look, seconds, 2.0)
        return found

    # Load

    def questions(self) -> dict[str, list[dict[str, Any]]]:
        """Return the questions for each port of the gateway, with the engine's own answers."""
        found: dict[str, list[dict[str, Any]]] = {}
        for name, url in GATEWAY.items():
            entry = self.tier(name)["endpoints"][0]
            for number in range(4):
                words = f"Say hello to number {number}."
                body = {"model": "lab-llama", "max_tokens": TOKENS, "temperature": 0, "seed": number}
                body["messages"] = [{"role": "user", "content": words}]
                answer = self.ask(f"http://{entry['address']}:{entry['port']}/v1/chat/completions", self.key(), body)
                assert answer.status == 200, answer.text
                text = answer.json()["choices"][0]["message"]["content"]
                found.setdefault(url.removeprefix("http://"), []).append({"body": body, "text": text})
        return found

    @contextmanager
    def load(self, questions: dict[str, list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
        """Load both tiers from outside the cluster. Yield after the first responses; collect results at the end."""
        self.sure(
            CLIENT,
            f"rm -f {STOP}; : >{SEEN}; cat > /tmp/tier_load.py <<'END'\n{LOADER.read_text(encoding='utf-8')}\nEND\n",
        )
        given = json.dumps({"key": TESTER, "questions": questions})
        command = f"printf %s {shlex.quote(given)} | python3 /tmp/tier_load.py {STOP} {CLIENTS} >{SEEN}"
        found: list[dict[str, Any]] = []
        with ThreadPoolExecutor(1) as other:
            running = other.submit(self.sure, CLIENT, command, "", 900.0)
            try:
                until("whole answers at both tiers", lambda: running.done() or self._is_answered(questions), 120, 1.0)
                yield found
            finally:
                self.sure(CLIENT, f"touch {STOP}")
                running.result()
                found.extend(self._seen())

    def _seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.sure(CLIENT, f"cat {SEEN}").splitlines()]

    def _is_answered(self, questions: dict[str, list[dict[str, Any]]]) -> bool:
        whole = Counter(one["address"] for one in self._seen() if one["what"] == "whole")
        return all(whole[address] >= CLIENTS for address in questions)

    # Hosts

    def _lab(self, *words: str) -> None:
        argv = [sys.executable, "-m", "tests.lab", "--name", self.lab, *words]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def cut(self, host: str, network: str) -> None:
        """Unplug one network of a host."""
        self._lab("cut", host, network)

    def heal(self, host: str, network: str) -> None:
        """Plug the network in again."""
        self._lab("heal", host, network)

    def lose(self, host: str) -> None:
        """Stop a host as a power loss does: it closes no connection."""
        for network in ("eth", "ib"):
            self.cut(host, network)
        self._lab("crash", host)

    def bring_back(self, host: str) -> None:
        """Start the host again."""
        for network in ("eth", "ib"):
            self.heal(host, network)
        self._lab("start", host)
        # A client that is still connected to the former host would wait forever.
        Path(f"/run/herd-lab/{self.lab}/cm/t-{host}").unlink(missing_ok=True)

    def said(self, since: str) -> str:
        """Return the manager's log lines since a time."""
        return self.sure(CONTROLLER, f"journalctl -u {MANAGER} -o cat --no-pager --since '@{since}'")

    def now(self) -> str:
        """Return the time of the controller's clock."""
        return self.sure(CONTROLLER, "date +%s.%N").strip()
