# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's error class, and the function that runs other programs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class LabError(Exception):
    """An error for the user: the text names the cause and the remedy."""


def say(text: str) -> None:
    """Report a long step on standard error; standard output is for results."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = None,
    cwd: Path | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the error of a failure has the command and its last lines of output."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=None if env is None else dict(env),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            pass_fds=tuple(keep_open),
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not on this machine; 'python3 -m tests.lab check' lists what is") from error
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise LabError(
            f"'{shlex.join(argv)[:400]}' ended with {done.returncode}:\n  " + "\n  ".join(said or ["(no output)"])
        )
    return done
