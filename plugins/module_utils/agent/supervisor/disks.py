# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the free space of this node's disks, in threads: a file server that hangs must not stop the agent."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...core.engine import rpc_cache
from ...core.host import disk_space
from ...core.supervision.heartbeat import Disk
from ...core.text import plain
from ..common.atomic_files import write_whole

EVERY_S = 5.0
#: A file in the agent's folder: when a file system was last full, by the number of its device.
FULL = "full.json"
#: A file system that has not answered for so long is reported as silent.
PATIENCE_S = 20.0


def ask(path: Path) -> tuple[int, disk_space.DiskSpace]:
    """Return the device and the space of the file system that a path is on, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    unit = status.f_frsize
    space = disk_space.DiskSpace(str(path), status.f_bavail * unit >> 20, status.f_blocks * unit >> 20)
    return path.stat().st_dev, space


def _full(run_dir: Path) -> dict[str, float]:
    try:
        return {str(device): float(when) for device, when in json.loads((run_dir / FULL).read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def without_room(run_dir: Path, device: int) -> float | None:
    """Return when the agent last saw a file system full, in seconds since the epoch; None if never."""
    return _full(run_dir).get(str(device))


class Disks:
    """The file systems of these paths, each once."""

    def __init__(self, paths: Sequence[str], limits: disk_space.DiskLimits, run_dir: Path) -> None:
        self.paths, self.limits, self.run_dir = tuple(paths), limits, run_dir
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, disk_space.DiskSpace]] = {}
        self._answered: dict[str, float] = {}

    def _poll(self, path: str) -> None:
        while True:
            try:
                device, space = self._known[path] = ask(Path(path))
                self.note(device, space.free_mib)
                self._answered[path] = time.monotonic()
            except OSError:
                self._known.pop(path, None)
            time.sleep(EVERY_S)

    def note(self, device: int, free_mib: int) -> None:
        """Record a full file system for later readers, such as the pruning of the worker's cache."""
        if free_mib * rpc_cache.MIB >= rpc_cache.NO_ROOM:
            return
        with self._lock, suppress(OSError):
            self.run_dir.mkdir(parents=True, exist_ok=True)
            write_whole(self.run_dir / FULL, json.dumps({**_full(self.run_dir), str(device): time.time()}))

    def start(self) -> None:
        """Start a thread for each path."""
        now = time.monotonic()
        for path in self.paths:
            self._answered[path] = now
            threading.Thread(target=self._poll, args=(path,), daemon=True).start()

    @property
    def readings(self) -> tuple[Disk, ...]:
        """Return the state of each file system, under the first of its paths."""
        now = time.monotonic()
        found: dict[int, Disk] = {}
        for number, path in enumerate(self.paths):
            device, space = self._known.get(path, (-1 - number, disk_space.DiskSpace(path, -1, -1)))
            if now - self._answered.get(path, now) > PATIENCE_S:
                device, space = -1 - number, disk_space.DiskSpace(path, -1, -1)
            elif space.total_mib < 0:
                continue
            state = disk_space.state_of(space, self.limits)
            found.setdefault(device, Disk(plain(path), space.free_mib, space.total_mib, state))
        return tuple(found.values())
