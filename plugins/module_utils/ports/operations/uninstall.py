# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection has left on a host, and how each kind of it goes."""

from __future__ import annotations

import grp
import os
import pwd
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...core.errors import NotFoundError, RemoteFailureError
from .. import commands, files, systemd
from ..gateway import nginx
from ..host import firewall
from ..slurm import commands as slurm_commands

#: Where systemd and its like read files of ours.
PLACES = (
    "etc/systemd/system/*",
    "etc/systemd/system/*.d/*",
    "etc/systemd/*.conf",
    "etc/systemd/*.conf.d/*",
    "etc/tmpfiles.d/*",
    "etc/sysctl.d/*",
    "etc/udev/rules.d/*",
    "etc/logrotate.d/*",
)
FOLDERS = (
    "/etc/herd",
    "/opt/herd",
    "/run/herd",
    "/run/herd-gateway",
    "/run/herd-guard",
    "/var/lib/herd",
    "/var/lib/herd-tiers",
    "/var/cache/herd",
    "/var/log/herd",
)
LINKS = tuple(
    f"/usr/local/bin/{name}"
    for name in ("herdctl", "llama-cluster-monitor", "llama-model-selector", "llama-service-status")
)
#: Seconds within which jobs that were cancelled have ended, with all that Slurm does after them.
JOBS_END_S = 300.0
_HEAD = 400
# They wait for their clients as long as answers take, or leave behind a process that does.
_PATIENT = ("herd-queue.service", "herd-gateway.service")
# The tier manager would submit jobs anew, the agent start what is stopped, and a socket its service.
_FIRST = ("herd-tiers.service", "herd-agent.service")


@dataclass(frozen=True)
class Leftover:
    """Something that is left: its kind, its name, and what makes it go."""

    kind: str
    name: str
    remove: Callable[[], None]


def _run(*words: str) -> None:
    commands.run_checked(words, "fix the cause and run the playbook again", timeout=120)


def _remove_unit(path: Path) -> None:
    if path.name in _PATIENT:
        commands.run(["systemctl", "kill", "--signal=KILL", path.name])
    commands.run(["systemctl", "disable", "--quiet", path.name])
    systemd.stop(path.name)
    for entry in (path, path.with_name(f"{path.name}.d")):
        files.remove(entry)
    systemd.reload()
    commands.run(["systemctl", "reset-failed", path.name])


def written_files(is_ours: Callable[[str], bool], *more: Path) -> Iterator[Leftover]:
    """Find units and other files by what they say of themselves; units first, of these who would start others."""
    found = [*(path for pattern in PLACES for path in Path("/").glob(pattern)), *more]
    ours = [path for path in found if path.is_file() and not path.is_symlink() and is_ours(beginning(path))]
    is_unit = {path: path.parent == systemd.UNIT_DIRECTORY and path.suffix != ".conf" for path in ours}

    def order(path: Path) -> tuple[bool, bool, bool, str]:
        return (not is_unit[path], path.name not in _FIRST, path.suffix != ".socket", path.name)

    for path in sorted(ours, key=order):
        if is_unit[path]:
            yield Leftover("unit", path.name, partial(_remove_unit, path))
        else:
            yield Leftover("file", str(path), partial(files.remove, path))


def beginning(path: Path) -> str:
    """Read so much of a file that it can say whose it is."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_HEAD)


def _jobs(user: str, names: Sequence[str]) -> list[str]:
    """Name the jobs of a user in Slurm's queue, also those that end, as C(NAME ID); none without Slurm."""
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
                f"that {', '.join(running)} did not",
                "look at squeue and at the logs of slurmd on their nodes, and run it again",
            )
        time.sleep(1)


def jobs(user: str, names: Sequence[str]) -> Iterator[Leftover]:
    """Find jobs of these names, all of which are cancelled at once."""
    if names and (found := _jobs(user, names)):
        yield Leftover("jobs", ", ".join(sorted(found)), partial(_cancel, user, names))


def nginx_site(root: Path, unit: str, names: Sequence[str], is_ours: Callable[[str], bool]) -> Iterator[Leftover]:
    """Find what nginx was told of our gateway: its site, and our files in a folder of their own."""
    site, folder = root / "conf.d" / "herd.conf", root / "herd"
    has_site = site.is_file() and is_ours(beginning(site))
    ours = [folder / name for name in names if (folder / name).is_file()]
    is_whole = not set(entries(folder)).difference(names)
    # The folder goes last: as long as it is there, a run that was killed is taken up and has nginx reloaded.
    if has_site or ours:
        remove = partial(_remove_site, root, unit, site if has_site else None, ours)
        yield Leftover("site", str(site), remove)
        yield from (Leftover("file", str(path), partial(files.remove, path)) for path in ours)
    if folder.is_dir() and is_whole:
        yield Leftover("folder", str(folder), folder.rmdir)


def _remove_site(root: Path, unit: str, site: Path | None, more: Sequence[Path]) -> None:
    if systemd.show(unit).active_state in ("active", "reloading"):
        # What others have written may need what is ours; then nothing has changed.
        nginx.test(root, {}, [str(path.relative_to(root)) for path in (*([site] if site else []), *more)])
        if site:
            files.remove(site)
        systemd.reload_unit(unit)
    elif site:
        files.remove(site)


def shared(
    root: Path,
    patterns: Mapping[str, re.Pattern[str]],
    scripts: str,
    ours: Callable[[Mapping[str, str]], list[str]],
) -> Iterator[Leftover]:
    """Find what is ours in the directory that all hosts of a Slurm cluster have in common.

    :param scripts: the folder of jobs' scripts.
    :param ours: which of its files are ours, by how they begin.
    """
    folder = root / scripts
    texts = {name: beginning(folder / name) for name in entries(folder) if (folder / name).is_file()}
    names = [folder / name for name in ours(texts)]
    for inner, pattern in patterns.items():
        names += [root / inner / name for name in entries(root / inner) if pattern.fullmatch(name)]
    yield from paths(iter(names))


def tables(named: Callable[[str], list[tuple[str, str]]]) -> Iterator[Leftover]:
    """Find our tables in the kernel."""
    program = firewall.nft_program()
    if not program:
        return
    for family, name in named(commands.run([program, "list", "tables"]).out):
        # Added first, in the same transaction: a run that was killed goes on here, and may have taken it meanwhile.
        table = f"table {family} {name}"
        yield Leftover("rules", f"{family} {name}", partial(_run, program, f"add {table}; delete {table}"))


def firewalld_rules(ours: Callable[[list[str]], tuple[str, ...]]) -> Iterator[Leftover]:
    """Find our rules in every zone of firewalld, where it runs."""
    for zone in firewall.firewalld_zones() if firewall.firewalld_runs() else ():
        for permanent, listed in firewall.firewalld_rules(zone).items():
            if rules := ours(listed):
                when = "permanent" if permanent else "in force"
                change = partial(firewall.firewalld_change, zone, permanent, rules)
                yield Leftover("rules", f"firewalld, zone {zone}, {when}: {', '.join(rules)}", change)


def paths(names: Iterator[Path]) -> Iterator[Leftover]:
    """Find what there is of these paths; a folder goes with all that is in it."""
    for path in names:
        if path.is_symlink() or path.exists():
            yield Leftover(
                "folder" if path.is_dir() and not path.is_symlink() else "file", str(path), partial(files.remove, path)
            )


def below(prefix: Path, patterns: Mapping[str, re.Pattern[str]], is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Find what has one of our names in its folder below the prefix, and says nothing else of itself."""
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
    """Find whole releases among these; each goes out of sight first, so that a kill leaves no half one."""
    for path in paths:
        yield Leftover("folder", str(path), partial(_remove_release, path))


def _remove_release(path: Path) -> None:
    hidden = path.with_name(f".incoming-old-{path.name}")
    files.remove(hidden)
    path.rename(hidden)
    files.remove(hidden)


def links(root: Path) -> Iterator[Path]:
    """Name the commands in everybody's path that are links to the node's own program."""
    for path in map(Path, LINKS):
        if path.is_symlink() and path.readlink().is_relative_to(root):
            yield path


def empty_folders(folders: Iterator[Path], going: Collection[str]) -> Iterator[Leftover]:
    """Find folders with nothing in them but what goes."""
    for path in folders:
        if path.is_dir() and not path.is_symlink() and not {str(entry) for entry in path.iterdir()}.difference(going):
            yield Leftover("folder", str(path), path.rmdir)


def entries(folder: Path) -> list[str]:
    """Name what is in a folder, if there is one."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _hand_over(path: Path) -> None:
    os.chown(path, 0, 0, follow_symlinks=False)


def owned(folder: Path, account: str, going: Collection[str]) -> Iterator[Leftover]:
    """Find what an account owns in a folder: without the account its number would be anybody's."""
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        return
    for path in (folder, *(folder / name for name in entries(folder))):
        if str(path) not in going and path.exists() and path.lstat().st_uid == uid:
            yield Leftover("owner", str(path), partial(_hand_over, path))


def accounts(name: str, comment: str) -> Iterator[Leftover]:
    """Find the account, if it is the one that the role node made, and its group."""
    try:
        if pwd.getpwnam(name).pw_gecos == comment:
            yield Leftover("user", name, partial(_run, "userdel", name))
        else:
            return
    except KeyError:
        pass
    try:
        group = grp.getgrnam(name)
    except KeyError:
        return
    if not [user for user in pwd.getpwall() if user.pw_gid == group.gr_gid and user.pw_name != name]:
        yield Leftover("group", name, partial(_remove_group, name))


def _remove_group(name: str) -> None:
    # userdel takes a group of the same name with it on most systems.
    if name in [group.gr_name for group in grp.getgrall()]:
        _run("groupdel", name)
