# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs of this machine without a shell.

C(AnsibleModule.run_command) is not used: ports do not depend on modules, and a build's output is read while it is
printed.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import NotFoundError, RemoteFailureError

# Longest line that is read, in bytes. A linker's command line may be long.
LONGEST_LINE = 1 << 24
# Last lines of a failed program that its error quotes.
QUOTED_LINES = 30
# Seconds to wait for a killed program to end.
KILL_WAIT_S = 5.0
# The output is parsed, so it must not depend on the machine's language.
C_LOCALE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class CommandResult:
    """The exit status and output of a program."""

    rc: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The end of the error output in one line, else of the output, else the exit status."""
        return " ".join((self.err.strip() or self.out).split())[-400:] or f"exit status {self.rc}"


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **C_LOCALE, **(env or {})}


def _not_installed(program: str) -> NotFoundError:
    return NotFoundError.plain(f"The program {program} is not installed on this machine", "install it")


def run(
    argv: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 60, text: str | None = None
) -> CommandResult:
    """Run a program and return its result, whatever its exit status is.

    :param timeout: seconds after which the program is killed.
    :param text: standard input; unlike arguments, no process list shows it.
    :raises NotFoundError: if the program is not installed.
    """

    async def communicate() -> CommandResult:
        process = await asyncio.create_subprocess_exec(
            *argv, env=_environment(env), stdin=DEVNULL if text is None else PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(None if text is None else text.encode()), timeout)
        except asyncio.TimeoutError:
            process.kill()
            # A process that hangs in the kernel does not die before the kernel releases it.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), KILL_WAIT_S)
            raise
        return CommandResult(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    try:
        return asyncio.run(communicate())
    except FileNotFoundError as error:
        raise _not_installed(argv[0]) from error
    except asyncio.TimeoutError as error:
        raise RemoteFailureError.plain(
            f"{argv[0]} did not end within {timeout:g} seconds", f"run it by hand: {' '.join(argv)}"
        ) from error


def run_checked(argv: Sequence[str], remedy: str, timeout: float = 60) -> str:
    """Run a program that must succeed, and return its output.

    :raises RemoteFailureError: if the exit status is not 0; with C(remedy) as the next step.
    """
    result = run(argv, timeout=timeout)
    if result.rc != 0:
        raise RemoteFailureError(f"{' '.join(argv)} to succeed", result.complaint, remedy)
    return result.out


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], bool | None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    errors_too: bool = True,
    close_fds: bool = True,
) -> int:
    """Pass each line that a program prints to C(on_line), until the program ends or C(on_line) returns True.

    :param errors_too: whether C(on_line) also gets the lines of the error output.
    :returns: the program's exit status; a negative one is the signal that ended it.
    """

    async def read() -> int:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=_environment(env),
            cwd=cwd,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT if errors_too else DEVNULL,
            close_fds=close_fds,
            limit=LONGEST_LINE,
        )
        if process.stdout is not None:
            async for line in process.stdout:
                if on_line(line.decode(errors="replace")):
                    process.terminate()
                    break
        return await process.wait()

    try:
        return asyncio.run(read())
    except FileNotFoundError as error:
        raise _not_installed(argv[0]) from error


def run_logged(
    argv: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a program that must succeed, append its output to a log, and quote its last lines if it fails."""
    last: deque[str] = deque(maxlen=QUOTED_LINES)
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"+ {' '.join(argv)}\n")
        sink.flush()

        def keep(line: str) -> None:
            sink.write(line)
            last.append(line.rstrip("\n"))
            if on_line is not None:
                on_line(line)

        # An inheritable lock of the caller is held until the last compiler ends, even if the caller is killed. All
        # other files are closed at exec anyway.
        status = stream(argv, keep, env, cwd, close_fds=False)
    if status != 0:
        raise RemoteFailureError(
            expected=f"{Path(argv[0]).name} to succeed",
            found=f"exit status {status} (the whole output is in {log}); it ended with\n" + "\n".join(last) + "\n",
            remedy="fix the cause that its last lines name, then run the playbook again; installed files are unchanged",
        )
