# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power supply of one host: mount its disk, boot it, and boot it again after a reboot.

It runs as long as the host is part of the lab, also while the host is off or has crashed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from . import cgroups, hosts, network
from .config import Host
from .naming import Places
from .process import LabError, run
from .rootfs import remove_tree

_PR_SET_PDEATHSIG = 1


class Supervisor:
    def __init__(self, places: Places, lab: str, host: Host) -> None:
        self.lab = lab
        self.host = host
        self.folder = places.host_state(lab, host.name)
        self.disk = places.disk(lab, host.name)
        self.boots = 0

    def serve(self) -> int:
        lock = hosts.lock_supervisor(self.folder)
        if lock is None:
            print("another supervisor serves this host", file=sys.stderr)
            return 1
        # Blocked, so that a signal of the power button waits for sigwait below.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            folders = cgroups.prepare(self.lab, self.host.name)
            root = self._mount()
        except (LabError, OSError) as error:
            self._tell(hosts.FAILED, reason=str(error))
            print(error, file=sys.stderr)
            return 1
        while True:
            code = self._boot(folders, root)
            if code == hosts.REBOOT_CODE:
                continue
            network.power(self.lab, self.host, on=False)
            self._tell(hosts.state_after(code), code=code)
            signal.sigwait({signal.SIGUSR1})

    def _tell(self, state: str, nspawn: int = 0, code: int | None = None, reason: str = "") -> None:
        status = hosts.Status(state, os.getpid(), nspawn, self.boots, code, reason)
        hosts.write_status(self.folder, status)

    def _mount(self) -> Path:
        root = self.disk / "root"
        # The kernel's mark of an earlier mount without syncs. The disk is valid: the machine itself did not crash.
        remove_tree(self.disk / "work" / "work" / "incompat")
        commands = hosts.mount_commands(self.host, hosts.lower_of(self.disk), self.disk, root)
        for command in commands:
            target = Path(command[-1])
            source = Path(command[2])
            if command[1] == "--bind" and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
            else:
                target.mkdir(parents=True, exist_ok=True)
            run(command)
        return root

    def _boot(self, folders: list[Path], root: Path) -> int:
        """Run the host until it ends; first remove remains in its cgroup."""
        cgroups.end_all(folders)
        for folder in folders:
            folder.mkdir()
        network.power(self.lab, self.host, on=True)
        self.boots += 1
        parent = os.getpid()

        def enter() -> None:
            # The host must not outlive a killed supervisor.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            for folder in folders:
                (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        with (self.folder / "console.log").open("ab") as console:
            process = subprocess.Popen(
                hosts.nspawn_argv(self.lab, self.host, root),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=hosts.nspawn_environment(os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")),
                # The supervisor has one thread, so no lock is held at the fork.
                preexec_fn=enter,  # noqa: PLW1509
            )
        self._tell(hosts.RUNNING, nspawn=process.pid)
        return process.wait()
