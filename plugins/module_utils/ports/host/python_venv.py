# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install virtual environments from wheels whose hashes are locked: one folder for each lock and Python."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from ...core.errors import InsufficientError, NotFoundError, RemoteFailureError
from .. import commands, files
from . import processes, selinux

#: Marks a complete environment. It is written last.
COMPLETE = ".complete"
#: The output of pip, in the environment's folder.
LOG = "install.log"
_PROBE = (
    "import json, platform, sys; import ensurepip, venv; "
    "print(json.dumps([sys.version_info[:2], platform.machine(), platform.libc_ver()[1]]))"
)
#: A job of Slurm that runs the probe may wait in the queue.
_PROBE_S, _PROBE_BEHIND_PREFIX_S = 60.0, 3600.0
_VENV_S = 600.0
_COLLECTED = re.compile(r"^(?:Collecting |Processing (?:\S*/)?)([A-Za-z0-9._-]+?)(?:==|-[0-9]|\s|$)")


@dataclass(frozen=True)
class Interpreter:
    """A Python that can make virtual environments, with its major and minor version, and its machine.

    :ivar glibc: version of the GNU C library; empty for another library.
    :ivar prefix: arguments before its commands, such as srun with its options.
    """

    program: str
    version: tuple[int, int]
    machine: str = ""
    glibc: str = ""
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installation:
    """Where the packages of an environment come from, and how they are installed.

    :ivar lock: requirements with versions and hashes.
    :ivar index: URL of a package index; empty for pip's own configuration.
    :ivar wheels: a folder of wheels, which replaces any index; empty for none.
    :ivar is_complete: whether the lock names all packages, so that pip must not resolve their requirements.
    :ivar on_package: is called with the number of packages that pip has looked up, their total and what pip does.
    """

    lock: str
    index: str = ""
    wheels: str = ""
    is_complete: bool = False
    on_package: Callable[[int, int, str], None] = field(default=lambda _done, _total, _what: None)

    @property
    def packages(self) -> int:
        return len(re.findall(r"(?m)^[A-Za-z0-9][A-Za-z0-9._-]*==", self.lock))


def find(program: str, oldest: Sequence[int], prefix: Sequence[str] = ()) -> Interpreter:
    """Return the interpreter, if it is new enough and can make virtual environments.

    :param prefix: arguments before the command, such as srun with its options; then another machine may be asked.
    :raises NotFoundError: if it is not installed, or lacks the modules.
    :raises InsufficientError: if it is too old.
    """
    floor = ".".join(map(str, oldest))
    wanted = f"Python {floor} or newer with the modules venv and ensurepip as {program}"
    remedy = "install it (python3-venv on Debian, python3.11 on EL), or name another one"
    if not prefix and not shutil.which(program):
        raise NotFoundError(wanted, "no such program", remedy)
    limit = _PROBE_BEHIND_PREFIX_S if prefix else _PROBE_S
    answer = commands.run([*prefix, program, "-I", "-c", _PROBE], timeout=limit)
    if answer.rc:
        # The last line of a traceback names the missing module.
        raise NotFoundError(wanted, (answer.err.strip().splitlines() or [answer.complaint])[-1], remedy)
    (major, minor), machine, glibc = json.loads(answer.out)
    if (major, minor) < tuple(oldest):
        raise InsufficientError(wanted, f"Python {major}.{minor}", remedy)
    return Interpreter(program, (major, minor), machine, glibc, tuple(prefix))


def name(lock: str, version: Sequence[int]) -> str:
    """Return the name of an environment's folder, by its lock and Python."""
    return hashlib.sha256(f"{lock}\0{'.'.join(map(str, version))}".encode()).hexdigest()[:12]


def is_complete(folder: Path) -> bool:
    """Return whether an environment is complete and its interpreter runs."""
    python = folder / "bin" / "python"
    return (folder / COMPLETE).exists() and python.exists() and commands.run([str(python), "-I", "-c", ""]).rc == 0


def _in_use(root: Path) -> set[str]:
    """Return the names of the environments whose interpreter runs."""
    programs = [Path(*processes.arguments_of(int(entry.name))[:1]) for entry in processes.PROC.glob("[0-9]*")]
    # A program's path may have the links of the given one, or none.
    roots = (root, root.resolve())
    return {program.relative_to(one).parts[0] for program in programs for one in roots if one in program.parents}


def surplus(root: Path, wanted: str, used: Sequence[str] = ()) -> list[Path]:
    """Return the environments to remove: all but the wanted one, the former one, and those that are in use.

    :param used: names of further environments in use, such as those of jobs on other hosts.
    """
    entries = root.iterdir() if root.is_dir() else ()
    others = [path for path in entries if path.name != wanted and not path.is_symlink()]
    complete = sorted((path for path in others if (path / COMPLETE).exists()), key=lambda path: path.stat().st_mtime)
    kept = {*(path.name for path in complete[-1:]), *_in_use(root), *used}
    return sorted(path for path in others if path.name not in kept)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of a folder of environments, so that two runs do not install the same one at once."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(f".{root.name}.lock").open("w", encoding="utf-8") as handle:
        # Some shared file systems have no locks.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def check_wheels(folder: str) -> None:
    """Check that the folder of wheels is there, if one is named.

    :raises NotFoundError: if it is not.
    """
    if folder and not Path(folder).is_dir():
        raise NotFoundError(f"the folder of wheels {folder}", "none", "copy it to this host, or mount it")


def install_missing(folder: Path, interpreter: Interpreter, wanted: Installation) -> None:
    """Install an environment, unless another run did it meanwhile.

    :raises RemoteFailureError: if a wheel is missing or has another hash.
    """
    with locked(folder.parent):
        if not is_complete(folder):
            install(folder, interpreter, wanted)


def remove_surplus(root: Path, wanted: str, used: Sequence[str] = (), check_mode: bool = False) -> list[str]:
    """Remove the environments that C(surplus) returns, and return their paths."""
    found = surplus(root, wanted, used)
    for path in found if not check_mode else ():
        files.remove(path)
    return [str(path) for path in found]


def install(folder: Path, interpreter: Interpreter, wanted: Installation) -> None:
    """Install an environment. An incomplete one is replaced.

    :raises RemoteFailureError: if a wheel is missing or has another hash.
    """
    shutil.rmtree(folder, ignore_errors=True)
    # The service's user, who is another one, must read it.
    former = os.umask(0o022)
    try:
        folder.mkdir(parents=True)
        commands.run_checked(
            [*interpreter.prefix, interpreter.program, "-I", "-m", "venv", str(folder)],
            "free disk space there",
            timeout=_VENV_S + (_PROBE_BEHIND_PREFIX_S if interpreter.prefix else 0),
        )
        _pip(folder, interpreter.prefix, wanted)
        selinux.relabel(folder)
        (folder / COMPLETE).touch()
    finally:
        os.umask(former)


def _pip(folder: Path, prefix: Sequence[str], wanted: Installation) -> None:
    # All in the folder: with a prefix, another machine reads it. Wheels of gigabytes do not fit on every /tmp.
    requirements, scratch = folder / "requirements.txt", folder / "tmp"
    requirements.write_text(wanted.lock, encoding="utf-8")
    scratch.mkdir()
    source = ["--index-url", wanted.index] if wanted.index else []
    if wanted.wheels:
        source = ["--no-index", "--find-links", wanted.wheels]
    options = ["--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar", "off"]
    options += ["--require-hashes", "--only-binary", ":all:", *(["--no-deps"] if wanted.is_complete else [])]
    python = [*prefix, str(folder / "bin" / "python"), "-I", "-m", "pip"]
    done = 0

    def count(line: str) -> None:
        nonlocal done
        if found := _COLLECTED.search(line):
            done += 1
            wanted.on_package(done, wanted.packages, f"fetching {found[1]}")
        elif line.startswith("Installing collected packages"):
            wanted.on_package(wanted.packages, wanted.packages, "unpacking")

    try:
        commands.run_logged(
            [*python, "install", *options, *source, "--requirement", str(requirements)],
            folder / LOG,
            {"TMPDIR": str(scratch)},
            on_line=count,
        )
    except RemoteFailureError as error:
        raise RemoteFailureError(
            f"the locked wheels in {wanted.wheels or wanted.index or 'the package index of pip'}",
            " ".join(error.found.split())[-400:],
            "make them available there, or name another index or folder; pip download fetches them on another machine",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
