# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give each host its own cgroup, so that its processes can be found and killed together.

There are three cases. If PID 1 is systemd, it owns the tree, and a host gets a scope with Delegate=yes.
Otherwise the lab makes folders itself: with cgroup2 alone, in that tree; with hybrid cgroups, in both the
tree named systemd and the one named unified. Two hosts in one folder would share their payload.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .naming import CGROUP_NAME, scope_name
from .process import LabError, run

UNIFIED = "unified"
HYBRID = "hybrid"
CGROUP2_MAGIC_TYPES = {"cgroup2"}

# cgroup2 allows no process in a folder whose children have controllers: the supervisor has its own beside the host's.
MANAGER = "manager"
MACHINE = "machine"


@dataclass(frozen=True)
class Trees:
    """The hierarchies that systemd in a host needs; the first one lists the processes."""

    mode: str
    roots: tuple[Path, ...]


def trees_of(mounts: str) -> Trees:
    """Return the hierarchies that the text of /proc/self/mounts has."""
    unified = ""
    named = ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        if fields[2] == "cgroup2" and not unified:
            unified = fields[1]
        if fields[2] == "cgroup" and "name=systemd" in fields[3].split(","):
            named = fields[1]
    if unified and named:
        return Trees(HYBRID, (Path(unified), Path(named)))
    if unified:
        return Trees(UNIFIED, (Path(unified),))
    raise LabError(
        "The lab needs cgroup2, alone or beside the tree named systemd; this machine mounts neither. "
        "Boot with systemd.unified_cgroup_hierarchy=1."
    )


def own_path(proc_cgroup: str, *, unified: bool = True) -> str:
    """Return a process's path in the unified tree, from the text of /proc/PID/cgroup."""
    for line in proc_cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if (number == "0" and not controllers) if unified else controllers == "name=systemd":
            return path
    raise LabError("The process is in no cgroup of the tree that is looked for.")


def systemd_is_pid1() -> bool:
    """Return whether systemd is PID 1, as sd_booted(3) does."""
    return Path("/run/systemd/system").is_dir()


def current_trees() -> Trees:
    return trees_of(Path("/proc/self/mounts").read_text(encoding="utf-8"))


def own_folder(trees: Trees, lab: str, host: str) -> list[Path]:
    """Return the host's folders, if the lab makes them itself."""
    return [root / CGROUP_NAME / lab / host for root in trees.roots]


def scope_argv(lab: str, host: str, argv: list[str]) -> list[str]:
    """Return the command that starts `argv` in its own scope, with a delegated part of the tree."""
    return [
        "systemd-run",
        "--quiet",
        "--scope",
        "--collect",
        f"--unit={scope_name(lab, host)}",
        "--slice=herd-lab.slice",
        "--property=Delegate=yes",
        f"--description=Host {host} of lab {lab}",
        "--",
        *argv,
    ]


def _enable_controllers(folder: Path) -> None:
    """Enable every controller for the children, except those that the parent lacks or may not delegate."""
    try:
        available = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    except OSError:
        return
    for controller in available:
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        except OSError:
            continue


def prepare(lab: str, host: str) -> list[Path]:
    """Move the calling supervisor into the host's cgroup, and return the host's folders."""
    trees = current_trees()
    if systemd_is_pid1():
        text = Path("/proc/self/cgroup").read_text(encoding="ascii")
        folders = [trees.roots[0] / own_path(text).strip("/")]
        if trees.mode == HYBRID:
            folders.append(trees.roots[1] / own_path(text, unified=False).strip("/"))
        # After a second manual start the supervisor may already be one level deeper.
        folders = [f.parent if f.name == MANAGER else f for f in folders]
    else:
        folders = own_folder(trees, lab, host)
    for folder in folders:
        (folder / MANAGER).mkdir(parents=True, exist_ok=True)
        (folder / MANAGER / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    if trees.mode == UNIFIED:
        if not systemd_is_pid1():
            for parent in reversed(folders[0].parents):
                if parent == trees.roots[0] or trees.roots[0] in parent.parents:
                    _enable_controllers(parent)
        _enable_controllers(folders[0])
    for folder in folders:
        (folder / MACHINE).mkdir(exist_ok=True)
    return [folder / MACHINE for folder in folders]


def folders_of(lab: str, host: str | None = None) -> list[Path]:
    """Return the existing cgroup folders of a lab or of one of its hosts."""
    trees = current_trees()
    if systemd_is_pid1():
        pattern = scope_name(lab, host or "*")
        return [folder for root in trees.roots for folder in sorted(root.glob(f"herd.slice/herd-lab.slice/{pattern}"))]
    found = [root / CGROUP_NAME / lab for root in trees.roots]
    if host is not None:
        found = [folder / host for folder in found]
    return [folder for folder in found if folder.is_dir()]


def labs() -> set[str]:
    """Return the names of labs that have a cgroup."""
    trees = current_trees()
    names: set[str] = set()
    for root in trees.roots:
        if systemd_is_pid1():
            for folder in root.glob("herd.slice/herd-lab.slice/herd-lab-*.scope"):
                names.add(folder.name.removeprefix("herd-lab-").partition(".")[0])
        elif (root / CGROUP_NAME).is_dir():
            names |= {child.name for child in (root / CGROUP_NAME).iterdir() if child.is_dir()}
    return names


def _from_the_bottom(folder: Path) -> list[Path]:
    """Yield the folder and all below it, the deepest first; os.walk skips folders that are removed meanwhile.

    systemd removes empty folders too, in a host and on the machine.
    """
    return [Path(name) for name, _folders, _files in os.walk(folder, topdown=False)]


def processes(folders: list[Path]) -> set[int]:
    found: set[int] = set()
    for inner in (inner for folder in folders for inner in _from_the_bottom(folder)):
        try:
            found |= {int(word) for word in (inner / "cgroup.procs").read_text(encoding="ascii").split()}
        except OSError:
            continue
    # 0 is a process of another PID namespace, which cannot be a child of this lab.
    return found - {0, os.getpid()}


def end_all(folders: list[Path], patience: float = 10.0) -> None:
    """Kill every process below the folders with SIGKILL, and remove the folders."""
    limit = time.monotonic() + patience
    while alive := processes(folders):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > limit:
            raise LabError(f"Processes {sorted(alive)} do not end, not even with SIGKILL; look at /proc/PID/stack.")
        time.sleep(0.02)
    for folder in folders:
        _remove(folder)


def _remove(folder: Path) -> None:
    for path in _from_the_bottom(folder):
        # A process that has just ended may be counted for another moment.
        for attempt in range(50):
            try:
                path.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.02)


def remove_empty_parents() -> None:
    """Remove the shared groups after the last lab."""
    if systemd_is_pid1():
        if not labs():
            run(["systemctl", "stop", "herd-lab.slice", "herd.slice"], check=False)
        return
    for root in current_trees().roots:
        folder = root / CGROUP_NAME
        if folder.is_dir() and not any(child.is_dir() for child in folder.iterdir()):
            folder.rmdir()


def stop_scope(lab: str, host: str) -> None:
    if systemd_is_pid1():
        run(["systemctl", "stop", scope_name(lab, host)], check=False)


def memory_folder(proc_cgroup: str) -> tuple[Path, str]:
    """Return a process's memory cgroup and the name of its limit's file, from /proc/PID/cgroup."""
    for line in proc_cgroup.splitlines():
        _number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"
    return Path("/sys/fs/cgroup") / own_path(proc_cgroup).lstrip("/"), "memory.max"


def run_out_of_memory(pid: int, room: int, patience: float = 60.0) -> None:
    """Limit a process's memory to its present use plus some bytes, and wait until the kernel kills it."""
    folder, limit = memory_folder(Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii"))
    if limit == "memory.max":
        # The unit's own group: a process may only be in a leaf.
        now = int((folder / "memory.current").read_text(encoding="ascii"))
        (folder / limit).write_text(str(now + room), encoding="ascii")
        return
    group = folder / f"{CGROUP_NAME}-out-of-memory"
    group.mkdir()
    try:
        # Memory that it has allocated stays with its former group.
        (group / limit).write_text(str(room), encoding="ascii")
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        end = time.monotonic() + patience
        while "oom_kill 0" in (group / "memory.oom_control").read_text(encoding="ascii"):
            if time.monotonic() >= end:
                raise LabError(f"Process {pid} has not asked for memory within {patience:.0f} s, so it lives.")
            time.sleep(0.02)
    finally:
        _leave(group, folder)


def _leave(group: Path, folder: Path) -> None:
    """Empty a group and remove it; its ending processes need a moment."""
    for _each in range(100):
        for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
            with suppress(OSError):
                (folder / "cgroup.procs").write_text(pid, encoding="ascii")
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
    raise LabError(f"The group {group} cannot be removed.")
