# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program of this host, with a time limit."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

TIMEOUT_S = 10.0
# The exit status that timeout(1) gives to a command that ran out of time, and a shell to one that cannot be started.
TIMED_OUT, NOT_STARTED = 124, 127


def run(argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
    """Run a command and return its exit status and its output, standard error last."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"{argv[0]} did not end within {timeout_s:g} seconds"
    except OSError as error:
        return NOT_STARTED, f"{argv[0]}: {error.strerror}"
    return done.returncode, done.stdout + done.stderr
