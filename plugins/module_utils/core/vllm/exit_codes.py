# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit statuses of C(herdctl vllm), for scripts. Each command's C(--help) lists those that it uses."""

from __future__ import annotations

#: The command did what it was asked for: the model is ready, the answer is complete.
OK = 0
#: The job or the request failed.
FAILED = 1
#: A wrong command line or configuration, or a file or program that is missing.
CONFIG = 2
#: The model is not ready: it is pending, starting, or does not run.
NOT_READY = 3
#: Slurm refuses the job: account, partition, QoS, limits, or more than any node has.
REFUSED = 4
#: The time that the command was allowed to wait is over. The job goes on.
TIMED_OUT = 5
#: The model does not fit on the GPUs.
DOES_NOT_FIT = 6
#: The user pressed Ctrl-C. The job goes on.
INTERRUPTED = 130

MEANING = {
    OK: "done, ready or answered",
    FAILED: "the job or the request failed",
    CONFIG: "wrong command line or configuration",
    NOT_READY: "the model is not ready",
    REFUSED: "Slurm refuses the job",
    TIMED_OUT: "the time to wait is over; the job goes on",
    DOES_NOT_FIT: "the model does not fit on the GPUs",
    INTERRUPTED: "interrupted; the job goes on",
}


def explain(*statuses: int) -> str:
    """List exit statuses for a help text: C(0 done, 3 the model is not ready)."""
    return ", ".join(f"{status} {MEANING[status]}" for status in statuses)
