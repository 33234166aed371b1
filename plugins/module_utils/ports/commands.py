# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the machine, run without a shell.

Not C(AnsibleModule.run_command): the ports know nothing of modules, and a build's output must be read while
it is printed.
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

# The longest line that is read, in bytes; a linker's command line may be long.
LONGEST_LINE = 1 << 24
# How long, in seconds, a program that was killed may take to be gone.
PATIENCE_AFTER_KILL = 5.0
# Output in the language of the machine could not be read by this collection.
C_LOCALE = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Answer:
    """How a program ended and what it printed."""

    rc: int
    out: str
    err: str


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **C_LOCALE, **(env or {})}


def _no_program(name: str) -> NotFoundError:
    return NotFoundError(expected=f"the program {name}", found="no such file", remedy="install it on this machine")


def ask(
    argv: Sequence[str], env: Mapping[str, str] | None = None, timeout: float = 60, text: str | None = None
) -> Answer:
    """Run a program that answers quickly.

    :param text: what it reads, which no list of processes shows.
    """

    async def run() -> Answer:
        process = await asyncio.create_subprocess_exec(
            *argv, env=_environment(env), stdin=DEVNULL if text is None else PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(None if text is None else text.encode()), timeout)
        except asyncio.TimeoutError:
            process.kill()
            # One that hangs in the kernel does not die before the kernel lets go of it.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), PATIENCE_AFTER_KILL)
            raise
        return Answer(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    try:
        return asyncio.run(run())
    except FileNotFoundError as error:
        raise _no_program(argv[0]) from error
    except asyncio.TimeoutError as error:
        raise RemoteFailureError(
            expected=f"{argv[0]} to end within {timeout:.0f} seconds",
            found="no end",
            remedy=f"run it by hand: {' '.join(argv)}",
        ) from error


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], bool | None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    errors_too: bool = True,
    close_fds: bool = True,
) -> int:
    """Give each line that a program prints to C(on_line), until it ends or C(on_line) returns True.

    :returns: the program's exit status; negative is the signal that ended it.
    """

    async def run() -> int:
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
        return asyncio.run(run())
    except FileNotFoundError as error:
        raise _no_program(argv[0]) from error


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

        def keep(line: str) -> None:
            sink.write(line)
            last.append(line.rstrip("\n"))
            if on_line is not None:
                on_line(line)

        # A lock that the caller made inheritable is held until the last compiler has ended, also if the
        # caller is killed; all other files are closed at exec anyway.
        status = stream(argv, keep, env, cwd, close_fds=False)
    if status != 0:
        raise RemoteFailureError(
            expected=f"{Path(argv[0]).name} to succeed",
            found=f"exit status {status} (the whole output is in {log}); it ended with\n" + "\n".join(last) + "\n",
            remedy="mend what its last lines name, then run the playbook again; what is installed was not touched",
        )
