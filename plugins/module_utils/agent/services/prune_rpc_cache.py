# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show, prune and check the tensor cache of this node's RPC worker.

The worker's unit prunes it before each start and after each end, with the worker's rights.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from ...core.engine import rpc_cache
from ...core.errors import HerdError, InvalidInputError
from ...core.release import units
from ..common.atomic_files import write_whole
from ..common.output import write_result
from ..supervisor import disks, local_state

#: A file beside the engine's, which only opens files that are named after a hash.
STATE = ".herd.json"
READ_AT_ONCE = 1 << 20
EXIT_WELL, EXIT_DAMAGED = 0, 1


def _files(folder: Path) -> list[rpc_cache.CacheFile]:
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if rpc_cache.is_ours(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(rpc_cache.CacheFile(entry.name, status.st_size, status.st_mtime, status.st_atime))
    return sorted(found, key=lambda file: file.name)


def _space(folder: Path) -> tuple[int, int]:
    """Return the free and the total bytes of the file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize


def _proved(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / STATE).read_text(encoding="utf-8"))["proved"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _prove(folder: Path, until: float) -> None:
    """Record until when all written files are known to be complete; on a full disk the record is lost."""
    with suppress(OSError):
        write_whole(folder / STATE, json.dumps({"proved": until}) + "\n")


def show(arguments: argparse.Namespace, folder: Path) -> int:
    """Print the number and the size of the files."""
    files = _files(folder)
    size = sum(file.size for file in files)
    free = _space(folder)[0] if folder.is_dir() else 0
    facts = {"folder": str(folder), "files": len(files), "bytes": size, "free": free, "proved": _proved(folder)}
    text = f"{folder}: {len(files)} files of {size // rpc_cache.MIB} MiB, {free // rpc_cache.MIB} MiB free"
    write_result(arguments.json, facts, text)
    return EXIT_WELL


def prune(arguments: argparse.Namespace, folder: Path) -> int:
    """Remove files that may be damaged, are too old or exceed the limits."""
    if not folder.is_dir():
        return EXIT_WELL
    now = time.time()
    free, total = _space(folder)
    limits = rpc_cache.RpcCacheLimits(
        arguments.max_mib * rpc_cache.MIB, arguments.keep_free_mib * rpc_cache.MIB, arguments.days
    )
    ended = now if arguments.ended else None
    full = disks.without_room(Path(arguments.run_dir), folder.stat().st_dev)
    removals = rpc_cache.plan(_files(folder), limits.on(total), free, _proved(folder), ended, full)
    for removal in removals:
        (folder / removal.file.name).unlink(missing_ok=True)
    for scratch in folder.glob(f".{STATE}.*"):
        scratch.unlink(missing_ok=True)
    _prove(folder, now)
    said = rpc_cache.summary(removals)
    if said or arguments.json:
        facts = {"removed": [removal.file.name for removal in removals]}
        write_result(arguments.json, facts, f"removed from the cache {said}")
    return EXIT_WELL


def check(arguments: argparse.Namespace, folder: Path) -> int:
    """Compare the hash of every file's bytes with its name."""
    damaged = []
    for file in _files(folder):
        found = rpc_cache.fnv(b"")
        with suppress(FileNotFoundError), (folder / file.name).open("rb") as stream:
            while data := stream.read(READ_AT_ONCE):
                found = rpc_cache.fnv(data, found)
        if f"{found:016x}" != file.name:
            damaged.append(file.name)
    text = (
        f"{len(damaged)} damaged: {' '.join(damaged)}; stop the worker and remove them" if damaged else "all is whole"
    )
    write_result(arguments.json, {"damaged": damaged}, text)
    return EXIT_DAMAGED if damaged else EXIT_WELL


def cache_command(arguments: argparse.Namespace) -> int:
    """Run the requested operation."""
    folder = Path(arguments.folder)
    try:
        if arguments.do == "prune":
            if arguments.ended is None:
                _refuse_while_running()
            return prune(arguments, folder)
        return check(arguments, folder) if arguments.do == "check" else show(arguments, folder)
    except OSError as error:
        raise HerdError(
            f"to read and clean {folder}", f"{error.strerror}: {error.filename}", "mend the disk or its permissions"
        ) from error


def _refuse_while_running() -> None:
    """Reject a manual prune while the worker runs: a load in progress would miss the removed files."""
    if pid := local_state.unit(units.WORKER).pid:
        raise InvalidInputError(
            "a worker that is down",
            f"{units.WORKER} as process {pid}",
            f"systemctl restart {units.WORKER}, which does the same",
        )


def _whole(text: str) -> int:
    found = int(text)
    if found < 0:
        raise argparse.ArgumentTypeError("less than 0")
    return found


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl rpc-cache)."""
    cache = commands.add_parser(
        "rpc-cache",
        description="Show the tensor cache of this node's worker, prune it (only while the worker is down), or compare "
        "each file's bytes with its name (about 10 MB/s). "
        "Exit status: 0 well, 1 damaged files, 2 configuration.",
    )
    cache.add_argument("do", choices=["show", "prune", "check"])
    cache.add_argument("--folder", default="/var/cache/herd/rpc/rpc", help="(default: %(default)s)")
    cache.add_argument("--max-mib", type=_whole, default=0, metavar="MIB", help="0: no limit")
    cache.add_argument("--keep-free-mib", type=_whole, default=0, metavar="MIB")
    cache.add_argument("--days", type=float, default=0.0, help="since the last use of a file; 0: no limit")
    moment = cache.add_mutually_exclusive_group()
    moment.add_argument(
        "--ended", action="store_const", const=True, default=None, help="the worker has just ended (systemd)"
    )
    moment.add_argument(
        "--starting", dest="ended", action="store_const", const=False, help="the worker is about to start (systemd)"
    )
    cache.add_argument("--run-dir", default="/run/herd", help="the agent's folder (default: %(default)s)")
    cache.add_argument("--json", action="store_true", help="for programs")
    cache.set_defaults(run=cache_command)
