# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's side of a build: configure, compile, collect what was made, ask the programs for their flags."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import InsufficientError, MismatchError, RemoteFailureError
from .. import commands, files

ORIGIN = "$ORIGIN"


@contextmanager
def build_lock(lock: Path) -> Iterator[None]:
    """One build of the same thing at a time; who comes second waits and then finds the result."""
    with lock.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(1)
        # If this process is killed, its compilers live a little longer; nobody may start beside them.
        os.set_inheritable(handle.fileno(), True)
        yield


def require_space(folder: Path, mib: int, purpose: str) -> None:
    """Stop before the first byte if the disk cannot take what will come."""
    existing = files.existing_folder(folder)
    free = shutil.disk_usage(existing).free >> 20
    if free < mib:
        raise InsufficientError(
            expected=f"{mib} MiB free under {existing} {purpose}",
            found=f"{free} MiB",
            remedy="free some space there, or put herd_prefix on a larger disk",
        )


def environment(toolchain: Mapping[str, Any], ccache_dir: str, work: Path) -> dict[str, str]:
    """What the compiler sees. Paths below the work folder are relative for ccache, so every prefix hits."""
    env = dict(toolchain.get("env") or {})
    env.setdefault("PATH", os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    # A source tree without a repository must not be taken for a part of one that lies above it.
    env["GIT_CEILING_DIRECTORIES"] = str(work.parent)
    if toolchain.get("ccache"):
        env.update(
            CCACHE_DIR=ccache_dir,
            CCACHE_BASEDIR=str(work),
            CCACHE_NOHASHDIR="1",
            CCACHE_COMPILERCHECK="content",
        )
    return env


def configure(
    work: Path, options: Mapping[str, str], toolchain: Mapping[str, Any], env: Mapping[str, str], log: Path
) -> None:
    """Run cmake out of tree."""
    argv = [str(toolchain["cmake"]), "-S", "src", "-B", "build", "-G", "Ninja"]
    argv += [f"-DCMAKE_MAKE_PROGRAM={toolchain['ninja']}"]
    argv += [f"-D{name}={value}" for name, value in options.items()]
    if toolchain.get("ccache"):
        languages = ["C", "CXX"] + (["CUDA"] if options.get("GGML_CUDA") == "ON" else [])
        argv += [f"-DCMAKE_{language}_COMPILER_LAUNCHER={toolchain['ccache']}" for language in languages]
    commands.run_logged(argv, log, env=env, cwd=work)


def compile_targets(
    work: Path,
    targets: Sequence[str],
    jobs: int,
    toolchain: Mapping[str, Any],
    env: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None],
) -> None:
    """Run ninja for these targets only."""
    argv = [str(toolchain["ninja"]), "-C", "build", *(["-j", str(jobs)] if jobs else []), *targets]
    commands.run_logged(argv, log, env=env, cwd=work, on_line=on_line)


def collect(built: Path, targets: Sequence[str], to: Path) -> None:
    """Copy programs and shared libraries, links as links."""
    files.remove(to)
    to.mkdir(parents=True)
    for path in sorted(built.iterdir()):
        if path.name not in targets and ".so" not in path.name:
            continue
        if path.is_symlink():
            (to / path.name).symlink_to(path.readlink())
        else:
            _copy(path, to / path.name)
    missing = [target for target in targets if not (to / target).is_file()]
    if missing:
        raise RemoteFailureError(
            expected=f"the compiler to make {', '.join(targets)}",
            found=f"no {', '.join(missing)}",
            remedy="correct the targets of this release in the catalogue",
        )


def _copy(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    to.chmod(0o755)


def programs_and_libraries(folder: Path) -> list[Path]:
    """The files of a release that the loader deals with, each once."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]


def needed(
    folder: Path, parse: Callable[[str], dict[str, str | None]], env: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """All libraries that the files of a folder need, with the paths at which the loader finds them."""
    found: dict[str, str | None] = {}
    for path in programs_and_libraries(folder):
        answer = commands.run(["ldd", str(path)], env={"LD_LIBRARY_PATH": "", **(env or {})})
        found.update(parse(answer.out))
    return found


def bundle_libraries(libraries: Mapping[str, str], to: Path) -> None:
    """Copy libraries beside the programs, under the names by which they are asked for."""
    for name, path in libraries.items():
        _copy(Path(path), to / name)


def require_relocatable(
    folder: Path,
    runpath: Callable[[str], str | None],
    parse: Callable[[str], dict[str, str | None]],
    system: Callable[[str], bool],
    brought: Sequence[str],
) -> None:
    """Every own file looks beside itself, and nothing is found anywhere but there or in the system."""
    for path in programs_and_libraries(folder):
        found = runpath(commands.run(["readelf", "-d", str(path)]).out)
        if path.name not in brought and found != ORIGIN:
            raise MismatchError(
                expected=f"the run path of {path.name} to be {ORIGIN}",
                found=repr(found),
                remedy="remove options about the run path from llama_build_cmake",
            )
    strangers = [
        f"{name} at {where or 'no place'}"
        for name, where in sorted(needed(folder, parse).items())
        if not system(name) and (where is None or Path(where).parent.resolve() != folder.resolve())
    ]
    if strangers:
        raise MismatchError(
            expected="every library beside the programs or part of the system",
            found=", ".join(strangers),
            remedy="build with fewer options in llama_build_cmake, or report this with the build's log",
        )


def help_texts(folder: Path, programs: Sequence[str], driver_library: str | None) -> dict[str, str]:
    """What the programs print for --help; only those that have such a thing."""
    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as stubs:
        env = {"LD_LIBRARY_PATH": "", "GGML_NO_BACKTRACE": "1"}
        if driver_library:
            # On a build host without a driver the toolkit's stub lets the program start far enough.
            (Path(stubs) / "libcuda.so.1").symlink_to(driver_library)
            env["LD_LIBRARY_PATH"] = stubs
        for program in programs:
            answer = commands.run([str(folder / program), "--help"], env=env)
            if answer.rc == 0:
                texts[program] = answer.out + answer.err
    return texts


def is_same_boot(note: Path) -> bool:
    """Whether the machine has been running without a break since the note was made."""
    return note.is_file() and note.read_text(encoding="ascii") == files.boot_id()


def record_boot(note: Path) -> None:
    """Remember the machine's present run."""
    note.write_text(files.boot_id(), encoding="ascii")
