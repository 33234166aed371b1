# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program of this host, with a time limit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 10.0
# The exit status that timeout(1) gives to a command that ran out of time, and a shell to one that cannot be started.
TIMED_OUT, NOT_STARTED = 124, 127


class ChildProcess(subprocess.Popen[Any]):
    """A program that the agent started. The options are those of C(subprocess.Popen)."""


@dataclass(frozen=True)
class CommandResult:
    """The exit status of a command, its standard output as bytes and its standard error as text."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode("utf-8", errors="replace")

    @property
    def error(self) -> str:
        """The error message in one line."""
        return " ".join((self.err or self.out).split())[:300] or f"status {self.status}"


def capture(
    argv: Sequence[str], timeout_s: float = TIMEOUT_S, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> CommandResult:
    """Run a command and kill it after C(timeout_s) seconds.

    A command that cannot be started has the status NOT_STARTED, one that ran out of time TIMED_OUT; the reason stands
    in the error.
    """
    try:
        child = ChildProcess(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=env)
    except OSError as error:
        return CommandResult(NOT_STARTED, b"", f"{argv[0]}: {error.strerror}")
    with child:
        try:
            output, errors = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return CommandResult(TIMED_OUT, b"", f"{argv[0]} did not end within {timeout_s:g} seconds")
        finally:
            if child.poll() is None:
                child.kill()
    return CommandResult(child.returncode, output, errors.decode("utf-8", errors="replace"))


def run(argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
    """Run a command and return its exit status and its output, standard error last."""
    done = capture(argv, timeout_s)
    return done.status, done.out + done.err
