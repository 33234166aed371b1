# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of the head: asked for, waited for a little, then made.

Told to end, the engine stops computing at once and then waits for as long as its clients wait for it. Nothing
comes of that, so it is not left to the time that a stop may take, which would make a failure of every stop under load.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from contextlib import suppress

from ..common.output import write_line

LOOK_S = 0.05


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def end(pid: int, seconds: float) -> bool:
    """End a process; whether it did so by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while _lives(pid):
            if time.monotonic() >= deadline:
                os.kill(pid, signal.SIGKILL)
                return False
            time.sleep(LOOK_S)
    return True


def end_command(arguments: argparse.Namespace) -> int:
    """End the main process of a unit, if it has not ended yet."""
    if arguments.pid.isdigit() and int(arguments.pid) > 1 and not end(int(arguments.pid), arguments.seconds):
        write_line(f"clients still waited after {arguments.seconds:g} seconds: their connections are cut")
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl stop-engine)."""
    found = commands.add_parser(
        "stop-engine",
        description="Asks a process to end, and ends it after a while. Exit status: 0.",
    )
    found.add_argument("--pid", default="", help="systemd's $MAINPID; nothing is done where it is empty")
    found.add_argument("--seconds", type=float, default=5.0, help="how long it may take (default: %(default)s)")
    found.set_defaults(run=end_command)
