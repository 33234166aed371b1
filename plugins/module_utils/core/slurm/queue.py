# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the output of squeue and sacct.

Their JSON is unreliable in the versions of enterprise distributions, and a name may contain any separator. So squeue
prints columns of fixed width, in bytes. Times are in seconds since 1970 (C(SLURM_TIME_FORMAT=%s)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError
from ..text import bytes_of

#: Environment variables of squeue and sacct.
ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s"}
_COLUMNS = (
    ("JobArrayID", 24), ("Name", 64), ("UserName", 40), ("State", 20), ("Reason", 160), ("RestartCnt", 8),
    ("SubmitTime", 24), ("StartTime", 24), ("EndTime", 24), ("NodeList", 512), ("ReqNodes", 512), ("Partition", 64),
    ("QOS", 64), ("exit_code", 12), ("Comment", 128),
)  # fmt: skip
_NAMES = [name for name, _width in _COLUMNS]
#: Begin and end of columns that hold one word for every job. Other lines belong to no job.
_PLACES = [
    (start, start + _COLUMNS[index][1])
    for index in map(_NAMES.index, ("RestartCnt", "SubmitTime"))
    for start in (sum(width for _name, width in _COLUMNS[:index]),)
]
_WORD = re.compile(rb"\S+ *")
SQUEUE_FORMAT = ",".join(f"{name}:{width}" for name, width in _COLUMNS)
SACCT_FIELDS = "JobIDRaw,State,ExitCode,ElapsedRaw,Timelimit,ReqMem,MaxRSS,NodeList"
PENDING = frozenset(
    {"PENDING", "EXPEDITING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
RUNNING = frozenset(
    {
        "RUNNING", "CONFIGURING", "POWER_UP_NODE", "SIGNALING", "STAGE_OUT", "RESIZING", "SUSPENDED", "STOPPED",
    }
)  # fmt: skip
#: All final states. A job with any other state is live, also with one of a later Slurm: Slurm has few states and more
#: and more flags, and shows a flag in place of the state.
OVER = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "TIMEOUT",
    }
)  # fmt: skip
#: Pending until a user releases the job.
HELD = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
COMPLETING = "COMPLETING"
_NONE = frozenset({"", "(null)", "None", "N/A", "n/a", "Unknown", "None assigned"})
#: Number of a job, of a member of an array (12_3) and of a part of a heterogeneous job (12+0).
_NUMBER = re.compile(r"([0-9]+)([_+]\S*)?")
_LENGTH = re.compile(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2})")


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it.

    :param start: when it started, or is expected to; None if Slurm does not know.
    :param end: when it ended, or its time limit ends it.
    """

    id: str
    name: str
    user: str
    state: str
    reason: str = ""
    restarts: int = 0
    start: float | None = None
    end: float | None = None
    nodes: tuple[str, ...] = ()
    qos: str = ""
    exit_code: int = 0
    comment: str = ""

    @property
    def number(self) -> int:
        """Its number, without the member or part."""
        match = _NUMBER.fullmatch(self.id)
        return int(match.group(1)) if match else 0

    @property
    def is_pending(self) -> bool:
        """Whether it waits for nodes or for a release."""
        return self.state in PENDING

    @property
    def is_running(self) -> bool:
        """Whether it has its nodes."""
        return self.state in RUNNING

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self.state not in OVER


@dataclass(frozen=True)
class Ending:
    """How a job's last run ended, from accounting and its steps.

    :param state: Slurm's state, empty if unknown.
    :param by: number of the user who cancelled it.
    :param elapsed: seconds that it ran.
    :param needed: largest memory of a step on a node, in bytes.
    :param allowed: its memory limit, as Slurm prints it.
    :param log: last message of its log.
    """

    state: str = ""
    by: str = ""
    exit_code: int = 0
    signal: int = 0
    elapsed: float = 0.0
    limit: str = ""
    needed: int = 0
    allowed: str = ""
    nodes: str = ""
    reason: str = ""
    log: str = ""


def _word(text: str) -> str:
    word = text.strip()
    return "" if word in _NONE else word


def parse_time(text: str) -> float | None:
    """Read a time in seconds since 1970; None if Slurm does not know it."""
    word = text.strip()
    return float(word) if word.isdigit() and int(word) else None


def seconds(text: str) -> int:
    """Convert a length of time of Slurm to seconds: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    word = str(text).strip()
    if not _LENGTH.fullmatch(word):
        raise InvalidInputError("a time limit such as 12:00:00 or 7-00:00:00", repr(text), "correct it in herd_tiers")
    days, dash, clock = word.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    # Without days and hours, the first part is minutes.
    if not dash and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, rest = (*parts, 0, 0)[:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest


def _whole(text: str) -> int:
    word = text.strip()
    return int(word) if word.isdigit() else 0


def hosts(text: str) -> tuple[str, ...]:
    """Expand Slurm's list of hosts: C(vasp-[01-03,05],ctl)."""
    found: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", _word(text)):
        found += _expand(part)
    return tuple(found)


def _expand(part: str) -> Iterator[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        yield part.strip()
        return
    inside, _bracket, after = rest.partition("]")
    for piece in inside.split(","):
        first, dash, last = piece.partition("-")
        if not (dash and first.isdigit() and last.isdigit() and int(last) - int(first) < 65536):
            numbers: Sequence[str] = (piece,)
        else:
            numbers = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for number in numbers:
            for tail in _expand(after) if after else ("",):
                yield f"{before}{number}{tail}"


def _is_aligned(line: bytes) -> bool:
    """Say whether a line belongs to a job, with its columns in place."""
    number = line[: _COLUMNS[0][1]].decode("utf-8", "replace").strip()
    return _NUMBER.fullmatch(number) is not None and all(_WORD.fullmatch(line, *place) for place in _PLACES)


def _lines(printed: bytes) -> Iterator[bytes]:
    """Yield the line of each job. A newline in a job's name hides no other job."""
    kept = b""
    for part in printed.split(b"\n"):
        joined = kept + b"\n" + part if kept else part
        line = next((line for line in (part, joined) if _is_aligned(line)), b"")
        kept = b"" if line or len(joined) >= _PLACES[-1][1] else joined
        if line:
            yield line


def parse_queue(printed: bytes) -> list[Job]:
    """Parse the output of C(squeue --noheader --states=all --Format=SQUEUE_FORMAT).

    :raises ValueError: if no line belongs to a job: then no job is known.
    """
    found = []
    for line in _lines(printed):
        facts, at = {}, 0
        for name, width in _COLUMNS:
            facts[name], at = line[at : at + width].decode("utf-8", "replace"), at + width
        found.append(
            Job(
                id=facts["JobArrayID"].strip(),
                name=facts["Name"].strip(),
                user=facts["UserName"].strip(),
                state=facts["State"].strip(),
                reason=_word(facts["Reason"]),
                restarts=_whole(facts["RestartCnt"]),
                start=parse_time(facts["StartTime"]),
                end=parse_time(facts["EndTime"]),
                nodes=hosts(facts["NodeList"]) or hosts(facts["ReqNodes"]),
                qos=facts["QOS"].strip(),
                exit_code=_whole(facts["exit_code"]),
                comment=_word(facts["Comment"]),
            )
        )
    if not found and printed.strip():
        raise ValueError(f"squeue printed no jobs but {printed[:200]!r}")
    return found


def _last_group(steps: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Select the last steps of the engines, one for each node, and the job's script."""
    script: list[Mapping[str, str]] = []
    group: list[Mapping[str, str]] = []
    for step in steps:
        if not step["JobIDRaw"].rpartition(".")[2].isdigit():
            script.append(step)
            continue
        if any(other["NodeList"] == step["NodeList"] for other in group):
            group = []
        group.append(step)
    return [*script, *group]


def parse_ending(text: str, job_id: str) -> Ending:
    """Read how a job's last run ended from C(sacct -n -P -D --jobs=ID --format=SACCT_FIELDS).

    :returns: an ending without a state if accounting does not know the job.
    """
    runs: list[list[Mapping[str, str]]] = []
    for line in text.splitlines():
        names, values = SACCT_FIELDS.split(","), line.split("|")
        if len(values) != len(names):
            continue
        facts = dict(zip(names, values))
        number = facts["JobIDRaw"]
        if number == job_id:
            runs.append([facts])
        elif number.startswith(f"{job_id}.") and runs:
            runs[-1].append(facts)
    # A job that is cancelled while it is pending has an empty last run.
    if not runs:
        return Ending()
    job, steps = runs[-1][0], runs[-1][1:]
    state, _space, by = job["State"].partition(" by ")
    # A step shows that memory ran out; the job itself is only FAILED. Steps of an earlier group do not count: the
    # engines were started again after them.
    if state in ("FAILED", "COMPLETED") and any(step["State"].startswith("OUT_OF_ME") for step in _last_group(steps)):
        state = "OUT_OF_MEMORY"
    code, _colon, number = job["ExitCode"].partition(":")
    return Ending(
        state=state.split()[0] if state else "",
        by=by,
        exit_code=_whole(code),
        signal=_whole(number),
        elapsed=float(_whole(job["ElapsedRaw"])),
        limit=_word(job["Timelimit"]),
        needed=max((bytes_of(step["MaxRSS"]) or 0 for step in steps), default=0),
        allowed=_word(job["ReqMem"]),
        nodes=_word(job["NodeList"]),
    )


def last_message(text: str) -> str:
    """Select the line of a job's log that explains its end."""
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line).strip() for line in text.splitlines()]
    for keyword in ("lost: ", "expected ", "error: "):
        for line in reversed(lines):
            if keyword in line:
                return line.partition("lost: ")[2] or line
    return next((line for line in reversed(lines) if line), "")
