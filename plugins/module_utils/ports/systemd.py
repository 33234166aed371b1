# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd of this host: the state of units, and the commands that change it."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InvalidInputError, NotFoundError, RemoteFailureError
from ..core.host import unit_syntax
from . import commands

UNIT_DIRECTORY = Path("/etc/systemd/system")
# A start of the head waits for its workers.
JOB_TIMEOUT_S = 1800
SETTLE_PAUSE_S = 0.5
# Newer than every systemd: all directives are known.
NEWEST = 10_000
# Lines that are read to find the last words: systemd may write a line for each directive that it ignores.
LAST_LINES = 200
# Most lines that are read of an invocation's journal.
LONGEST_JOURNAL = 4000
# systemd 239 names the socket: "Service X not loaded, Y.socket cannot be started."
_NO_SERVICE = re.compile(r"not loaded, (?:socket|\S+\.socket) cannot be started")
_PROPERTIES = (
    "ActiveState,SubState,UnitFileState,MainPID,NRestarts,InvocationID,ActiveEnterTimestamp,"
    "ActiveEnterTimestampMonotonic,NeedDaemonReload"
)


@dataclass(frozen=True)
class UnitState:
    """State of a unit as systemd reports it; pid is 0 if no process runs."""

    active_state: str = "inactive"
    sub_state: str = "dead"
    enabled: bool = False
    pid: int = 0
    restarts: int = 0
    invocation: str = ""
    since: str = ""
    # Seconds of the monotonic clock at which it became active; 0 if it never was.
    since_monotonic: float = 0.0
    # The unit's file has changed since systemd read it.
    needs_reload: bool = False


def version() -> int:
    """Return the version of this host's systemd, or NEWEST without one."""
    try:
        answer = commands.run(["systemctl", "--version"])
    except NotFoundError:
        return NEWEST
    found = re.match(r"systemd (\d+)", answer.out)
    return int(found[1]) if found else NEWEST


def _systemctl(*words: str, timeout: float = 60) -> None:
    answer = commands.run(["systemctl", *words], timeout=timeout)
    if answer.rc != 0:
        said = last_words(words[-1]) if words[0] in ("start", "restart") else ""
        raise RemoteFailureError(
            f"systemctl {' '.join(words)} to succeed",
            said or f"status {answer.rc}, {answer.err.strip() or answer.out.strip()}",
            f"fix the cause; journalctl -u {words[-1]} has all log lines",
        )


def last_words(unit: str, lines: int = 5) -> str:
    """Return the last log lines of a unit, which say more than systemctl's error."""
    answer = commands.run(
        ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={max(LAST_LINES, lines)}", f"--unit={unit}"]
    )
    said = [line.strip() for line in answer.out.splitlines() if not unit_syntax.is_unknown_directive(line)]
    return " | ".join([line for line in said if line][-lines:])


def show(unit: str) -> UnitState:
    """Return a unit's state. A unit that does not exist is inactive, also on a host without systemd."""
    try:
        answer = commands.run(["systemctl", "show", unit, f"--property={_PROPERTIES}"])
    except NotFoundError:
        return UnitState()
    found = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line)
    return UnitState(
        active_state=found.get("ActiveState", "inactive"),
        sub_state=found.get("SubState", "dead"),
        enabled=found.get("UnitFileState", "") == "enabled",
        pid=int(found.get("MainPID") or 0),
        restarts=int(found.get("NRestarts") or 0),
        invocation=found.get("InvocationID", ""),
        since=found.get("ActiveEnterTimestamp", ""),
        since_monotonic=int(found.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
        needs_reload=found.get("NeedDaemonReload", "no") == "yes",
    )


def started_before(state: UnitState, path: Path) -> bool:
    """Return whether a unit became active before a file was written, so that it cannot have that text."""
    return path.stat().st_mtime > time.time() - (time.monotonic() - state.since_monotonic)


def verify(unit: str, text: str) -> None:
    """Let systemd check a unit under its own name before it is installed."""
    with tempfile.TemporaryDirectory(prefix="herd-unit.") as scratch:
        path = Path(scratch, unit)
        path.write_text(text, encoding="utf-8")
        answer = commands.run(["systemd-analyze", "verify", "--man=no", str(path)])
    # systemd also reports faults of other units, which are not this unit's.
    ours = [line for line in answer.err.splitlines() if unit in line and not unit_syntax.is_unknown_directive(line)]
    # A socket is installed before the service that it starts.
    ours = [line for line in ours if not _NO_SERVICE.search(line)]
    if answer.rc != 0 and ours:
        raise InvalidInputError(
            f"a unit {unit} that systemd accepts", "; ".join(ours), "correct the variable that the text is made from"
        )


def reload() -> None:
    """Reload the unit files."""
    _systemctl("daemon-reload")


def enable(unit: str) -> None:
    _systemctl("enable", "--quiet", unit)


def disable(unit: str) -> None:
    _systemctl("disable", "--quiet", unit)


def start(unit: str) -> None:
    """Start a unit and wait for its job; reset a failed one first."""
    if show(unit).active_state == "failed":
        _systemctl("reset-failed", unit)
    _systemctl("start", unit, timeout=JOB_TIMEOUT_S)


def restart(*units: str) -> None:
    """Restart units by one call, so that systemd completes it whatever happens to the caller."""
    _systemctl("restart", *units, timeout=JOB_TIMEOUT_S)


def reload_unit(unit: str) -> None:
    _systemctl("reload", unit, timeout=JOB_TIMEOUT_S)


def stop(unit: str, wait: bool = True) -> None:
    """Stop a unit, and wait for its job if requested."""
    _systemctl("stop", *([] if wait else ["--no-block"]), unit, timeout=JOB_TIMEOUT_S)


def settle(unit: str, timeout_s: float) -> UnitState:
    """Wait until a stopping unit has stopped, and return its state.

    A start job that is queued meanwhile would wait as long, and would stay if the caller gives up.

    :raises RemoteFailureError: if the unit still stops after timeout_s seconds.
    """
    deadline = time.monotonic() + timeout_s
    while (state := show(unit)).active_state == "deactivating":
        if time.monotonic() >= deadline:
            raise RemoteFailureError(
                f"{unit} to stop within {timeout_s:g} seconds",
                "that it still serves its last connections",
                f"try again when they have closed (systemctl status {unit}), or kill it with "
                f"systemctl kill --signal=SIGKILL {unit}",
            )
        time.sleep(SETTLE_PAUSE_S)
    return state


def restart_within(unit: str, timeout_s: float) -> None:
    """Restart a unit that stops slowly. If it does not stop in time, no job stays that would start it later."""
    # systemd starts the stop job at once, unless another job of the unit is queued.
    stop(unit, wait=False)
    deadline = time.monotonic() + SETTLE_PAUSE_S
    while show(unit).active_state == "active" and time.monotonic() < deadline:
        time.sleep(SETTLE_PAUSE_S / 10)
    settle(unit, timeout_s)
    start(unit)


def journal_of(invocation: str, until: Sequence[str]) -> str:
    """Read the journal of one invocation of a unit from its start.

    :param until: texts that end the reading with the first line that has one of them.
    """
    if not invocation:
        return ""
    lines: list[str] = []

    def keep(line: str) -> bool:
        lines.append(line)
        return len(lines) >= LONGEST_JOURNAL or any(word in line for word in until)

    # It is streamed, because the journal of a long run is large.
    commands.stream(
        ["journalctl", "--quiet", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}"],
        keep,
        errors_too=False,
    )
    return "".join(lines)
