# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, show and remove a whole lab."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import cgroups, config, hosts, network
from .config import Host, Lab
from .images import IMAGES
from .naming import Places, lab_namespace, machine_name, split_namespace
from .process import LabError, run, say
from .requirements import PROBE_PREFIX
from .rootfs import Store, remove_tree

_NSPAWN_RUN = Path("/run/systemd/nspawn")


@dataclass(frozen=True)
class HostReport:
    name: str
    state: str
    eth: str
    ib: str | None
    os: str
    boots: int
    cut: tuple[str, ...]


@dataclass(frozen=True)
class LabReport:
    name: str
    state: str
    hosts: tuple[HostReport, ...]


def ssh_config(places: Places, lab: Lab) -> str:
    lines = []
    for host in lab.hosts:
        lines += [f"Host {host.name}", f"    HostName {host.eth}"]
    lines += [
        "Host *",
        "    User root",
        f"    IdentityFile {places.key(lab.name)}",
        "    IdentitiesOnly yes",
        "    StrictHostKeyChecking no",
        "    UserKnownHostsFile /dev/null",
        "    LogLevel ERROR",
        f"    ProxyCommand nsenter --net=/run/netns/{lab_namespace(lab.name)} socat - TCP:%h:%p",
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _lock(path: Path, is_busy: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock of a file, which its holder may remove.

    :param is_busy: called with the text of the file if another process holds the lock; then it is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+", encoding="ascii") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                is_busy(handle.read(20))
                fcntl.flock(handle, fcntl.LOCK_EX)
            # A lock on a removed file protects nothing.
            if path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                yield
                return


class Manager:
    """Makes, changes and removes labs."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.store = Store(places.images)

    # Inspection

    def lab(self, name: str) -> Lab:
        """Return the definition with which the lab was made."""
        try:
            text = (self.places.state(name) / "lab.json").read_text(encoding="utf-8")
        except OSError as error:
            raise LabError(f"There is no lab {name!r}; 'python3 -m tests.lab list' shows those that exist.") from error
        return config.from_data(json.loads(text))

    def is_complete(self, name: str) -> bool:
        """Return whether an `up` of this lab has succeeded."""
        return (self.places.state(name) / "complete").is_file()

    def names(self) -> list[str]:
        """Return the names of all labs that have any part on this machine."""
        found = cgroups.labs()
        for folder in (self.places.run, self.places.data):
            if folder.is_dir():
                found |= {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
        for namespace in network.namespaces():
            owner = split_namespace(namespace)
            if owner is not None:
                found.add(owner[0])
        return sorted(found)

    def report(self, name: str) -> LabReport:
        try:
            lab = self.lab(name)
        except LabError:
            return LabReport(name, "leftover", ())
        reports = []
        for host in lab.hosts:
            status = hosts.read_status(self.places.host_state(name, host.name))
            wired = [net for net in config.NETWORKS if host.address(net) is not None]
            cut = tuple(net.label for net in wired if not network.cable_is_up(name, host, net))
            reports.append(HostReport(host.name, status.state, host.eth, host.ib, host.os, status.boots, cut))
        state = "up" if self.is_complete(name) else "incomplete"
        if all(report.state == hosts.ABSENT for report in reports):
            state = "leftover"
        return LabReport(name, state, tuple(reports))

    def leader(self, name: str, host: Host) -> int:
        status = hosts.read_status(self.places.host_state(name, host.name))
        pid = hosts.leader(status.nspawn) if status.state == hosts.RUNNING else None
        if pid is None:
            raise LabError(
                f"Host {host.name} of lab {name} is {status.state}; "
                f"'python3 -m tests.lab --name {name} start {host.name}' starts it."
            )
        return pid

    # Making

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Allow one change of a lab at a time."""

        def is_busy(_holder: str) -> None:
            say(f"waiting for another command that changes lab {name}")

        with _lock(self.places.run / f".{name}.lock", is_busy):
            yield

    @contextmanager
    def reserved(self, name: str) -> Iterator[None]:
        """Reserve a lab's name for a run of several commands.

        :raises LabError: if another run has reserved it.
        """

        def is_busy(holder: str) -> None:
            raise LabError(
                f"Another run uses lab {name} (process {holder or 'unknown'}): wait until it has ended, since this one "
                "would remove its hosts."
            )

        path = self.places.run / f".{name}.reserved"
        with _lock(path, is_busy):
            path.write_text(str(os.getpid()), encoding="ascii")
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def up(self, lab: Lab) -> None:
        """Make the lab, or its missing parts; correct parts stay untouched."""
        started = time.monotonic()
        self.store.ensure(lab)
        with self._locked(lab.name):
            self._remember(lab)
            self._make_key(lab)
            network.create(lab)
            for host in lab.hosts:
                self._start(lab, host)
            for host in lab.hosts:
                self._await_boot(lab.name, host)
            (self.places.state(lab.name) / "complete").touch()
        say(f"{lab.name} is up: {len(lab.hosts)} hosts in {time.monotonic() - started:.1f} s")

    def _remember(self, lab: Lab) -> None:
        state = self.places.state(lab.name)
        state.mkdir(parents=True, exist_ok=True)
        # Private, because it holds the lab's key.
        state.chmod(0o700)
        self.places.control_sockets(lab.name).mkdir(mode=0o700, exist_ok=True)
        path = state / "lab.json"
        text = json.dumps(config.to_data(lab), indent=1, sort_keys=True)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise LabError(
                f"Lab {lab.name} exists with another definition; "
                f"run 'python3 -m tests.lab --name {lab.name} down' first, or give the new one another name."
            )
        for name, content in (("ssh_config", ssh_config(self.places, lab)), ("lab.json", text)):
            new = state / f"{name}.new"
            new.write_text(content, encoding="utf-8")
            new.rename(state / name)

    def _make_key(self, lab: Lab) -> None:
        key = self.places.key(lab.name)
        if key.is_file() and key.with_suffix(".pub").is_file():
            return
        key.unlink(missing_ok=True)
        new = key.with_name("new-key")
        for path in (new, new.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"herd-lab-{lab.name}", "-f", str(new)])
        # The public half first: the private half marks the pair as complete.
        new.with_suffix(".pub").rename(key.with_suffix(".pub"))
        new.rename(key)

    def _start(self, lab: Lab, host: Host) -> None:
        folder = self.places.host_state(lab.name, host.name)
        status = hosts.read_status(folder)
        if status.state in {hosts.OFF, hosts.CRASHED}:
            hosts.press_power(status)
            hosts.wait_for(self.places, lab.name, host.name, {hosts.RUNNING}, 10)
            return
        if hosts.supervised(folder):
            return
        # The supervisor was killed: kill its remains before a new one starts.
        self._end_host(lab.name, host.name)
        image = IMAGES[host.os]
        lower = self.store.lower_folders(image, image.with_layers(host.layers))
        public = self.places.key(lab.name).with_suffix(".pub").read_text(encoding="utf-8")
        files = {
            "/etc/hosts": network.etc_hosts(lab, host),
            "/etc/hostname": f"{host.hostname}\n",
            "/root/.ssh/authorized_keys": public,
        }
        for bind in host.binds:
            if not Path(bind.source).exists():
                Path(bind.source).mkdir(parents=True)
        hosts.make_disk(self.places, lab.name, host, lower, files)
        prefix = cgroups.scope_argv(lab.name, host.name, []) if cgroups.systemd_is_pid1() else []
        hosts.start_supervisor(self.places, lab.name, host, prefix)

    def _await_boot(self, name: str, host: Host) -> None:
        word = hosts.wait_until_booted(self.places, name, host.name)
        if word != "running":
            say(f"{host.name} is {word}: {hosts.failed_units(self.leader(name, host))} failed")

    # Hosts

    def start(self, lab: Lab, host: Host) -> None:
        with self._locked(lab.name):
            self._start(lab, host)
        self._await_boot(lab.name, host)

    def crash(self, lab: Lab, host: Host) -> None:
        """Kill the host as a power failure would; its disk keeps its state."""
        leader = self.leader(lab.name, host)
        # First the network: a machine without power closes no connection.
        network.power(lab.name, host, on=False)
        os.kill(leader, signal.SIGKILL)
        hosts.wait_for(self.places, lab.name, host.name, {hosts.CRASHED, hosts.OFF}, 20)

    # Removing

    def _end_host(self, name: str, host: str) -> None:
        cgroups.end_all(cgroups.folders_of(name, host))
        cgroups.stop_scope(name, host)

    def _end_connections(self, name: str) -> None:
        """Close ssh's shared connections: they would outlive the hosts, and the next lab would reuse them."""
        folder = self.places.control_sockets(name)
        for socket in folder.iterdir() if folder.is_dir() else ():
            run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "lab"], check=False, timeout=10)

    def _end_strangers(self, name: str) -> None:
        """Kill other processes in the lab's namespaces, such as ssh's proxy."""
        ours = lab_namespace(name)
        for namespace in network.namespaces():
            if namespace == ours or namespace.startswith(f"{ours}."):
                self._kill(network.processes(namespace))

    @staticmethod
    def _kill(pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def down(self, name: str) -> None:
        """Remove all parts of the lab, also the remains of a killed run."""
        with self._locked(name):
            (self.places.state(name) / "complete").unlink(missing_ok=True)
            # A supervisor that a killed `up` has just started either finds no lab, or is killed here.
            (self.places.state(name) / "lab.json").unlink(missing_ok=True)
            self._kill(hosts.supervisors(name))
            self._end_connections(name)
            members = self._hosts_seen(name)
            for host in members:
                self._end_host(name, host)
            cgroups.end_all(cgroups.folders_of(name))
            self._end_strangers(name)
            network.destroy(name, network.namespaces())
            for host in members:
                for kind in ("propagate", "unix-export"):
                    folder = _NSPAWN_RUN / kind / machine_name(name, host)
                    if folder.is_dir():
                        folder.rmdir()
            remove_tree(self.places.data / name)
            remove_tree(self.places.state(name))
            cgroups.remove_empty_parents()
            (self.places.run / f".{name}.lock").unlink()

    def _hosts_seen(self, name: str) -> list[str]:
        found: set[str] = set()
        for folder in (self.places.state(name) / "hosts", self.places.data / name):
            if folder.is_dir():
                found |= {path.name.removeprefix(".new-") for path in folder.iterdir()} - {".shared"}
        for namespace in network.namespaces():
            owner = split_namespace(namespace)
            if owner is not None and owner[0] == name and owner[1] is not None:
                found.add(owner[1])
        for folder in cgroups.folders_of(name):
            if folder.name == name:
                found |= {child.name for child in folder.iterdir() if child.is_dir()}
        return sorted(found)

    def leftovers(self) -> list[str]:
        """Return labs that a killed run left: incomplete, and in use by no process."""
        return [
            name
            for name in self.names()
            if (not self.is_complete(name) or self.report(name).state == "leftover") and not self._busy(name)
        ]

    def _busy(self, name: str) -> bool:
        path = self.places.run / f".{name}.lock"
        if not path.exists():
            return False
        with path.open("r", encoding="ascii") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def remove_probes(self) -> None:
        """Remove the remains of killed checks: all older than a minute, since a running check is younger."""
        for folder in self.places.data.glob(f"{PROBE_PREFIX}*"):
            if time.time() - folder.stat().st_mtime > 60:
                remove_tree(folder)

    def prune(self) -> list[Path]:
        """Remove cached file systems that neither a recipe nor a lab uses."""
        used: set[Path] = set()
        for name in self.names():
            for disk in (self.places.data / name).glob("*"):
                used |= {Path(path) for path in hosts.lower_of(disk)}
            try:
                used |= {Path(bind.source) for host in self.lab(name).hosts for bind in host.binds}
            except LabError:
                continue
        removed = self.store.unused(used)
        for path in removed:
            remove_tree(path)
        return removed


def as_json(reports: list[LabReport]) -> list[dict[str, Any]]:
    return [asdict(report) for report in reports]


def as_table(reports: list[LabReport]) -> str:
    rows = [("LAB", "HOST", "STATE", "ETH", "IB", "SYSTEM", "BOOTS", "CUT")]
    for report in reports:
        if not report.hosts:
            rows.append((report.name, "-", report.state, "-", "-", "-", "-", "-"))
        for host in report.hosts:
            rows.append(
                (
                    report.name,
                    host.name,
                    host.state if report.state == "up" else f"{host.state} ({report.state})",
                    host.eth,
                    host.ib or "-",
                    host.os,
                    str(host.boots),
                    ",".join(host.cut) or "-",
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in padded)
