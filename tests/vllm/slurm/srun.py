# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of srun: starts the tasks of a step on this machine, and ends the others when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

options, argv = {}, list(sys.argv[1:])
while argv and argv[0].startswith("--"):
    name, _, value = argv.pop(0).partition("=")
    options[name] = value
tasks = []
for rank in range(int(options["--ntasks"])):
    environment = {**os.environ, "SLURM_PROCID": str(rank), "SLURMD_NODENAME": f"n{rank + 1}"}
    tasks.append(subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment, start_new_session=True))
tasks_file = Path(os.environ["DOUBLE_SLURM"], f"tasks-{argv[-2]}")
tasks_file.write_text(" ".join(str(task.pid) for task in tasks), encoding="ascii")


def copy(rank: int, task: subprocess.Popen[bytes]) -> None:
    for line in task.stdout or ():
        label = f"{rank}: ".encode() if "--label" in options else b""
        sys.stdout.buffer.write(label + line)
        sys.stdout.buffer.flush()


threads = [threading.Thread(target=copy, args=one, daemon=True) for one in enumerate(tasks)]
for thread in threads:
    thread.start()
ended = None
while any(task.poll() is None for task in tasks):
    statuses = [task.poll() for task in tasks]
    if any(status is not None for status in statuses):
        ended = ended or time.monotonic()
    is_late = ended is not None and time.monotonic() - ended > int(options["--wait"])
    if is_late or any(statuses):
        for task in tasks:
            if task.poll() is None:
                task.send_signal(signal.SIGKILL)
    time.sleep(0.05)
for thread in threads:
    thread.join(2)
sys.exit(max((abs(task.returncode) for task in tasks), default=0))
