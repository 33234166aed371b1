# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what the loss of a rank of a vLLM job costs: until it is noticed, until all has ended, until it serves."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from .recovery_page import vllm_cells
from .slurm import CONTROLLER, until
from .streams import Answer
from .vllm import LOADED_S, NODES, NOTICED_S, OVER, USER, VllmLab

#: The release of vLLM that tools/vllm-ready installs.
VERSION = "0.32.0"
#: Tokens of a stream that outlasts each loss, and seconds until it runs.
LONG, RUNS_S = 900, 2.0
#: Seconds from the notice until no process of vLLM is left: the farewell to clients, and Slurm's own wait.
ENDED_S = 30.0


@dataclass
class LossRow:
    """The cost of one loss in seconds; -1 if it is not measured.

    :ivar noticed: until the job's status says that it is over, or has started again.
    :ivar ended: until no process of vLLM is left on any node.
    :ivar told: until the client of a running stream has its end.
    :ivar served: until a request to the requeued job is answered.
    :ivar failed: requests that were accepted and not answered.
    :ivar reason: what the job says.
    """

    what: str
    noticed: float = -1.0
    ended: float = -1.0
    told: float = -1.0
    served: float = -1.0
    failed: int = 0
    reason: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table's row."""
        return vllm_cells(asdict(self))


class Stream:
    """A long stream of a client."""

    def __init__(self, lab: VllmLab, job: dict[str, Any], tokens: int = LONG) -> None:
        self.ended_at = 0.0
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Answer] = self._pool.submit(self._run, lab, job, tokens)
        time.sleep(RUNS_S)
        assert not self._future.done(), self._future.result().text[-500:]

    def _run(self, lab: VllmLab, job: dict[str, Any], tokens: int) -> Answer:
        try:
            return lab.chat_with(job, tokens, stream=True, seconds=120.0)
        finally:
            self.ended_at = time.monotonic()

    def result(self, seconds: float) -> Answer:
        """Return what the client got."""
        try:
            return self._future.result(timeout=seconds)
        finally:
            self._pool.shutdown(wait=False)


def is_complete(answer: Answer) -> bool:
    """Return whether a stream has all of its tokens."""
    return answer.status == 200 and answer.is_whole and '"error"' not in answer.text and "[DONE]" in answer.text


class Loss:
    """One loss, from its cause until the job serves again.

    :ivar began: when the cause happened, by the monotonic clock.
    """

    def __init__(self, lab: VllmLab, before: dict[str, Any], what: str, stream: Stream | None = None) -> None:
        self.lab, self.before, self.row, self.stream = lab, before, LossRow(what), stream
        self.began = time.monotonic()

    def is_noticed(self) -> bool:
        """Return whether the job says that it is over, or is no longer the start that it was."""
        now = self.lab.status(self.before["job_id"])
        is_over = now.get("phase") in OVER or now.get("restarts", 0) > self.before["restarts"]
        if is_over and not self.row.reason:
            self.row.reason = str(now.get("reason", ""))
        return is_over

    def notice(self, limit: float = NOTICED_S) -> None:
        """Wait until the loss is noticed, and until every process of vLLM has ended."""
        until(f"{self.row.what}: noticed", self.is_noticed, limit + 10, every=0.1)
        self.row.noticed = time.monotonic() - self.began
        until(f"{self.row.what}: ended", self.lab.is_clear, ENDED_S, every=0.1)
        self.row.ended = time.monotonic() - self.began
        if self.stream is not None:
            self.row.failed = int(not is_complete(self.stream.result(ENDED_S)))
            self.row.told = self.stream.ended_at - self.began
            assert self.row.failed == 1, "the stream was over before the loss"
            assert self.row.told <= limit + 5, self.row
        assert self.row.noticed <= limit, self.row
        assert self.row.reason, self.row

    def serve(self) -> dict[str, Any]:
        """Wait until the requeued job answers, and return its state."""
        after = self.lab.wait_job(after=self.before["started"], seconds=LOADED_S)
        assert self.lab.chat_with(after).status == 200
        self.row.served = time.monotonic() - self.began
        assert after["job_id"] == self.before["job_id"]
        assert after["restarts"] == self.before["restarts"] + 1
        return after


def restore(lab: VllmLab) -> None:
    """Repair the nodes, and let the jobs forget their failures, as after ten minutes of service."""
    for node in NODES:
        lab.cable(node, up=True)
        lab.on(node, f"pkill -CONT -u {USER}")
        lab.on(CONTROLLER, f"scontrol update nodename={node} state=resume")
    for failures in (lab.work / "jobs").glob("*/failures.json"):
        failures.unlink()


def empty_queue(lab: VllmLab) -> None:
    """Cancel the user's jobs, and wait until they have left the queue."""
    lab.user(f"scancel --user={USER}")
    until("the queue to be empty", lambda: not lab.queue(), 120)
