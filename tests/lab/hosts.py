# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: its disk, its boot and its end.

The host's mounts are in the mount namespace of its supervisor, so the kernel removes them when it exits.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from .config import Host
from .naming import Places, host_namespace, machine_name
from .process import LabError, run
from .rootfs import remove_tree

STARTING = "starting"
RUNNING = "running"
OFF = "off"
CRASHED = "crashed"
FAILED = "failed"
ABSENT = "absent"

# Exit status of systemd-nspawn when the host requested a reboot.
REBOOT_CODE = 133


@dataclass(frozen=True)
class Status:
    """The state of a host that its supervisor writes into state.json."""

    state: str
    supervisor: int = 0
    nspawn: int = 0
    boots: int = 0
    code: int | None = None
    reason: str = ""


def nspawn_argv(lab: str, host: Host, root: Path) -> list[str]:
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        f"--machine={machine_name(lab, host.name)}",
        f"--hostname={host.hostname}",
        "--register=no",
        "--keep-unit",
        "--boot",
        f"--network-namespace-path=/run/netns/{host_namespace(lab, host.name)}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--capability=all",
        # A host may not set the machine's clock or load modules into its kernel.
        "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE",
        "--console=pipe",
    ]


def nspawn_environment(path: str) -> dict[str, str]:
    return {
        "PATH": path,
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        # The filter refuses bpf(), and systemd would then ignore IPAddressDeny= silently.
        "SYSTEMD_SECCOMP": "0",
    }


def state_after(code: int) -> str:
    """Classify the end of a host: a power off, or an end that it did not request."""
    return OFF if code == 0 else CRASHED


def mount_commands(host: Host, lower: Sequence[str], disk: Path, root: Path) -> list[list[str]]:
    """Return the commands that mount the host's file system, from the bottom up."""
    # "volatile": a sync in a host costs nothing; its disk need not survive the machine's own crash.
    overlay = f"lowerdir={':'.join(lower)},upperdir={disk}/upper,workdir={disk}/work,volatile"
    commands = [["mount", "-t", "overlay", "overlay", "-o", overlay, str(root)]]
    for path, size in sorted(host.disks.items()):
        commands.append(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", f"{root}{path}"])
    for bind in sorted(host.binds, key=lambda item: item.target):
        commands.append(["mount", "--bind", bind.source, f"{root}{bind.target}"])
        if bind.read_only:
            commands.append(["mount", "-o", "remount,bind,ro", f"{root}{bind.target}"])
    return commands


def write_status(folder: Path, status: Status) -> None:
    new = folder / "state.json.new"
    new.write_text(json.dumps(asdict(status)), encoding="utf-8")
    new.rename(folder / "state.json")


def lock_supervisor(folder: Path, patience: float = 2.0) -> IO[str] | None:
    """Take the lock that a supervisor holds while it runs; None if another one holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = (folder / "supervisor.lock").open("w", encoding="ascii")
    limit = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A query for a supervisor holds the lock for a moment.
            if time.monotonic() > limit:
                handle.close()
                return None
            time.sleep(0.01)
        else:
            return handle


def supervised(folder: Path) -> bool:
    try:
        with (folder / "supervisor.lock").open("r", encoding="ascii") as handle:
            # Shared, so that two queries do not mistake each other for a supervisor.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def read_status(folder: Path) -> Status:
    """Return the supervisor's last state, or that there is none."""
    try:
        status = Status(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Status(STARTING if supervised(folder) else ABSENT)
    if not supervised(folder):
        return Status(ABSENT, boots=status.boots, code=status.code, reason=status.reason)
    return status


def parent_and_inner_pid(status: str) -> tuple[int, int]:
    """Return the parent's and the innermost process id, from the text of /proc/PID/status."""
    parent = inner = 0
    for line in status.splitlines():
        if line.startswith("PPid:"):
            parent = int(line.split()[1])
        elif line.startswith("NSpid:"):
            words = line.split()
            inner = int(words[-1]) if len(words) > 2 else 0
    return parent, inner


def leader(nspawn: int) -> int | None:
    """Return the machine's id of the host's PID 1."""
    if not nspawn:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent, inner = parent_and_inner_pid((entry / "status").read_text(encoding="ascii", errors="replace"))
        except OSError:
            continue
        if parent == nspawn and inner == 1:
            return int(entry.name)
    return None


def outer_pid(leader: int, inner: int) -> int:
    """Return the machine's id of the process that has this id inside the host."""
    ours = Path(f"/proc/{leader}/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            text = (entry / "status").read_text(encoding="ascii", errors="replace")
            if parent_and_inner_pid(text)[1] == inner and (entry / "ns/pid").readlink() == ours:
                return int(entry.name)
    raise LabError(f"The host with PID 1 {leader} has no process {inner}.")


def make_disk(places: Places, lab: str, host: Host, lower: Sequence[Path], files: dict[str, str]) -> None:
    """Make the host's writable layer, completely or not at all; keep an existing one."""
    disk = places.disk(lab, host.name)
    if disk.is_dir():
        return
    new = disk.with_name(f".new-{disk.name}")
    remove_tree(new)
    for folder in ("upper", "work", "root"):
        (new / folder).mkdir(parents=True)
    # An overlay shows the upper folder's mode as that of "/".
    (new / "upper").chmod(0o755)
    for name, text in files.items():
        path = new / "upper" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600 if name.endswith("authorized_keys") else 0o644)
    ssh = new / "upper" / "root"
    if ssh.is_dir():
        ssh.chmod(0o700)
        (ssh / ".ssh").chmod(0o700)
    # The disk keeps the layers that it was made on, even if the recipes change later.
    (new / "lower").write_text("".join(f"{path}\n" for path in lower), encoding="utf-8")
    new.rename(disk)


def lower_of(disk: Path) -> list[str]:
    try:
        return (disk / "lower").read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []


def start_supervisor(places: Places, lab: str, host: Host, argv_prefix: Sequence[str]) -> None:
    folder = places.host_state(lab, host.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").unlink(missing_ok=True)
    with (folder / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [
                *argv_prefix,
                "unshare",
                "--mount",
                # New namespaces of `ip netns` must still appear here.
                "--propagation=slave",
                sys.executable,
                "-m",
                "tests.lab",
                "supervise",
                lab,
                host.name,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
        )


def serves(cmdline: bytes, lab: str) -> bool:
    """Return whether a process is, or will become, a supervisor of this lab, from /proc/PID/cmdline."""
    words = cmdline.split(b"\0")
    return any(words[at : at + 3] == [b"tests.lab", b"supervise", lab.encode()] for at in range(max(0, len(words) - 2)))


def supervisors(lab: str) -> list[int]:
    """Return the lab's supervisors, also new ones that are not in a cgroup of the lab yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if serves((entry / "cmdline").read_bytes(), lab):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def press_power(status: Status) -> None:
    """Start a host that is off or has crashed."""
    os.kill(status.supervisor, signal.SIGUSR1)


def inotify_instances() -> tuple[int, int]:
    """Return the used inotify instances and root's limit; every systemd needs several."""
    used = 0
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            used += str(handle.readlink()) == "anon_inode:inotify"
    return used, int(Path("/proc/sys/fs/inotify/max_user_instances").read_text(encoding="ascii"))


def inotify_hint(used: int, limit: int) -> str:
    """Return a hint if inotify instances run out: systemd then hangs or ends silently."""
    if used < 0.75 * limit:
        return ""
    return (
        f" {used} of this machine's {limit} inotify instances are in use, and systemd needs some: "
        "end other labs, or raise the kernel's fs.inotify.max_user_instances."
    )


def wait_for(places: Places, lab: str, host: str, wanted: set[str], timeout: float) -> Status:
    folder = places.host_state(lab, host)
    limit = time.monotonic() + timeout
    while True:
        status = read_status(folder)
        if status.state in wanted:
            return status
        if status.state == FAILED:
            raise LabError(f"Host {host} of lab {lab} cannot start: {status.reason}")
        if time.monotonic() > limit:
            raise LabError(
                f"Host {host} of lab {lab} is {status.state} after {timeout:.0f} s, not "
                f"{' or '.join(sorted(wanted))}; see {folder}/supervisor.log and {folder}/console.log."
                f"{inotify_hint(*inotify_instances())}"
            )
        time.sleep(0.02)


def enter_argv(pid: int, argv: Sequence[str]) -> list[str]:
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--", *argv]


def wait_until_booted(places: Places, lab: str, host: str, timeout: float = 60.0) -> str:
    """Wait until systemd in the host has started all units, and return its state."""
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        status = wait_for(places, lab, host, {RUNNING}, timeout)
        pid = leader(status.nspawn)
        if pid is not None:
            argv = enter_argv(pid, ["systemctl", "is-system-running", "--wait"])
            # On a busy machine systemctl can miss the end of the boot and wait forever.
            with suppress(subprocess.TimeoutExpired):
                word = run(argv, check=False, timeout=5).stdout.strip()
                if word in {"running", "degraded"}:
                    return word
        time.sleep(0.05)
    folder = places.host_state(lab, host)
    raise LabError(
        f"Host {host} of lab {lab} has not booted after {timeout:.0f} s; see {folder}/console.log."
        f"{inotify_hint(*inotify_instances())}"
    )


def failed_units(pid: int) -> str:
    argv = enter_argv(pid, ["systemctl", "--failed", "--plain", "--no-legend"])
    return ", ".join(line.split()[0] for line in run(argv, check=False).stdout.splitlines() if line.split())
