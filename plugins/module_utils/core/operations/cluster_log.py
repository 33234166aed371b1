# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the units whose journals are read, read journalctl's output, and join the lines of several hosts by time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import timefmt
from ..errors import InvalidInputError
from ..release import units
from ..text import terminal_text
from . import redaction

#: Units by the short names that an operator may write.
UNITS = {
    "head": units.HEAD,
    "worker": units.WORKER,
    "router": units.ROUTER,
    "agent": "herd-agent.service",
    "gateway": "herd-gateway@.service",
    "tiers": "herd-tiers.service",
    "guard": "herd-job-guard.service",
    "nginx": "nginx.service",
}
#: Largest number of lines of a host, and of characters of a line. journalctl leaves out texts of more than 4096 bytes.
MOST_LINES, LONGEST_TEXT = 5000, 2000
TOO_LONG = "[a line of more than 4096 bytes]"
_FIELDS = "MESSAGE,_SYSTEMD_UNIT,UNIT"
_KEY_BEGINS, _KEY_ENDS = (
    re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile("-----END [A-Z ]*PRIVATE KEY-----"),
)


def chosen(present: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return the units of a host that an operator asks for; all for an empty list.

    :param wanted: short names, or names of units with or without C(.service).
    :raises InvalidInputError: for a name that no host of any site has.
    """
    if not wanted:
        return list(present)
    found = []
    for name in wanted:
        unit = UNITS.get(name) or (name if name.endswith(".service") else f"{name}.service")
        if unit not in UNITS.values() and not unit.startswith(("herd-", "llama-")):
            raise InvalidInputError(
                f"units among {', '.join(UNITS)}, jobs, job-NUMBER, or a unit of the collection such as herd-queue",
                repr(name[:80]),
                "correct the list of units",
            )
        found.append(unit)
    return [unit for unit in present if unit in found]


def journal_command(units: Sequence[str], since: str, until: str, lines: int) -> list[str]:
    """Write the command that prints the last lines of a window of time as JSON, with one line more than the limit."""
    argv = [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--output=json",
        f"--output-fields={_FIELDS}",
        f"--lines={lines + 1}",
    ]
    argv += [f"--since={since}"] if since else []
    argv += [f"--until={until}"] if until else []
    # Of a template unit, all instances.
    return [*argv, *(f"--unit={unit.replace('@.', '@*.')}" for unit in units)]


def read_journal(output: str, secrets: Sequence[str], lines: int) -> dict[str, Any]:
    """Read the output of C(journal_command).

    :param secrets: words that are replaced, beside all that looks like a secret.
    :returns: C(lines) with time (microseconds), unit and text, and C(cut), whether earlier lines were left out.
    """
    return last([record for line in output.splitlines() if (record := _record(line))], secrets, lines)


def last(records: Sequence[dict[str, Any]], secrets: Sequence[str], lines: int) -> dict[str, Any]:
    """Return the last lines of these records, as C(read_journal) does."""
    kept = records[-lines:] if len(records) > lines else records
    return {"lines": list(_without_secrets(kept, secrets)), "cut": len(records) > lines}


def merged(one: Mapping[str, Any], other: Mapping[str, Any], lines: int) -> dict[str, Any]:
    """Join two such results of a host by time, and keep the last lines."""
    found = sorted([*one["lines"], *other["lines"]], key=lambda record: record["time"])
    return {"lines": found[-lines:], "cut": one["cut"] or other["cut"] or len(found) > lines}


def _record(line: str) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
        time = int(data["__REALTIME_TIMESTAMP"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # What systemd says about a unit has the unit's name in another field.
    unit = data.get("UNIT") or data.get("_SYSTEMD_UNIT") or ""
    return {"time": time, "unit": str(unit)[:256], "text": _text(data.get("MESSAGE"))}


def _text(message: Any) -> str:
    """Return a message, which journalctl writes as text, as bytes, or as null if it is too long."""
    if message is None:
        return TOO_LONG
    if isinstance(message, list):
        are_bytes = all(isinstance(byte, int) and 0 <= byte < 256 for byte in message)
        message = bytes(message).decode(errors="replace") if are_bytes else " ".join(map(str, message))
    return str(message)


def _without_secrets(records: Sequence[Mapping[str, Any]], secrets: Sequence[str]) -> Iterator[dict[str, Any]]:
    in_key: set[str] = set()
    for record in records:
        unit, text = record["unit"], record["text"]
        if unit in in_key or _KEY_BEGINS.search(text):
            # The lines of a private key follow each other.
            in_key.add(unit)
            if _KEY_ENDS.search(text):
                in_key.discard(unit)
            text = redaction.LEFT_OUT
        text = terminal_text(redaction.redact(text, secrets))
        yield {**record, "text": text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"}


def joined(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Join the journals of several hosts.

    :param answers: the result of each host: C(lines) and C(cut), or C(unreachable) or C(failed) with C(msg).
    :returns: C(lines) with time, host, unit and text, ordered by time; C(problems) of hosts; all as C(text).
    """
    lines = [
        {"time": line["time"], "host": host, "unit": line["unit"], "text": line["text"]}
        for host, answer in answers.items()
        for line in answer.get("lines") or ()
    ]
    lines.sort(key=lambda line: line["time"])
    problems = [text for host, answer in sorted(answers.items()) if (text := _problem(host, answer))]
    rows = [{**line, "time": _stamp(line["time"])} for line in lines]
    return {"lines": rows, "problems": problems, "text": _table(rows, problems)}


def _problem(host: str, answer: Mapping[str, Any]) -> str:
    said = " ".join(str(answer.get("msg") or "it says nothing").split())
    if answer.get("unreachable"):
        return f"{host} cannot be reached: {said}"
    if "lines" not in answer:
        return f"{host}: {said}"
    if answer.get("cut"):
        return f"{host} has more lines in this window: choose a shorter one, fewer units, or a larger logs_lines"
    return ""


def _stamp(microseconds: int) -> str:
    """Return a time in UTC with milliseconds."""
    seconds, rest = divmod(int(microseconds), 1_000_000)
    return f"{timefmt.iso(seconds)[:-1]}.{rest // 1000:03d}Z"


def _table(rows: Sequence[Mapping[str, str]], problems: Sequence[str]) -> str:
    units = {row["unit"]: row["unit"].removesuffix(".service") for row in rows}
    hosts, names = max((len(row["host"]) for row in rows), default=0), max(map(len, units.values()), default=0)
    # A text of several lines stays below its own time.
    gap = " " * (24 + hosts + names + 6)
    lines = [
        f"{row['time']}  {row['host']:{hosts}}  {units[row['unit']]:{names}}  " + row["text"].replace("\n", f"\n{gap}")
        for row in rows
    ]
    return "\n".join([*(lines or ["no lines in this window"]), *([""] if problems else []), *problems])
