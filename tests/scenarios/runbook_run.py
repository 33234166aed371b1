# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow a page of docs/operations on a lab as an operator does: run its commands and compare their output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .recovery import Service
from .runbook import CHECK, FIX, VERIFY, Command, Page, missing
from .testing import HEAD, WORKERS

ROOT = Path(__file__).parents[2]
#: Seconds: the limit of one command, the limit of waiting for an output, and the pause between two tries.
COMMAND_S, PATIENCE_S, PAUSE_S = 600, 120, 2
PLAYBOOK = "ansible-playbook "


class Operator:
    """Follow pages.

    :ivar variables: variables of the inventory that cause the fault; each playbook gets them until the fix.
    :ivar inventory: the lab's inventory, or a changed copy of it.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.variables: dict[str, Any] = {}
        self.inventory = ROOT / "inventory" / "lab"
        self._hosts = {"head": HEAD, "worker": WORKERS[0], "former": WORKERS[1], "slurm-ctl": "slurm-ctl"}

    def type(self, command: Command) -> tuple[int, str]:
        """Run one command; return its exit status and output."""
        if command.where != "controller":
            state = self.service.manager.places.state(self.service.name)
            argv = ["ssh", "-F", str(state / "ssh_config"), self._hosts[command.where], command.text]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            return done.returncode, done.stdout + done.stderr
        text = command.text
        if self.variables and text.startswith(PLAYBOOK):
            text += f" --extra-vars '{json.dumps(self.variables)}'"
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_INVENTORY": str(self.inventory),
            "ANSIBLE_NOCOLOR": "1",
            "HERD_LAB": self.service.name,
        }
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def see(self, command: Command) -> None:
        """Wait for the output that a page shows; the exit status may report a problem."""
        self._until_shown(command, well=False)

    def mend(self, command: Command) -> None:
        """Assert that the command succeeds and prints the output that the page shows."""
        self._until_shown(command, well=True, patience=0)

    def mended(self, command: Command) -> None:
        """Wait until the command succeeds and prints the output that the page shows."""
        self._until_shown(command, well=True)

    def _until_shown(self, command: Command, *, well: bool, patience: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience
        while True:
            status, output = self.type(command)
            lacking = missing(command, output)
            if not lacking and not (well and status):
                return
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"{command.where}: {command.text}: status {status}, not shown: {lacking}\n{output[-6000:]}"
                )
            time.sleep(PAUSE_S)


def follow(operator: Operator, page: Page, variables: Mapping[str, Any], hands: Sequence[Any] = ()) -> None:
    """Follow a page from its first command to its last.

    :param hands: the page's manual actions, which precede the commands of the section Fix.
    """
    operator.variables = dict(variables)
    for command in page.sections[CHECK]:
        operator.see(command)
    operator.variables = {}
    for act in hands:
        act()
    for command in page.sections[FIX]:
        operator.mend(command)
    for command in page.sections[VERIFY]:
        operator.mended(command)
