# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a job: srun processes, each of which runs one engine on a node."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..common.command import ChildProcess


class Step:
    """An engine on a node, run as a step of the job."""

    def __init__(self, name: str, host: str, order: dict[str, Any], folder: Path, events: queue.Queue[Any]) -> None:
        self.name, self.host, self.port, self.is_listening = name, host, 0, False
        self.silence = 0.0
        path = folder / f"{name}.json"
        path.write_text(json.dumps(order, indent=2) + "\n", encoding="utf-8")
        argv = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={host}"]
        argv += [f"--cpus-per-task={order['cpus']}", "--mem=0", "--cpu-bind=none", "--unbuffered", f"--job-name={name}"]
        with (folder / f"{name}.step.log").open("ab") as log:
            self.process = ChildProcess(
                [*argv, sys.executable, str(Path(sys.argv[0]).absolute()), "job", "step", "--order", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Keeps signals for the job's process group from the steps.
                start_new_session=True,
            )
        self._events = events
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with suppress(ValueError):
                self._events.put((self, json.loads(line)))
        self._events.put((self, {"event": "gone", "status": self.process.wait()}))

    def send(self, text: str) -> None:
        """Send a command to the step, unless it has ended."""
        with suppress(OSError, ValueError):
            if self.process.stdin:
                self.process.stdin.write(f"{text}\n")
                self.process.stdin.flush()

    def stop(self, patience_s: float) -> None:
        """Stop the engine, and wait until the step has ended."""
        self.send(f"stop {patience_s:g}")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s + 3.0)
        if self.process.poll() is None:
            self.process.kill()
