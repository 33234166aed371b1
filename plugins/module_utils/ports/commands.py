# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the machine, run without a shell.

Not C(AnsibleModule.run_command): the ports know nothing of modules, and a build's output must be read while
it is printed.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.errors import NotFoundError, RemoteFailureError

# Output in the language of the machine could not be read by this collection.
C_LOCALE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Answer:
    """How a program ended and what it printed."""

    rc: int
    out: str
    err: str


def ask(argv: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 60) -> Answer:
    """Run a program that answers quickly."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            list(argv),
            env={**os.environ, **C_LOCALE, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotFoundError(
            expected=f"the program {argv[0]}", found="no such file", remedy="install it on this machine"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RemoteFailureError(
            expected=f"{argv[0]} to end within {timeout:.0f} seconds",
            found="no end",
            remedy=f"run it by hand: {' '.join(argv)}",
        ) from error
    return Answer(done.returncode, done.stdout, done.stderr)


def follow(
    argv: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    keep_lines: int = 30,
) -> None:
    """Run a program that takes long; its output goes to a log, its last lines into the error if it fails."""
    last: deque[str] = deque(maxlen=keep_lines)
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"+ {' '.join(argv)}\n")
        sink.flush()
        with subprocess.Popen(  # pylint: disable=ansible-bad-function
            list(argv),
            env={**os.environ, **C_LOCALE, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A lock that the caller made inheritable is held until the last compiler has ended, also if the
            # caller is killed; all other files are closed at exec anyway.
            close_fds=False,
        ) as process:
            for line in process.stdout or ():
                sink.write(line)
                last.append(line.rstrip("\n"))
                if on_line is not None:
                    on_line(line)
    if process.returncode != 0:
        raise RemoteFailureError(
            expected=f"{Path(argv[0]).name} to succeed",
            found=f"exit status {process.returncode} (the whole output is in {log}); it ended with\n"
            + "\n".join(last)
            + "\n",
            remedy="mend what its last lines name, then run the playbook again; what is installed was not touched",
        )
