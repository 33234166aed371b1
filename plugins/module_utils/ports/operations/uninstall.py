# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what this collection has installed on a host, and remove it."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...core.errors import NotFoundError, RemoteFailureError
from .. import commands, files, systemd
from ..gateway import nginx
from ..host import firewall
from ..release.store import ReleaseStore
from ..slurm import commands as slurm_commands

#: Files of systemd and other programs that the collection may have written.
PLACES = (
    "etc/systemd/system/*",
    "etc/systemd/system/*.d/*",
    "etc/systemd/*.conf",
    "etc/systemd/*.conf.d/*",
    "etc/tmpfiles.d/*",
    "etc/sysctl.d/*",
    "etc/udev/rules.d/*",
    "etc/logrotate.d/*",
    "etc/grafana/provisioning/dashboards/*",
)
#: Seconds within which cancelled jobs must end, with Slurm's epilog.
JOBS_END_S = 300.0
#: Seconds to wait for another removal on this host, which may itself wait for jobs.
OTHER_ENDS_S = JOBS_END_S + 300
_HEAD = 400
# Units whose stop waits for processes that finish the responses of their clients, and the units of these processes.
_PATIENT = {
    "herd-queue.service": "herd-queue.service",
    "herd-gateway.socket": "herd-gateway@*.service",
    "herd-gateway@.service": "herd-gateway@*.service",
}
# Units that would start other units or submit jobs, so they are removed first.
_FIRST = ("herd-tiers.service", "herd-agent.service")


@dataclass(frozen=True)
class Leftover:
    """Something to remove: its kind, its name, and the function that removes it."""

    kind: str
    name: str
    remove: Callable[[], None]


@contextmanager
def alone(folder: Path = Path("/"), patience: float = OTHER_ENDS_S) -> Iterator[None]:
    """Wait until no other removal runs on this host: the module of a killed playbook works on.

    :param folder: folder to lock. A lock file would be one more file to remove.
    :param patience: seconds to wait.
    :raises RemoteFailureError: if another removal still runs then.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise RemoteFailureError(
                        f"another removal on this host to end within {patience:g} seconds",
                        "that it still runs",
                        f"wait for it, or end the process that holds a lock on {folder} (lsof {folder})",
                    ) from None
                time.sleep(0.5)
        yield
    finally:
        os.close(fd)


def _run(*words: str) -> None:
    commands.run_checked(words, "fix the cause and run the playbook again", timeout=120)


def _remove_unit(path: Path) -> None:
    # Of a template unit, all loaded instances.
    units = path.name.replace("@.", "@*.")
    if path.name in _PATIENT:
        commands.run(["systemctl", "kill", "--signal=KILL", _PATIENT[path.name]])
    commands.run(["systemctl", "disable", "--quiet", path.name])
    systemd.stop(units)
    for entry in (path, path.with_name(f"{path.name}.d")):
        files.remove(entry)
    systemd.reload()
    commands.run(["systemctl", "reset-failed", units])


def _remove_drop_in(path: Path) -> None:
    """Remove a drop-in of another program's unit, which then runs with its own configuration."""
    files.remove(path)
    systemd.reload()
    commands.run(["systemctl", "try-restart", path.parent.name.removesuffix(".d")])


def written_files(is_ours: Callable[[str], bool], *more: Path) -> Iterator[Leftover]:
    """Find units and files with the collection's mark. Units come first, those that start others before the rest."""
    found = [*(path for pattern in PLACES for path in Path("/").glob(pattern)), *more]
    ours = [path for path in found if path.is_file() and not path.is_symlink() and is_ours(beginning(path))]
    is_unit = {path: path.parent == systemd.UNIT_DIRECTORY and path.suffix != ".conf" for path in ours}

    def order(path: Path) -> tuple[bool, bool, bool, str]:
        return (not is_unit[path], path.name not in _FIRST, path.suffix != ".socket", path.name)

    for path in sorted(ours, key=order):
        if is_unit[path]:
            yield Leftover("unit", path.name, partial(_remove_unit, path))
        else:
            is_drop_in = path.parent.parent == systemd.UNIT_DIRECTORY
            yield Leftover("file", str(path), partial(_remove_drop_in if is_drop_in else files.remove, path))


def beginning(path: Path) -> str:
    """Return the beginning of a file, which may contain the collection's mark."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_HEAD)


def _jobs(user: str, names: Sequence[str]) -> list[str]:
    """Return the jobs of a user in Slurm's queue as C(NAME ID), even completing ones; empty without Slurm."""
    try:
        return slurm_commands.run(
            "squeue", "--noheader", f"--user={user}", f"--name={','.join(names)}", "--format=%j %i"
        ).splitlines()
    except NotFoundError:
        return []


def _cancel(user: str, names: Sequence[str]) -> None:
    for name in names:
        slurm_commands.run("scancel", f"--user={user}", f"--name={name}")
    until = time.monotonic() + JOBS_END_S
    while running := _jobs(user, names):
        if time.monotonic() >= until:
            raise RemoteFailureError(
                f"the cancelled jobs to end within {JOBS_END_S:g} seconds",
                f"{', '.join(running)} in the queue",
                "look at squeue and at the logs of slurmd on their nodes, and run the playbook again",
            )
        time.sleep(1)


def jobs(user: str, names: Sequence[str]) -> Iterator[Leftover]:
    """Find jobs of these names, which are cancelled together."""
    if names and (found := _jobs(user, names)):
        yield Leftover("jobs", ", ".join(sorted(found)), partial(_cancel, user, names))


def nginx_site(root: Path, unit: str, is_ours: Callable[[str], bool]) -> Iterator[Leftover]:
    """Find the gateway's site in nginx's configuration."""
    site = root / "conf.d" / "herd.conf"
    has_site = site.is_file() and is_ours(beginning(site))
    # An interrupted run has moved it aside, and may not have reloaded nginx.
    aside = site.with_name(f"{site.name}.removed")
    if has_site or aside.is_file():
        yield Leftover("site", str(site), partial(_remove_site, root, unit, site if has_site else None, aside))


def _remove_site(root: Path, unit: str, site: Path | None, aside: Path) -> None:
    runs = systemd.show(unit).active_state in ("active", "reloading")
    if site and runs:
        # Other sites may need its definitions; then nothing is removed.
        nginx.test(root, {}, [str(site.relative_to(root))])
    if site:
        site.rename(aside)
    if runs:
        systemd.reload_unit(unit)
    files.remove(aside)


def shared(
    root: Path,
    patterns: Mapping[str, re.Pattern[str]],
    scripts: str,
    ours: Callable[[Mapping[str, str]], list[str]],
) -> Iterator[Leftover]:
    """Find the collection's files in the shared directory of a Slurm cluster.

    :param scripts: folder of the jobs' scripts.
    :param ours: returns the names of the collection's files, from the beginning of each file by name.
    """
    folder = root / scripts
    texts = {name: beginning(folder / name) for name in entries(folder) if (folder / name).is_file()}
    names = [folder / name for name in ours(texts)]
    for inner, pattern in patterns.items():
        names += [root / inner / name for name in entries(root / inner) if pattern.fullmatch(name)]
    yield from paths(iter(names))


def tables(named: Callable[[str], list[tuple[str, str]]]) -> Iterator[Leftover]:
    """Find the collection's tables in the kernel."""
    program = firewall.nft_program()
    if not program:
        return
    for family, name in named(commands.run([program, "list", "tables"]).out):
        # Added in the same transaction, so that the removal succeeds if a killed run has already removed the table.
        table = f"table {family} {name}"
        yield Leftover("rules", f"{family} {name}", partial(_run, program, f"add {table}; delete {table}"))


def firewalld_rules(ours: Callable[[list[str]], tuple[str, ...]]) -> Iterator[Leftover]:
    """Find the collection's rules in each zone of firewalld, if it runs."""
    for zone in firewall.firewalld_zones() if firewall.firewalld_runs() else ():
        for permanent, listed in firewall.firewalld_rules(zone).items():
            if rules := ours(listed):
                when = "permanent" if permanent else "in force"
                change = partial(firewall.firewalld_change, zone, permanent, rules)
                yield Leftover("rules", f"firewalld, zone {zone}, {when}: {', '.join(rules)}", change)


def paths(names: Iterator[Path]) -> Iterator[Leftover]:
    """Find the existing ones of these paths. A folder is removed with its content."""
    for path in names:
        if path.is_symlink() or path.exists():
            yield Leftover(
                "folder" if path.is_dir() and not path.is_symlink() else "file", str(path), partial(files.remove, path)
            )


def below(prefix: Path, patterns: Mapping[str, re.Pattern[str]], is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Find entries below the prefix with a name and content of the collection."""
    for folder, pattern in patterns.items():
        for name in entries(prefix / folder):
            path = prefix / folder / name
            if not path.is_symlink() and (pattern.fullmatch(name) or folder == "dist") and is_ours(path):
                yield path


def links_into(prefix: Path, releases: Path, names: re.Pattern[str]) -> Iterator[Path]:
    """Find links of these names that point to a release."""
    for path in (prefix / name for name in entries(prefix) if names.fullmatch(name)):
        if path.is_symlink() and (prefix / path.readlink()).parent == releases:
            yield path


def releases(paths: Iterable[Path]) -> Iterator[Leftover]:
    """Find releases, which are renamed before their removal, so that a kill leaves no partial release."""
    for path in paths:
        yield Leftover("folder", str(path), partial(ReleaseStore(path.parent.parent).remove, path.name))


def links(names: Iterable[str], root: Path) -> Iterator[Path]:
    """Return those of these links that point into a folder."""
    for path in map(Path, names):
        if path.is_symlink() and path.readlink().is_relative_to(root):
            yield path


def empty_folders(folders: Iterator[Path], going: Collection[str]) -> Iterator[Leftover]:
    """Find folders that are empty after the removal of C(going)."""
    for path in folders:
        if path.is_dir() and not path.is_symlink() and not {str(entry) for entry in path.iterdir()}.difference(going):
            yield Leftover("folder", str(path), path.rmdir)


def entries(folder: Path) -> list[str]:
    """Return the names in a folder; empty if it does not exist."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def owned(folder: Path, account: str, going: Collection[str]) -> Iterator[Leftover]:
    """Find files of an account in a folder, which root must own before the account is removed."""
    uid = files.user_id(account)
    for path in (folder, *(folder / name for name in entries(folder))):
        if str(path) not in going and path.exists() and path.lstat().st_uid == uid:
            yield Leftover("owner", str(path), partial(os.chown, path, 0, 0, follow_symlinks=False))


def accounts(name: str, comment: str) -> Iterator[Leftover]:
    """Find an account with the collection's comment, and its group."""
    with suppress(KeyError):
        if pwd.getpwnam(name).pw_gecos != comment:
            return
        yield Leftover("user", name, partial(_run, "userdel", name))
    gid = files.group_id(name)
    if gid is not None and not [user for user in pwd.getpwall() if user.pw_gid == gid and user.pw_name != name]:
        yield Leftover("group", name, partial(_remove_group, name))


def _remove_group(name: str) -> None:
    # On most systems, userdel also removes a group of the same name.
    if files.group_id(name) is not None:
        _run("groupdel", name)
