# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Slurm's programs for the tier manager: squeue, sacct, sbatch and scancel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...core.slurm import queue as slurm_queue
from ...core.slurm import revision as job_revision
from ...core.slurm import tier_state
from ...core.slurm.queue import Ending
from ...core.slurm.tier_state import QueueSnapshot, TierSpec
from ...core.text import plain
from ..common.command import CommandResult, capture

#: Longer than Slurm's own timeout for its controller.
TIMEOUT_S, SBATCH_TIMEOUT_S = 40.0, 60.0
#: Limit for reading a log: the shared file system may hang.
LOG_S = 5.0
LOG_TAIL = 8192


class SlurmClient:
    """Slurm's programs, with times in seconds since 1970."""

    def __init__(self) -> None:
        # SBATCH_ and SQUEUE_ variables of the caller would change what the programs do.
        kept = {name: os.environ[name] for name in ("PATH", "SLURM_CONF", "TZ") if name in os.environ}
        self._environment = {**kept, "LC_ALL": "C", "HOME": "/", **slurm_queue.ENVIRONMENT}
        #: When a program was last started. One program runs at a time, each with a timeout.
        self.last_run = time.monotonic()

    def run(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> CommandResult:
        """Run a program."""
        self.last_run = time.monotonic()
        return capture(argv, timeout_s, cwd="/", env=self._environment)

    def queue(self, before: QueueSnapshot) -> QueueSnapshot:
        """Read all jobs of the queue. After a failure the former snapshot carries the problem."""
        asked = time.time()
        result = self.run(["squeue", "--all", "--noheader", "--states=all", f"--Format={slurm_queue.SQUEUE_FORMAT}"])
        if result.status:
            return replace(before, problem=result.error, since=before.since or asked)
        try:
            return QueueSnapshot(asked, tuple(slurm_queue.parse_queue(result.raw)))
        except ValueError as error:
            return replace(before, problem=plain(str(error)), since=before.since or asked)

    def ending(self, job: str, queue: QueueSnapshot, logs: Path) -> Ending:
        """Look up how a job ended: in accounting, else in the queue."""
        fields = f"--format={slurm_queue.SACCT_FIELDS}"
        result = self.run(["sacct", "--noheader", "--parsable2", "--duplicates", f"--jobs={job}", fields])
        found = slurm_queue.parse_ending(result.out, job) if result.status == 0 else Ending()
        seen = next((one for one in queue.jobs if one.id == job), None)
        if seen is not None:
            if found.state in ("", "RUNNING", "PENDING", "REQUEUED") and not seen.is_live:
                took = (seen.end or 0) - (seen.start or 0) if seen.end and seen.start else 0
                found = Ending(state=seen.state, exit_code=seen.exit_code >> 8, elapsed=max(0.0, took))
                found = replace(found, signal=seen.exit_code & 127, nodes=",".join(seen.nodes))
            found = replace(found, reason=seen.reason)
        return replace(found, log=_last_message(logs, job))

    def submit(self, spec: TierSpec) -> tuple[CommandResult, str]:
        """Submit a tier's job and return its number. Slurm never starts two jobs of one name and user at once."""
        comment = f"--comment={tier_state.comment(spec)}"
        result = self.run(["sbatch", "--parsable", "--dependency=singleton", comment, spec.script], SBATCH_TIMEOUT_S)
        number = result.out.strip().split(";", maxsplit=1)[0]
        return result, number if number.isdigit() else ""

    def cancel(self, job: str) -> CommandResult:
        """Cancel a job."""
        return self.run(["scancel", job])

    def ask_to_requeue(self, job: str) -> CommandResult:
        """Ask a job to requeue itself in an idle window."""
        return self.run(["scancel", f"--signal={job_revision.SIGNAL}", "--batch", job])


def _last_message(logs: Path, job: str) -> str:
    """Read the last message of a job's log; empty if the shared file system does not answer in time."""
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.append(_read_last_message(logs, job)), daemon=True)
    reading.start()
    reading.join(LOG_S)
    return found[0] if found else ""


def _read_last_message(logs: Path, job: str) -> str:
    for path in (logs / job / "job.log", logs / f"slurm-{job}.out"):
        with suppress(OSError), path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_TAIL))
            found = slurm_queue.last_message(stream.read().decode(errors="replace"))
            if found:
                return plain(found)[:240]
    return ""
