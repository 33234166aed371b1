# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl upstreams): update nginx's upstreams within two seconds, after a test, and only if they changed.

This is the only program of the gateway with rights over nginx.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import HerdError, NotFoundError, RemoteFailureError
from ...core.gateway import nginx_upstreams
from ..common.atomic_files import write_whole
from ..common.command import run
from ..common.log import log
from ..common.output import write_line
from ..common.systemd_notify import notify
from .dead_upstreams import DeadUpstreams
from .state import DEFAULT_PATH, GatewaySettings, TierStatusReader, read_settings

TICK_S = 0.25
#: Seconds after which a rejected configuration is tried again.
AGAIN_S = 10.0
COMMAND_S = 30.0
UPSTREAMS, CLIENTS, KEY = (Path("herd") / name for name in ("upstreams.conf", "clients.conf", "engine-key.conf"))
_WHEN = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?=\[)|(?<=\] )\d+#\d+: ")
MODES = {UPSTREAMS: 0o644, CLIENTS: 0o644, KEY: 0o600}


def test(settings: GatewaySettings, files: Mapping[Path, str]) -> None:
    """Have nginx test a copy of its configuration with these files.

    :raises RemoteFailureError: if nginx rejects it.
    """
    root = settings.nginx_root
    with tempfile.TemporaryDirectory(prefix="herd-nginx-") as made:
        copy = Path(made) / "nginx"
        shutil.copytree(root, copy, symlinks=False, ignore_dangling_symlinks=True)
        for name, text in files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(copy / name, text, MODES.get(name, 0o644))
        # Includes with absolute paths must read the copy.
        for path in copy.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                moved = content.replace(f"{root}/".encode(), f"{copy}/".encode())
                if moved != content:
                    path.write_bytes(moved)
        status, text = run([*settings.test, "-q", "-t", "-c", str(copy / "nginx.conf")], COMMAND_S)
        if status:
            # Replace the copy's path, and drop time and process, so that the same error has the same text.
            found = _WHEN.sub("", " ".join(text.replace(f"{copy}/", f"{root}/").split()))
            raise RemoteFailureError(
                "nginx to accept its new upstreams", found, "correct the file that it names; nothing was changed"
            )


class Upstreams:
    """Keep nginx's upstreams in line with the tiers."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._tiers = TierStatusReader(settings)
        self._refused: tuple[Mapping[Path, str], float] = ({}, 0.0)
        self._unloaded = False
        _status, self._version = run([*settings.test, "-v"], COMMAND_S)
        # An engine ends the connection of a stream with that stream, whatever its head said before: a request that
        # came after it on the same connection would be lost.
        self._keep = settings.config.watch_streams and nginx_upstreams.may_keep(self._version)

    def wanted(self) -> dict[Path, str]:
        """Return the wanted content of each file."""
        now = self._tiers.refresh()
        endpoints = {name: now[name].endpoint if name in now else "" for name in self.settings.config.tiers}
        files = {UPSTREAMS: nginx_upstreams.configuration(endpoints, self._keep)}
        files[CLIENTS] = nginx_upstreams.clients_configuration(self._version)
        try:
            key = self.settings.engine_key.read_text(encoding="utf-8").split()
        except OSError as error:
            raise NotFoundError("the key of the engines", str(error), "run the role slurm_tiers") from error
        files[KEY] = nginx_upstreams.key_configuration(key[0] if key else "")
        return files

    def step(self, now: float) -> bool:
        """Update the files once, and return whether anything changed."""
        files = self.wanted()
        root = self.settings.nginx_root
        stale = {name: text for name, text in files.items() if self._held(root / name) != text}
        refused, when = self._refused
        if (not stale and not self._unloaded) or (refused == files and now - when < AGAIN_S):
            return False
        try:
            if stale:
                test(self.settings, files)
                for name, text in stale.items():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    write_whole(root / name, text, MODES[name])
                self._unloaded = True
            self._reload()
        except HerdError:
            self._refused = (files, now)
            raise
        self._refused = ({}, 0.0)
        self._unloaded = False
        known = next((line.strip() for line in files[UPSTREAMS].splitlines() if "default" in line), "")
        log(f"nginx reloaded: {known[len('default ') :]}")
        return True

    def _reload(self) -> None:
        status, text = run(list(self.settings.reload), COMMAND_S)
        if status:
            raise RemoteFailureError(
                "nginx to reload its configuration", " ".join(text.split()) or f"status {status}", "see its journal"
            )

    @staticmethod
    def _held(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            return ""

    def live(self) -> None:
        """Update the files for ever."""
        said, dead = "", DeadUpstreams(run)
        while True:
            try:
                if self.step(time.monotonic()) or not self._refused[0]:
                    said = ""
            except (HerdError, OSError) as error:
                # Log each error once: it recurs four times a second.
                if str(error) != said:
                    said = str(error)
                    log(said)
            dead.update(self._tiers.tiers)
            notify("READY=1\nWATCHDOG=1")
            time.sleep(TICK_S)


def upstreams_command(arguments: argparse.Namespace) -> int:
    """Keep nginx's upstreams up to date, or update them once."""
    settings = read_settings(arguments.config)
    keeper = Upstreams(settings)
    if arguments.once:
        write_line("changed" if keeper.step(time.monotonic()) else "unchanged")
        return 0
    keeper.live()
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl upstreams)."""
    command = commands.add_parser(
        "upstreams",
        description="Writes nginx's upstreams from the status of the tiers, tests them, and reloads nginx.",
    )
    command.add_argument("--config", default=DEFAULT_PATH, help="configuration file (default: %(default)s)")
    command.add_argument("--once", action="store_true", help="update once and exit")
    command.set_defaults(run=upstreams_command)
