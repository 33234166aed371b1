# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's programs as an ordinary user runs them: squeue, sacct, sbatch, scancel."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence

from ....core.errors import HerdError, NotFoundError, RemoteFailureError
from ....core.slurm import accounting, submission
from ....core.slurm import queue as slurm_queue
from ....core.slurm.queue import Ending, Job
from ....core.text import plain
from ...common.command import NOT_STARTED, CommandResult, capture

#: Longer than Slurm's own timeout for its controller.
TIMEOUT_S, SBATCH_TIMEOUT_S = 40.0, 60.0
#: Prefixes of variables that would change what the programs do.
_OPTIONS = ("SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_")


class RefusedError(HerdError):
    """Slurm refuses a job.

    :ivar refusal: its reason.
    """

    def __init__(self, refusal: submission.Refusal) -> None:
        super().__init__("", f'Slurm refuses the job: {refusal.reason} (it says "{refusal.said}")', refusal.cure)
        self.refusal = refusal


def user_name() -> str:
    """Return the name of the user."""
    return pwd.getpwuid(os.geteuid()).pw_name


class UserSlurm:
    """Slurm's programs, with times in seconds since 1970."""

    def __init__(self, user: str = "") -> None:
        self.user = user or user_name()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OPTIONS)}
        conf = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
        self._environment = {**kept, **conf, "LC_ALL": "C", **slurm_queue.ENVIRONMENT}

    def _run(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> CommandResult:
        result = capture(argv, timeout_s, env=self._environment)
        if result.status == NOT_STARTED:
            raise NotFoundError.plain(
                f"{argv[0]} cannot be started here ({result.error})",
                "run this on a login node of the Slurm cluster, or load its Slurm module",
            )
        return result

    def jobs(self) -> list[Job]:
        """List the user's jobs, also those that ended a moment ago.

        The column StartTime of a pending job is what C(squeue --start) shows: when Slurm expects to start it.

        :raises RemoteFailureError: if Slurm does not answer.
        """
        columns = f"--Format={slurm_queue.SQUEUE_FORMAT}"
        result = self._run(["squeue", f"--user={self.user}", "--noheader", "--states=all", columns])
        if result.status:
            raise RemoteFailureError("the queue from squeue", plain(result.error), "wait and repeat; see scontrol ping")
        try:
            return slurm_queue.parse_queue(result.raw)
        except ValueError as error:
            raise RemoteFailureError("the queue from squeue", plain(str(error)), "see squeue --me") from error

    def ending(self, job_id: str, jobs: Sequence[Job] = ()) -> Ending:
        """Look up how a job ended: in accounting, else in the queue. Many clusters have no accounting for users."""
        fields = f"--format={slurm_queue.SACCT_FIELDS}"
        result = capture(
            ["sacct", "--noheader", "--parsable2", "--duplicates", f"--jobs={job_id}", fields],
            TIMEOUT_S,
            env=self._environment,
        )
        found = slurm_queue.parse_ending(result.out, job_id) if result.status == 0 else Ending()
        seen = next((job for job in jobs if job.id == job_id and not job.is_live), None)
        if seen is not None and found.state in ("", "RUNNING", "PENDING", "REQUEUED"):
            took = (seen.end or 0) - (seen.start or 0) if seen.end and seen.start else 0
            return Ending(
                state=seen.state,
                exit_code=seen.exit_code >> 8,
                signal=seen.exit_code & 127,
                elapsed=max(0.0, took),
                nodes=",".join(seen.nodes),
                reason=seen.reason,
            )
        return found

    def test(self, script: str) -> submission.StartEstimate | submission.Refusal | None:
        """Ask Slurm when it would start a script, without submitting it."""
        result = self._run(["sbatch", "--test-only", script], SBATCH_TIMEOUT_S)
        return submission.parse_test_only(result.err + result.out)

    def submit(self, script: str) -> str:
        """Submit a script and return the job's number.

        :raises RefusedError: if Slurm refuses it.
        """
        result = self._run(["sbatch", "--parsable", script], SBATCH_TIMEOUT_S)
        number = submission.parse_job_number(result.out)
        if result.status == 0 and number:
            return number
        refusal = submission.parse_refusal(result.err + result.out)
        raise RefusedError(
            refusal
            or submission.Refusal("refused", "sbatch failed", "submit it by hand to see why", plain(result.error))
        )

    def configuration(self) -> dict[str, str]:
        """Read Slurm's configuration; empty without an answer. Any user may read it."""
        result = capture(["scontrol", "show", "config"], TIMEOUT_S, env=self._environment)
        return accounting.parse_configuration(result.out) if result.status == 0 else {}

    def finish(self, job_id: str) -> None:
        """Ask the job's script to finish the running requests and to end."""
        self._run(["scancel", "--signal=HUP", "--batch", job_id])

    def cancel(self, job_id: str) -> None:
        """Cancel a job at once.

        :raises RemoteFailureError: if Slurm does not take it.
        """
        result = self._run(["scancel", job_id])
        if result.status:
            raise RemoteFailureError(f"job {job_id} to be cancelled", plain(result.error), "see squeue --me")
