# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubles of squeue, sbatch, scancel and sacct: shell scripts that replay output of Slurm 22.05.

Each call of squeue prints the next prepared picture of the queue, the last one again and again. A picture may bring the
status file that the job would have written by then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.slurm import queue
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job_status import JobStatus

#: As Slurm 22.05.8 prints it, on standard error.
TO_START = "sbatch: Job 4711 to start at 2026-11-29T17:53:18 using 2 processors on nodes c[1-2] in partition capella\n"
REFUSED = "allocation failure: Invalid account or account/partition combination specified\n"
NO_ACCOUNTING = "Slurm accounting storage is disabled\n"

_SQUEUE = """#!/bin/sh
state=$(dirname "$0")/state
number=$(($(cat "$state/number" 2> /dev/null || echo 0) + 1))
while [ "$number" -gt 1 ] && [ ! -e "$state/queue.$number" ]; do number=$((number - 1)); done
echo "$number" > "$state/number"
echo "squeue $*" >> "$state/calls"
[ -e "$state/status.$number" ] && mkdir -p "$(dirname "$(cat "$state/path.$number")")" &&
  cp "$state/status.$number" "$(cat "$state/path.$number")"
[ -e "$state/squeue-error" ] && cat "$state/squeue-error" >&2 && exit 1
cat "$state/queue.$number" 2> /dev/null
exit 0
"""
_SBATCH = """#!/bin/sh
state=$(dirname "$0")/state
echo "sbatch $*" >> "$state/calls"
if [ "$1" = --test-only ]; then cat "$state/test-only" >&2; exit 0; fi
if [ -e "$state/refusal" ]; then cat "$state/refusal" >&2; exit 1; fi
cat "$state/job"
"""
_SCANCEL = """#!/bin/sh
state=$(dirname "$0")/state
echo "scancel $*" >> "$state/calls"
[ -e "$state/after-scancel" ] && rm -f "$state"/queue.* && cp "$state/after-scancel" "$state/queue.1"
exit 0
"""
_SACCT = """#!/bin/sh
state=$(dirname "$0")/state
echo "sacct $*" >> "$state/calls"
if [ -e "$state/accounting" ]; then cat "$state/accounting"; exit 0; fi
echo "Slurm accounting storage is disabled" >&2
exit 1
"""


def line(job_id: str, name: str, state: str, reason: str = "None", **more: Any) -> str:
    """Make a line of squeue with the columns that the product asks for."""
    values: dict[str, Any] = {
        "JobArrayID": job_id, "Name": name, "UserName": "user", "State": state, "Reason": reason, "RestartCnt": 0,
        "SubmitTime": 1795266500, "StartTime": "N/A", "EndTime": "N/A", "NodeList": "", "ReqNodes": "",
        "Partition": "capella", "QOS": "normal", "exit_code": 0, "Comment": "", **more,
    }  # fmt: skip
    columns = [part.split(":") for part in queue.SQUEUE_FORMAT.split(",")]
    return "".join(str(values[name]).ljust(int(width)) for name, width in columns) + "\n"


class SlurmDouble:
    """A cluster whose answers the test prepares.

    :param work_dir: the work space, for status files.
    """

    def __init__(self, folder: Path, work_dir: Path) -> None:
        self.bin, self._state, self._work = folder, folder / "state", work_dir
        self._state.mkdir(parents=True)
        for name, text in (("squeue", _SQUEUE), ("sbatch", _SBATCH), ("scancel", _SCANCEL), ("sacct", _SACCT)):
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        self.put("test-only", TO_START)
        self.put("job", "4711\n")
        self._count = 0

    def put(self, name: str, text: str) -> None:
        """Prepare an answer by the name of its file."""
        (self._state / name).write_text(text, encoding="utf-8")

    def picture(self, *lines: str, status: JobStatus | None = None) -> None:
        """Add the next picture of the queue, and the status file that is there by then."""
        self._count += 1
        self.put(f"queue.{self._count}", "".join(lines))
        if status is not None:
            self.put(f"status.{self._count}", json.dumps(status.as_data()))
            self.put(f"path.{self._count}", str(self._work / "status" / f"{status.job_id}.json"))

    def empty(self) -> None:
        """Add a queue without jobs, as a launch sees it twice: before it submits, and when no other launch can."""
        self.picture()
        self.picture()

    def calls(self, program: str = "") -> list[str]:
        """Return the command lines of all calls, without those of other programs."""
        path = self._state / "calls"
        found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [call for call in found if call.startswith(program)]
