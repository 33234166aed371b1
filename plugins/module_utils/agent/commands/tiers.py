# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl tiers): show, stop and start the tiers that run as Slurm jobs, and run their manager."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core.errors import InvalidInputError, RemoteFailureError
from ...core.text import plain
from ..common import compute_node
from ..common.atomic_files import write_whole
from ..common.output import write_line, write_result
from ..slurm import manager
from ..slurm.manager_state import DEFAULT_PATH, ManagerSettings, ManualStops, read_settings
from ..supervisor.settings import DEFAULT_PATH as AGENT_PATH
from . import tier_table

#: Exit status if a tier that is enabled is not ready, or if the status is too old.
EXIT_NOT_READY = 3


def manage_command(arguments: argparse.Namespace) -> int:
    """Run the tier manager until systemd stops it."""
    settings = read_settings(arguments.config)
    user = pwd.getpwuid(os.geteuid()).pw_name
    if user != settings.user:
        raise InvalidInputError(f"to run as {settings.user}", user, "use herd-tiers.service")
    with manager.locked(settings.state):
        manager.Manager(settings).run()
    return 0


def show_command(arguments: argparse.Namespace) -> int:
    """Show the tiers. The status is 0 if every enabled tier is ready, else 3."""
    compute_node.check("the state of the tiers", "herdctl tiers", arguments.config, arguments.agent_config)
    found = tier_table.read(*tier_table.status_file(arguments.config, arguments.agent_config))
    write_result(arguments.json, found.data, found.text, indent=2)
    return 0 if found.is_ready else EXIT_NOT_READY


def _settings_for(arguments: argparse.Namespace) -> ManagerSettings:
    compute_node.check("the state of the tiers", "herdctl tiers", arguments.config, arguments.agent_config)
    if not Path(arguments.config).exists() and Path(arguments.agent_config).exists():
        raise InvalidInputError(
            "tiers that run as Slurm jobs",
            "services",
            "use systemctl stop or start with llama-head or llama-router on the tier's host",
        )
    settings = read_settings(arguments.config)
    known = [spec.name for spec in settings.tiers]
    for name in arguments.tier:
        if name not in known:
            raise InvalidInputError(f"a tier among {', '.join(known)}", name, "name one of them")
    return settings


def stop_command(arguments: argparse.Namespace) -> int:
    """Drain and end a tier's job, and keep the manager from submitting another."""
    settings = _settings_for(arguments)
    stops, by = ManualStops(settings.state), plain(os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name)
    text = json.dumps({"reason": plain(arguments.reason), "by": by, "at": time.time()}) + "\n"
    for name in arguments.tier:
        with _permission():
            write_whole(stops.path(name), text)
        write_line(f"{name}: its job ends after its running requests; none follows until: herdctl tiers start {name}")
    return 0


def start_command(arguments: argparse.Namespace) -> int:
    """Let the manager submit a stopped tier's job again."""
    settings = _settings_for(arguments)
    for name in arguments.tier:
        with _permission():
            ManualStops(settings.state).path(name).unlink(missing_ok=True)
        write_line(f"{name}: the manager submits its job")
    return 0


@contextmanager
def _permission() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RemoteFailureError(
            "permission to change the tiers", f"{error.filename}: {error.strerror}", "run it as root (sudo)"
        ) from error


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl tiers)."""
    tiers = commands.add_parser(
        "tiers",
        description="Show the tiers, and stop or start those that run as Slurm jobs (on the controller, or on the "
        "gateway's host). Exit status: 0 every enabled tier is ready, 2 configuration error, 3 a tier is not ready, "
        "4 ask on the controller of Slurm.",
    )
    tiers.add_argument("--config", default=DEFAULT_PATH, help="configuration file (default: %(default)s)")
    tiers.add_argument("--agent-config", default=AGENT_PATH, help="the agent's, without Slurm (default: %(default)s)")
    tiers.add_argument("--json", action="store_true", help="print JSON")
    tiers.set_defaults(run=show_command)
    what = tiers.add_subparsers(dest="what")
    manage = what.add_parser("manage", help="keep one job for each tier (run by herd-tiers.service)")
    manage.set_defaults(run=manage_command)
    stop = what.add_parser("stop", help="drain a tier's job, and submit none until the tier is started")
    stop.add_argument("tier", nargs="+")
    stop.add_argument("--reason", default="no reason given")
    stop.set_defaults(run=stop_command)
    start = what.add_parser("start", help="start a stopped tier")
    start.add_argument("tier", nargs="+")
    start.set_defaults(run=start_command)
