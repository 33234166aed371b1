# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop the engine: send SIGTERM, wait briefly, then kill it.

On SIGTERM the engine stops computing, but then waits for its clients, which wait for it. Systemd's own time limit would
make every stop under load a failure, so this command (ExecStop) kills the engine earlier.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import suppress

from ..common.output import write_line

POLL_S = 0.05


def terminate(pid: int, seconds: float) -> bool:
    """Send SIGTERM to a process and return whether it exits within some seconds."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(POLL_S)
        return False
    return True


def stop(pid: int, seconds: float) -> bool:
    """Stop a process and return whether it exited on SIGTERM."""
    if terminate(pid, seconds):
        return True
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


def stop_command(arguments: argparse.Namespace) -> int:
    """Stop the main process of a unit, if it still runs."""
    if arguments.pid.isdigit() and int(arguments.pid) > 1 and not stop(int(arguments.pid), arguments.seconds):
        write_line(f"clients still waited after {arguments.seconds:g} seconds: their connections are cut")
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl stop-engine)."""
    found = commands.add_parser(
        "stop-engine",
        description="Send SIGTERM to a process, and kill it if it has not exited in time. Exit status: 0.",
    )
    found.add_argument("--pid", default="", help="systemd's $MAINPID; an empty value does nothing")
    found.add_argument("--seconds", type=float, required=True, help="time before the kill")
    found.set_defaults(run=stop_command)
