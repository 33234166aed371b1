# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of a build: configure, compile, collect the results, and read the programs' flags."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import InsufficientError, MismatchError, RemoteFailureError
from .. import commands, files

ORIGIN = "$ORIGIN"


@contextmanager
def build_lock(lock: Path) -> Iterator[None]:
    """Hold the lock of a build. A second process waits, then finds the finished build."""
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # After a kill of this process, the lock is held until its compilers have ended.
        os.set_inheritable(handle.fileno(), True)
        yield


def require_space(folder: Path, mib: int, purpose: str) -> None:
    """Check the free space of a file system.

    :raises InsufficientError: if less than C(mib) is free.
    """
    existing = files.existing_folder(folder)
    free = shutil.disk_usage(existing).free >> 20
    if free < mib:
        raise InsufficientError(
            expected=f"{mib} MiB free under {existing} {purpose}",
            found=f"{free} MiB",
            remedy="free space there, or move herd_prefix to a larger disk",
        )


def environment(toolchain: Mapping[str, Any], ccache_dir: str, work: Path) -> dict[str, str]:
    """Return the environment of the compiler. ccache uses relative paths below the work folder, for each prefix."""
    env = dict(toolchain.get("env") or {})
    env.setdefault("PATH", os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    # git must not find a repository above a source tree without one.
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
    """Run cmake in a build folder outside the source."""
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
    """Copy programs and shared libraries, and keep links."""
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
    """Return the programs and libraries of a release, without links."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]


def needed(
    folder: Path, parse: Callable[[str], dict[str, str | None]], env: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """Return the libraries that the files of a folder need, as paths by name."""
    found: dict[str, str | None] = {}
    for path in programs_and_libraries(folder):
        answer = commands.run(["ldd", str(path)], env={"LD_LIBRARY_PATH": "", **(env or {})})
        found.update(parse(answer.out))
    return found


def bundle_libraries(libraries: Mapping[str, str], to: Path) -> None:
    """Copy libraries to the programs' folder, under the names that the programs need."""
    for name, path in libraries.items():
        _copy(Path(path), to / name)


def require_relocatable(
    folder: Path,
    runpath: Callable[[str], str | None],
    parse: Callable[[str], dict[str, str | None]],
    system: Callable[[str], bool],
    brought: Sequence[str],
) -> None:
    """Check that each file loads its libraries only from its own folder or from the system."""
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
    """Return the output of --help by program, for programs that support it."""
    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as stubs:
        env = {"LD_LIBRARY_PATH": "", "GGML_NO_BACKTRACE": "1"}
        if driver_library:
            # Without a driver on the build host, the toolkit's stub lets the program print its flags.
            (Path(stubs) / "libcuda.so.1").symlink_to(driver_library)
            env["LD_LIBRARY_PATH"] = stubs
        for program in programs:
            answer = commands.run([str(folder / program), "--help"], env=env)
            if answer.rc == 0:
                texts[program] = answer.out + answer.err
    return texts


def is_same_boot(note: Path) -> bool:
    """Return whether a file holds the id of the machine's present boot."""
    return note.is_file() and note.read_text(encoding="ascii") == files.boot_id()


def record_boot(note: Path) -> None:
    """Write the id of the machine's present boot to a file."""
    note.write_text(files.boot_id(), encoding="ascii")
