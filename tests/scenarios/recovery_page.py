# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/reference/recovery.md from the last measurements: chaos, soak, and the losses of vLLM's ranks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
FACTS = CLONE / "bench" / "results" / "recovery.json"
PAGE = CLONE / "docs" / "reference" / "recovery.md"

CHAOS_COLUMNS = (
    "what happens",
    "noticed",
    "serves again",
    "since its cause is gone",
    "requests failed",
    "model loads",
    "hands needed",
)
VLLM_COLUMNS = (
    "what happens",
    "noticed",
    "all has ended",
    "client is told",
    "serves again",
    "requests failed",
    "what the job says",
)

HEAD = """# Recovery

For operators who want to know how long a failure lasts. All times are measured. `make chaos` causes each failure on
three hosts of the lab under a light load, and writes the first table. `make soak` keeps the lab busy without a failure,
and writes the second. `make losses` takes ranks from a job of vLLM, and writes the third. The numbers are those of the
last recorded runs (`bench/results/recovery.json`), on a machine with two shared processors and a small model. Times to
notice hold for any cluster. Times to serve again grow with the time that a model takes to load. What the agents do is
on [their page](../operations/agent.md).
"""

BREAKS = """
## What breaks

Times are in seconds. *Noticed*: until an agent or the worker readiness check logs the failure. *Serves again*: until
a request that was sent after that is answered. Where recovery needs something from outside (a cable, power), the
next column counts from its return. *Failed* requests were accepted and not answered; *refused* ones met a closed port
or a model that loads. The client sends one request at a time and gives up on it after 15 seconds. The tests enforce
the limits: 2 s to notice a process that is gone and 10 s for a host; 10 s and the model's load time until it serves;
and no request that is asked after the recovery fails.
"""

NOTES = """
- *Hands needed*: an action outside of the machine, or the reversal of one by hand. The group itself never needs any.
- A library changes the clock of the engine and of the agents only (`molecule/chaos/tests/test_chaos.py`), because hosts
  of the lab share the machine's clock. This shows that their timeouts do not depend on the time of day. It does not
  show what a real change does to systemd's calendar timers, the order of the journal, and certificates.
- Out of memory: the kernel kills a process because of a limit that the test sets.
"""

BUSY = """
## What does not break

`make soak`: {minutes:g} minutes of clients that stream or do not, hang up in the middle, and send long prompts. The
agents must notice nothing and restart nothing. Their log in that time: {said}. All processes were the same at the end.

| phase | answered | hung up by the client | failed | longest, in seconds |
|---|---|---|---|---|
{rows}
"""

LOSSES = """
## What breaks in a job of vLLM

`make losses`: a real Slurm job of vLLM {version} on the processors of two nodes, tensor parallel size 2, submitted by
an ordinary user. Times are in seconds. *Noticed*: until the job's status says that it is over. *All has ended*: until
no process of vLLM is left on either node. *Client is told*: until the client of a running stream has its end. *Serves
again*: until the job, which requeues itself, answers a request. Of this, Slurm waits for {pause} s
(`AuthInfo=cred_expire`, 120 s by default), and the rest is the start of vLLM. Nobody repairs anything but the cause.
The tests enforce 10 s to notice.

"""

LOSS_NOTES = """
- *Requests failed* were accepted and not answered. Between two starts the port is closed, and clients are refused.
- vLLM alone notices few of these: its ranks do not watch each other, and `/health` stays 200.
- A rank that never comes is noticed 10 s after the limit for it (`join`), which the test shortens from 300 to 20 s.
"""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _seconds(value: float) -> str:
    return "-" if value < 0 else f"{value:.1f}"


def chaos_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of one loss."""
    times = [_seconds(row[name]) for name in ("noticed", "served", "served_after_return")]
    failed = f"{row['failed']} (and {row['refused']} refused)"
    return (row["what"], *times, failed, _seconds(row["load"]), row["hand"])


def vllm_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of one loss of a vLLM job."""
    times = [_seconds(row[name]) for name in ("noticed", "ended", "told", "served")]
    return (row["what"], *times, str(row["failed"]), row["reason"])


def read_facts(path: Path = FACTS) -> dict[str, Any]:
    """Return the measurements so far."""
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_facts(part: str, found: Any, path: Path = FACTS, page: Path = PAGE) -> None:
    """Replace one part of the measurements, and write the page."""
    facts = {**read_facts(path), part: found}
    path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    page.write_text(render(facts), encoding="utf-8")


def render(facts: Mapping[str, Any]) -> str:
    """Return the page."""
    text = HEAD
    if "chaos" in facts:
        text += BREAKS + "\n" + _table(CHAOS_COLUMNS, [chaos_cells(row) for row in facts["chaos"]]) + NOTES
    if "busy" in facts:
        busy = facts["busy"]
        said = [f"{name}: {line}" for name, lines in busy["said"].items() for line in lines]
        names = ("what", "answered", "hung_up", "failed", "longest_s")
        rows = "\n".join(f"| {' | '.join(str(phase[name]) for name in names)} |" for phase in busy["phases"])
        text += BUSY.format(minutes=busy["minutes"], rows=rows, said="; ".join(said) or "nothing")
    if "vllm" in facts:
        losses = facts["vllm"]
        text += LOSSES.format(version=losses["version"], pause=losses["pause_s"])
        text += _table(VLLM_COLUMNS, [vllm_cells(row) for row in losses["rows"]]) + LOSS_NOTES
    return text
