# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Slurm for the times of this job: a preemption may come without a signal, and with another grace."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from ...core.slurm.drain import SlurmJobTimes, parse_job_times
from ..common import command

TIMEOUT_S = 15.0
#: Seconds between two questions while the job is not ready, and after a failure.
EVERY_S, AFTER_FAILURE_S = 5.0, 2.0


class SlurmTimesPoller:
    """Asks for the job's times in its own thread: an answer may take long.

    :param is_ready: whether the job serves. Its steps then get a signal of each preemption, so Slurm is only asked
        after a signal.
    """

    def __init__(self, job_id: str, is_ready: Callable[[], bool]) -> None:
        self._job_id, self._is_ready = job_id, is_ready
        self._requested = threading.Event()
        #: Answers, and the seconds before each one in which the job's times were unknown.
        self.answers: queue.Queue[tuple[SlurmJobTimes, float]] = queue.Queue()

    def ask(self) -> None:
        """Ask as soon as possible, and again until there is an answer."""
        self._requested.set()

    def follow(self) -> None:
        """Ask again and again."""
        known = time.monotonic()
        while True:
            is_requested = self._requested.wait(EVERY_S)
            if not is_requested and self._is_ready():
                known = time.monotonic()
                continue
            self._requested.clear()
            asked = time.monotonic()
            argv = ["env", "SLURM_TIME_FORMAT=%s", "scontrol", "show", "job", self._job_id]
            status, text = command.run(argv, TIMEOUT_S)
            times = parse_job_times(text)
            if status == 0 and times.end is not None:
                self.answers.put((times, time.monotonic() - known))
                known = asked
            elif is_requested:
                time.sleep(AFTER_FAILURE_S)
                self._requested.set()
