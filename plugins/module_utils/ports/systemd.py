# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd of this host: what a unit is doing, and the commands that change it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InvalidInputError, NotFoundError, RemoteFailureError
from . import commands

UNIT_DIRECTORY = Path("/etc/systemd/system")
# A start of the head waits for its workers.
JOB_TIMEOUT_S = 1800
SETTLE_PAUSE_S = 0.5
_PROPERTIES = (
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "InvocationID",
    "ActiveEnterTimestamp",
    "Result",
    "NeedDaemonReload",
)


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit; pid is 0 where no process runs."""

    active_state: str = "inactive"
    sub_state: str = "dead"
    enabled: bool = False
    pid: int = 0
    restarts: int = 0
    invocation: str = ""
    since: str = ""
    result: str = ""
    # The unit's file is not the one that systemd has read.
    needs_reload: bool = False


def _systemctl(*words: str, timeout: float = 60) -> None:
    answer = commands.run(["systemctl", *words], timeout=timeout)
    if answer.rc != 0:
        said = last_words(words[-1]) if words[0] in ("start", "restart") else ""
        raise RemoteFailureError(
            f"systemctl {' '.join(words)} to succeed",
            said or f"status {answer.rc}, {answer.err.strip() or answer.out.strip()}",
            f"mend that; journalctl -u {words[-1]} has the whole story",
        )


def last_words(unit: str, lines: int = 5) -> str:
    """Give what the unit itself said last, which is better than what systemctl says about it."""
    answer = commands.run(["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit}"])
    return " | ".join(line.strip() for line in answer.out.splitlines() if line.strip())


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def show(unit: str) -> UnitState:
    """Ask for a unit's state; a unit that does not exist, or a host without systemd, is inactive."""
    try:
        answer = commands.run(["systemctl", "show", unit, f"--property={','.join(_PROPERTIES)}"])
    except NotFoundError:
        return UnitState()
    found = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line)
    return UnitState(
        active_state=found.get("ActiveState", "inactive"),
        sub_state=found.get("SubState", "dead"),
        enabled=found.get("UnitFileState", "") == "enabled",
        pid=_number(found.get("MainPID", "")),
        restarts=_number(found.get("NRestarts", "")),
        invocation=found.get("InvocationID", ""),
        since=found.get("ActiveEnterTimestamp", ""),
        result=found.get("Result", ""),
        needs_reload=found.get("NeedDaemonReload", "no") == "yes",
    )


def verify(unit: str, text: str) -> None:
    """Let systemd read a unit under its own name before it is put in place."""
    scratch = Path(tempfile.mkdtemp(prefix="herd-unit."))
    try:
        path = scratch / unit
        path.write_text(text, encoding="utf-8")
        answer = commands.run(["systemd-analyze", "verify", "--man=no", str(path)])
        # Units that this one only stands beside may be at fault too; those are not our business.
        ours = [line for line in answer.err.splitlines() if unit in line]
        # A socket is put in place before the service that it starts.
        ours = [line for line in ours if "not loaded, socket cannot be started" not in line]
        if answer.rc != 0 and ours:
            raise InvalidInputError(
                f"a unit {unit} that systemd accepts",
                "; ".join(ours),
                "correct the variable that its text comes from",
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def reload() -> None:
    """Make systemd read changed units."""
    _systemctl("daemon-reload")


def enable(unit: str) -> None:
    """Let a unit start at boot."""
    _systemctl("enable", "--quiet", unit)


def disable(unit: str) -> None:
    """Let a unit not start at boot."""
    _systemctl("disable", "--quiet", unit)


def start(unit: str) -> None:
    """Start a unit and wait for its job; one that gave up before begins anew."""
    if show(unit).active_state == "failed":
        _systemctl("reset-failed", unit)
    _systemctl("start", unit, timeout=JOB_TIMEOUT_S)


def restart(unit: str) -> None:
    """Restart a unit and wait for its job."""
    _systemctl("restart", unit, timeout=JOB_TIMEOUT_S)


def reload_unit(unit: str) -> None:
    """Make a unit read its configuration, and wait for its job."""
    _systemctl("reload", unit, timeout=JOB_TIMEOUT_S)


def stop(unit: str) -> None:
    """Stop a unit and wait for its job."""
    _systemctl("stop", unit, timeout=JOB_TIMEOUT_S)


def settle(unit: str, timeout_s: float) -> UnitState:
    """Wait until a unit has ended that is ending; what it is then.

    Whoever told it to start meanwhile would wait as long as its end takes, and leave a job behind when giving up.
    """
    deadline = time.monotonic() + timeout_s
    while (state := show(unit)).active_state == "deactivating":
        if time.monotonic() >= deadline:
            raise RemoteFailureError(
                f"{unit}, which was told to end, to have ended within {timeout_s:g} seconds",
                "that it still serves what it had begun before",
                f"try again when that has come to its end (systemctl status {unit}), or cut it off with "
                f"systemctl kill --signal=SIGKILL {unit}",
            )
        time.sleep(SETTLE_PAUSE_S)
    return state


def restart_within(unit: str, timeout_s: float) -> None:
    """Restart a unit whose end may take long, if it ends in time; if not, no job is left that would start it later."""
    # systemd begins with it at once, if nothing else is to be done for the unit.
    _systemctl("stop", "--no-block", unit)
    deadline = time.monotonic() + SETTLE_PAUSE_S
    while show(unit).active_state == "active" and time.monotonic() < deadline:
        time.sleep(SETTLE_PAUSE_S / 10)
    settle(unit, timeout_s)
    start(unit)


def journal_of(invocation: str, until: Sequence[str], limit_lines: int = 4000) -> str:
    """Read the journal of one run of a unit from its start.

    :param until: reading ends behind the first line that holds one of these; what follows may be hours of it.
    """
    if not invocation:
        return ""
    lines: list[str] = []

    def keep(line: str) -> bool:
        lines.append(line)
        return len(lines) >= limit_lines or any(word in line for word in until)

    # Streamed, since the journal of a long run is large.
    commands.stream(
        ["journalctl", "--quiet", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}"],
        keep,
        errors_too=False,
    )
    return "".join(lines)
