# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what killed runs of vLLM leave on a node: orphaned processes, shared memory and scratch folders.

Nothing that a living process uses is removed. Other jobs of the same user may run on the node.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from . import engine_process

SHM = Path("/dev/shm")
#: Shared memory of torch, of Python's multiprocessing and of vLLM.
_SHM_NAMES = re.compile(r"psm_[0-9a-f]+|sem\.mp-\w+|\S*-cpushm_\S+|vllm\S*")
#: Seconds for which a file of shared memory must be unused: a process creates it before it maps it.
_UNUSED_S = 60.0
PREFIX = "hv"
_LOCK = "lock"
#: Longest path of a scratch folder: below it are sockets, whose paths have at most 107 bytes.
_LONGEST = 48


def kill_orphans() -> list[str]:
    """Kill processes of vLLM whose parent has ended, and name them. They would join the next rendezvous."""
    processes, found = engine_process.all_processes(), []
    for pid, one in processes.items():
        parent = processes.get(one.parent)
        is_orphan = one.parent == 1 or (parent is not None and parent.name == "systemd")
        if not is_orphan or one.state == "Z" or not _is_ours(pid):
            continue
        name = engine_process.name_of(pid, one)
        if name.startswith(engine_process.TITLE):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                found.append(f"{name} (process {pid})")
    return found


def _is_ours(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    return False


def _in_use() -> set[str]:
    """List the files of shared memory that this user's processes map or hold open."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            maps = (process / "maps").read_text(encoding="utf-8", errors="replace")
            found.update(re.findall(rf"{SHM}/(\S+)", maps))
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    target = handle.readlink()
                    found.update([target.name.split(" ")[0]] if target.parent == SHM else ())
    return found


def clean_shared_memory(folder: Path = SHM, unused_s: float = _UNUSED_S) -> int:
    """Remove shared memory of this user that no process uses, and return the bytes."""
    old = time.time() - unused_s
    candidates = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                is_ours = facts.st_uid == os.geteuid() and _SHM_NAMES.fullmatch(entry.name) is not None
                if is_ours and entry.is_file(follow_symlinks=False) and max(facts.st_mtime, facts.st_ctime) < old:
                    candidates[entry.name] = facts.st_blocks * 512
    # Read after the list: a file that a process maps meanwhile is in use.
    used = _in_use() if candidates else set()
    removed = 0
    for name, size in candidates.items():
        if name not in used:
            with suppress(OSError):
                (folder / name).unlink()
                removed += size
    return removed


def _temporary() -> Path:
    """Choose the folder for temporary files: the job's own, if its path is short."""
    given = Path(os.environ.get("TMPDIR", ""))
    is_good = given.is_absolute() and len(str(given)) <= _LONGEST - 16 and os.access(given, os.W_OK | os.X_OK)
    return given if is_good else Path("/tmp")


class Scratch:
    """A folder on the node for sockets, temporary files and the engine's configuration. It is locked while it is used.

    :ivar path: its path, of mode 0700 and with a name that other users cannot foresee.
    """

    def __init__(self, job_id: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{job_id}-", dir=_temporary()))
        # The lock is not inherited, so it ends with this process.
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def clean_scratch() -> int:
    """Remove scratch folders of this user whose wrapper has ended, and return their number."""
    removed = 0
    for path in _temporary().glob(f"{PREFIX}[0-9]*-*"):
        with suppress(OSError):
            facts = path.lstat()
            # A new folder may not be locked yet.
            is_new = time.time() - facts.st_mtime < _UNUSED_S
            if facts.st_uid != os.geteuid() or is_new or not stat.S_ISDIR(facts.st_mode):
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed
