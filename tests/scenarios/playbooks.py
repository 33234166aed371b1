# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks as an operator does, keep their output, and read the state of the hosts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .testing import ETHERNET, HEAD, NODES

ROOT = Path(__file__).resolve().parents[2]
# Programs that run on hosts of the lab.
PROGRAMS = ROOT / "molecule" / "operations" / "files"
LAB = os.environ.get("HERD_LAB", "operations")
CLIENT = "mirror"
KEYS = "/etc/herd/head/api-keys"

_STATE = r"""
cat /etc/systemd/system/*.service /etc/herd/*.* | sha256sum
sha256sum /etc/herd/head/api-keys 2>/dev/null
find /opt /etc/herd -maxdepth 3 -printf '%p %y %U %m\n' | sort
systemctl show -p MainPID -p ActiveState llama-head.service llama-rpc.service herd-agent.service
"""


@dataclass(frozen=True)
class Run:
    """A finished run of a playbook."""

    rc: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """Return the number of changes by host, from the recap."""
        return {
            host: int(count)
            for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", self.output, re.MULTILINE)
            if host != "localhost"
        }

    @property
    def calm(self) -> bool:
        """Return whether the run succeeded without a change."""
        return self.rc == 0 and not any(self.changed.values())


class Operator:
    """Starts playbooks and keeps their output."""

    def __init__(self, folder: Path, *inventories: str) -> None:
        self.folder, self.inventories = folder, inventories or ("inventory/lab",)
        self.outputs: dict[str, str] = {}

    def _begin(self, playbook: str, more: tuple[str, ...], output: Path) -> subprocess.Popen[bytes]:
        words = [str(Path(sys.executable).with_name("ansible-playbook")), playbook]
        words += [f"--inventory={path}" for path in self.inventories]
        env = {**os.environ, "HERD_LAB": LAB, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
        env.pop("ANSIBLE_FORCE_COLOR", None)
        with output.open("wb") as sink:
            return subprocess.Popen(
                [*words, "-vvv", *more],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def play(self, playbook: str, *more: str) -> Run:
        """Run a playbook to its end, and keep its output."""
        output = self.folder / f"{len(self.outputs):02}-{Path(playbook).stem}.log"
        rc = self._begin(playbook, more, output).wait(timeout=900)
        found = Run(rc, output.read_text(encoding="utf-8", errors="replace"))
        self.outputs[output.name] = found.output
        return found

    def play_and_kill(self, playbook: str, *more: str, after: str) -> None:
        """Run a playbook until its output has a text, then kill it as a power loss of the controller would."""
        output = self.folder / f"{len(self.outputs):02}-{Path(playbook).stem}-killed.log"
        process = self._begin(playbook, more, output)
        deadline = time.monotonic() + 300
        while after not in output.read_text(encoding="utf-8", errors="replace"):
            assert time.monotonic() < deadline and process.poll() is None, output.read_text()
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.outputs[output.name] = output.read_text(encoding="utf-8", errors="replace")


def changed_tiers(folder: Path, *, of: str = "inventory/lab_slurm/group_vars/all/tiers.yml", **changes: Any) -> str:
    """Write the tiers of the lab's Slurm cluster, with a changed fast tier, to a file for -e."""
    tiers = yaml.safe_load((ROOT / of).read_text(encoding="utf-8"))["herd_tiers"]
    tiers[0].update(changes)
    target = folder / "tiers.json"
    target.write_text(json.dumps({"herd_tiers": tiers}), encoding="utf-8")
    return f"@{target}"


def ssh(host: str, script: str, given: str | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a shell script on a host of the lab; no command line contains its input."""
    words = ["ssh", "-F", f"/run/herd-lab/{LAB}/ssh_config", host, script if given is not None else "sh"]
    text = given if given is not None else script
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)


def state() -> dict[str, str]:
    """Return the state that a check must not change."""
    return {host: ssh(host, _STATE).stdout for host in NODES}


def keys() -> list[str]:
    """Return the lines of the head's key file."""
    return ssh(HEAD, f"cat {KEYS}").stdout.split()


def status_of(key: str) -> int:
    """Return the HTTP status of a request with this key."""
    asked = ssh(
        CLIENT,
        f"curl -s -o /dev/null -m 60 -w '%{{http_code}}' -H @- http://{ETHERNET[HEAD]}:8000/v1/models",
        f"Authorization: Bearer {key}",
    )
    return int(asked.stdout or 0)


def pid(unit: str = "llama-head.service", host: str = HEAD) -> int:
    """Return the main process id of a unit; 0 for none."""
    return int(ssh(host, f"systemctl show -p MainPID --value {unit}").stdout or 0)


def give_key(key: str) -> None:
    """Give the clients another key for their next requests."""
    ssh(CLIENT, "umask 077; cat >/run/key.new; mv /run/key.new /run/key", key)


@contextmanager
def load(key: str) -> Iterator[list[dict[str, Any]]]:
    """Run clients on a host that is not a node; the list has the results after they end."""
    give_key(key)
    ssh(CLIENT, "cat >/run/load.py", (PROGRAMS / "load.py").read_text(encoding="utf-8"))
    ssh(CLIENT, "rm -f /run/key.end")
    words = ["ssh", "-F", f"/run/herd-lab/{LAB}/ssh_config", CLIENT, f"python3 /run/load.py {ETHERNET[HEAD]} /run/key"]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+") as sink:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=sink)
        try:
            time.sleep(2)
            yield found
            time.sleep(2)
        finally:
            ssh(CLIENT, "touch /run/key.end")
            process.wait(timeout=400)
            sink.seek(0)
            found.extend(json.loads(sink.read() or "[]"))


def search(secrets: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Find the places on the nodes that contain these secrets: host, secret, place."""
    program = (PROGRAMS / "search.py").read_text(encoding="utf-8")
    found: set[tuple[str, str, str]] = set()
    for host in NODES:
        ssh(host, "cat >/run/search.py", program)
        done = ssh(host, "python3 /run/search.py", json.dumps(dict(secrets)))
        assert done.returncode == 0, done.stderr
        found.update((host, name, place) for name, place in json.loads(done.stdout))
    return found
