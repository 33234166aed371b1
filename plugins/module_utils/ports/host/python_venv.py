# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install virtual environments from wheels whose hashes are locked: one folder for each lock and Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InsufficientError, NotFoundError, RemoteFailureError
from .. import commands
from . import processes, selinux

#: Marks a complete environment. It is written last.
COMPLETE = ".complete"
PIP_TIMEOUT_S = 900.0
_PROBE = "import json, sys; import ensurepip, venv; print(json.dumps(sys.version_info[:2]))"


@dataclass(frozen=True)
class Interpreter:
    """A Python that can make virtual environments, and its major and minor version."""

    program: str
    version: tuple[int, int]


def find(program: str, oldest: Sequence[int]) -> Interpreter:
    """Return the interpreter, if it is new enough and can make virtual environments.

    :raises NotFoundError: if it is not installed, or lacks the modules.
    :raises InsufficientError: if it is too old.
    """
    floor = ".".join(map(str, oldest))
    wanted = f"Python {floor} or newer with the modules venv and ensurepip as {program}"
    remedy = "install it (python3-venv on Debian, python3.11 on EL), or name another one"
    if not shutil.which(program):
        raise NotFoundError(wanted, "no such program", remedy)
    answer = commands.run([program, "-I", "-c", _PROBE])
    if answer.rc:
        # The last line of a traceback names the missing module.
        raise NotFoundError(wanted, (answer.err.strip().splitlines() or [answer.complaint])[-1], remedy)
    major, minor = json.loads(answer.out)
    if (major, minor) < tuple(oldest):
        raise InsufficientError(wanted, f"Python {major}.{minor}", remedy)
    return Interpreter(program, (major, minor))


def name(lock: str, version: Sequence[int]) -> str:
    """Return the name of an environment's folder, by its lock and Python."""
    return hashlib.sha256(f"{lock}\0{'.'.join(map(str, version))}".encode()).hexdigest()[:12]


def is_complete(folder: Path) -> bool:
    """Return whether an environment is complete and its interpreter runs."""
    python = folder / "bin" / "python"
    return (folder / COMPLETE).exists() and python.exists() and commands.run([str(python), "-I", "-c", ""]).rc == 0


def _in_use(root: Path) -> set[str]:
    """Return the names of the environments whose interpreter runs."""
    programs = (Path(*processes.arguments_of(int(entry.name))[:1]) for entry in processes.PROC.glob("[0-9]*"))
    return {program.relative_to(root).parts[0] for program in programs if root in program.parents}


def surplus(root: Path, wanted: str) -> list[Path]:
    """Return the environments to remove: all but the wanted one, the former one, and those that are in use."""
    others = [path for path in root.iterdir() if path.name != wanted] if root.is_dir() else []
    complete = sorted((path for path in others if (path / COMPLETE).exists()), key=lambda path: path.stat().st_mtime)
    kept = {*(path.name for path in complete[-1:]), *_in_use(root)}
    return sorted(path for path in others if path.name not in kept)


def install(folder: Path, interpreter: Interpreter, lock: str, index: str, wheels: str) -> None:
    """Install an environment. An incomplete one is replaced.

    :param index: URL of a package index; empty for pip's own configuration.
    :param wheels: a folder of wheels, which replaces any index; empty for none.
    :raises RemoteFailureError: if a wheel is missing or has another hash.
    """
    shutil.rmtree(folder, ignore_errors=True)
    # The service's user, who is another one, must read it.
    former = os.umask(0o022)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        commands.run_checked(
            [interpreter.program, "-I", "-m", "venv", str(folder)], "free disk space there", timeout=120
        )
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as requirements:
            requirements.write(lock)
            requirements.flush()
            _pip(folder, requirements.name, index, wheels)
        selinux.relabel(folder)
        (folder / COMPLETE).touch()
    finally:
        os.umask(former)


def _pip(folder: Path, requirements: str, index: str, wheels: str) -> None:
    source = ["--no-index", "--find-links", wheels] if wheels else ["--index-url", index] if index else []
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    python = [str(folder / "bin" / "python"), "-I", "-m", "pip"]
    command = [*python, "install", *options, *source, "--requirement", requirements]
    answer = commands.run(command, timeout=PIP_TIMEOUT_S)
    if answer.rc:
        raise RemoteFailureError(
            f"the locked wheels in {wheels or index or 'the package index of pip'}",
            answer.complaint,
            "make them available there, or name another index or folder; pip download fetches them on another machine",
        )
