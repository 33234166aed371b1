# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say why a vLLM job does not start or has ended: the cause, the cure, and the page of the operator's manual.

The log of a job has the lines of all ranks, interleaved, and of each restart. The cause is the first line of the last
run that explains a death by itself: later errors, also those of other ranks, follow from it. Lines before the API was
up explain no later death. vLLM prints some sixty lines at exit that look like errors and are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..slurm import job_reasons, pending_reasons, submission
from ..slurm.queue import Ending
from ..text import plain
from . import progress
from .symptoms import memory, model, node, ranks, wrapper
from .symptoms.rule import CONSEQUENCE, WARNING, Rule, Settings

RULES: tuple[Rule, ...] = (*memory.RULES, *ranks.RULES, *model.RULES, *node.RULES, *wrapper.RULES)
#: Where the pages are, in the repository and beside an installation.
PAGES = "docs/operations/vllm"
#: Lines without meaning that vLLM, Python and nanobind print at exit, and where only a cache of metadata is missing.
_NOISE = (
    "nanobind: leaked", "nanobind: this is likely", "resource_tracker", "leaked semaphore", "leaked shared_memory",
    "destroy_process_group", "modelinfos", " - leaked ", "skipped remainder",
    "failed to automatically increase",
)  # fmt: skip
#: The first line of each run, by the job's script or by one of document 004, and the line after which earlier errors
#: explain no death.
_RUN_BEGINS = re.compile(r"herd: job \d+, start \d+: |^Starting .+ on \d+ nodes? \(\d+ GPUs?\)")
_RUN_MARKS = ("herd: job ", "Starting ")
_IS_UP = "Application startup complete"
#: The job was asked to end: what follows are consequences.
_ASKED_TO_END = ("[shutdown] API server: shutdown triggered", "herd: draining (", "DUE TO PREEMPTION", "CANCELLED AT")
_ERROR = re.compile(r"\b(?:Worker\w*|EngineCore\w*|MainProcess) pid=\d+\).*?\bERROR \S+ \S+ \[[^\]]*\] (?P<text>.+)")
#: Lines that may be errors, and those of them that are none: warnings that quote one.
_MAYBE_ERROR = re.compile(r"ERROR |Error: |error[:,] ")
_LOGGED = re.compile(r"\) (?:WARNING|INFO|DEBUG) ")
_EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Interrupt)\b: ")
#: Slurm's own lines also count after the job was asked to end.
_SLURM = ("slurmstepd:", "srun:")
_LABEL = re.compile(r"^(\d{1,4}): ")
#: Longer lines are cut: a prompt may be logged.
LONGEST_LINE = 4096


@dataclass(frozen=True)
class Diagnosis:
    """A recognised trouble.

    :ivar name: its short name, for scripts.
    :ivar reason: what is wrong. Without a full stop, as the cure.
    :ivar cure: what to do.
    :ivar page: file name of its page below PAGES.
    :ivar line: the line of the log that shows it; empty if Slurm told it.
    :ivar rank: the rank that printed it; None if unknown.
    :ivar is_warning: whether the job works nevertheless.
    :ivar is_permanent: whether another start with the same settings fails in the same way.
    """

    name: str
    reason: str
    cure: str
    page: str
    line: str = ""
    rank: int | None = None
    is_warning: bool = False
    is_permanent: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        where = f" (rank {self.rank})" if self.rank is not None else ""
        cure = f": {self.cure}" if self.cure else ""
        return f"{self.reason}{where}{cure} [{PAGES}/{self.page}]"


@dataclass(frozen=True)
class _Hit:
    weight: int
    number: int
    diagnosis: Diagnosis


def is_noise(line: str) -> bool:
    """Return whether a line looks like an error and is none."""
    return any(words in line for words in _NOISE)


class LogReader:
    """Takes a log line by line, and keeps only what was recognised.

    :ivar first_error: the first line of the run that looks like an error; empty if there is none.
    """

    def __init__(self) -> None:
        self._begin_run()

    def _begin_run(self) -> None:
        self._number = 0
        self._settings = Settings()
        self._hits: dict[str, _Hit] = {}
        self._other: _Hit | None = None
        self._is_asked = False
        self.first_error = ""

    def feed(self, line: str) -> None:
        """Take the next line."""
        self._number += 1
        line = line[:LONGEST_LINE].rstrip()
        # A log has a hundred thousand lines: plain searches come before patterns.
        if any(mark in line for mark in _RUN_MARKS) and _RUN_BEGINS.search(progress.message(line)):
            self._begin_run()
            return
        if is_noise(line):
            return
        self._settings.read(line)
        if not self.first_error and _MAYBE_ERROR.search(line) and not _LOGGED.search(line):
            self.first_error = plain(progress.message(line))
        if _IS_UP in line:
            self._hits = {name: hit for name, hit in self._hits.items() if hit.weight == WARNING}
            self._other = None
        if self._is_asked and not line.startswith(_SLURM):
            return
        self._match(line)
        self._is_asked = self._is_asked or any(mark in line for mark in _ASKED_TO_END)
        if "ERROR" in line and (found := _ERROR.search(line)):
            self._note_error(found["text"], line)

    def _note_error(self, text: str, line: str) -> None:
        """Keep the first error: the last line of a traceback names it, its first lines only say that there is one."""
        is_named = self._other is not None and _EXCEPTION.match(self._other.diagnosis.reason)
        if self._other is None or (not is_named and _EXCEPTION.match(text)):
            self._other = self._unknown(text, line)

    def _match(self, line: str) -> None:
        low = line.lower()
        for rule in RULES:
            if rule.words in low and (found := rule.pattern.search(progress.message(line))):
                text = found.string
                if rule.name not in self._hits:
                    explained = rule.explain(found, self._settings)
                    if explained is None:
                        continue
                    reason, cure = explained
                    diagnosis = Diagnosis(
                        rule.name, plain(reason).rstrip("."), plain(cure), f"{rule.page}.md", plain(text), _rank(line),
                        rule.weight == WARNING, rule.is_permanent,
                    )  # fmt: skip
                    self._hits[rule.name] = _Hit(rule.weight, self._number, diagnosis)
                return

    def _unknown(self, text: str, line: str) -> _Hit:
        what = plain(text)
        cure = "see the lines after it (herdctl vllm logs); the page lists the next steps"
        return _Hit(CONSEQUENCE, self._number, Diagnosis("unknown-error", what, cure, "README.md", what, _rank(line)))

    def diagnosis(self) -> Diagnosis | None:
        """Return the cause; else what follows from one, else a warning; None if nothing was recognised.

        A warning explains no end that was asked for.
        """
        hits = sorted(self._hits.values(), key=lambda hit: (hit.weight, hit.number))
        best = hits[0] if hits else None
        if self._other and (best is None or best.weight == WARNING):
            return self._other.diagnosis
        if best is None or (best.weight == WARNING and self._is_asked):
            return None
        return best.diagnosis

    def warnings(self) -> list[Diagnosis]:
        """Return the warnings in the order of the log."""
        hits = sorted(self._hits.values(), key=lambda hit: hit.number)
        return [hit.diagnosis for hit in hits if hit.weight == WARNING]


def _rank(line: str) -> int | None:
    found = _LABEL.match(line)
    return int(found[1]) if found else None


def read(lines: Iterable[str]) -> LogReader:
    """Read all lines of a log."""
    reader = LogReader()
    for line in lines:
        reader.feed(line)
    return reader


def diagnose(lines: Iterable[str]) -> Diagnosis | None:
    """Recognise the trouble in the lines of a log; None if nothing is known."""
    return read(lines).diagnosis()


def of_pending(reason: str, restarts: int = 0) -> Diagnosis:
    """Explain why Slurm does not start a job."""
    found = pending_reasons.explain(reason)
    text, cure = found.text, found.advice
    if reason.startswith("BeginTime") and not restarts:
        text = "its earliest start time has not come"
    if reason.startswith("Dependency") and not text.startswith("it depends"):
        text = "an earlier job of this model is still ending"
    page = {"limit": "limit-reached", "never": "limit-reached"}.get(found.kind, "job-pending")
    if not reason or reason == "None":
        text = "Slurm has not considered it yet"
    elif not text:
        text, cure = f"Slurm says {reason}", "see man squeue, section JOB REASON CODES"
    return Diagnosis(
        f"pending-{found.kind}", plain(text), cure, f"{page}.md", plain(reason), is_warning=found.starts_by_itself
    )


def of_refusal(refusal: submission.Refusal) -> Diagnosis:
    """Explain why sbatch refuses a job."""
    return Diagnosis(
        f"refused-{refusal.name}", refusal.reason, refusal.cure, "submission-refused.md", refusal.said,
        is_warning=refusal.is_temporary,
    )  # fmt: skip


_ENDINGS = {
    "OUT_OF_MEMORY": ("node-out-of-memory", "raise slurm.mem_per_gpu", "node-out-of-memory"),
    "TIMEOUT": (
        "time-limit", "raise slurm.time_default or the model's time (add 20 % for loading); it must be within the "
        "partition's limit", "time-limit",
    ),
    "NODE_FAIL": (
        "node-lost", "Slurm starts the job again by itself; sinfo -R says what is known of the node", "rank-lost",
    ),
    "BOOT_FAIL": ("node-lost", "launch it again; sinfo -R says what is known of the node", "rank-lost"),
    "PREEMPTED": ("preempted", "Slurm starts the job again by itself", "job-pending"),
    "CANCELLED": ("cancelled", "launch it again: herdctl vllm launch", "job-pending"),
    "DEADLINE": ("deadline", "launch it again without a deadline", "time-limit"),
}  # fmt: skip


def of_ending(job: str, ending: Ending, reader: LogReader) -> Diagnosis:
    """Explain why a job ended: by Slurm's record where that says why, else by the log."""
    said = job_reasons.explain(job, ending)[0]
    if ending.state in _ENDINGS:
        name, cure, page = _ENDINGS[ending.state]
        return Diagnosis(name, plain(said), cure, f"{page}.md", is_warning=ending.state in ("PREEMPTED", "NODE_FAIL"))
    found = reader.diagnosis()
    if found is not None and not found.is_warning:
        return found
    cure = "see the end of its log: herdctl vllm logs"
    return Diagnosis("ended", plain(said), cure, "README.md")
