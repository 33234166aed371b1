# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which model and tier a type of task goes to, as the gateway on this host has it; changes nothing."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import NotFoundError
from ...core.gateway import nginx_upstreams, task_routing, task_text
from ...core.gateway.routing import Now
from ..common.output import write_line

CONFIG, VIEW = "/etc/herd/gateway.json", "/run/herd/tiers.json"


def read_table(path: str) -> task_routing.TaskTable:
    """Read the table that the gateway works with."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        tasks = data["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFoundError(
            f"the gateway's table of tasks in {path}",
            str(error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"),
            "run this on the host of the gateway; playbooks/slurm.yml --tags gateway writes it",
        ) from error
    return task_routing.read(tasks)


def read_tiers(path: str, wall: float) -> Mapping[str, Now] | None:
    """Read how the tiers are; None where nobody says."""
    try:
        view = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return nginx_upstreams.from_view(view, wall) if isinstance(view, dict) else None


def choose_command(arguments: argparse.Namespace) -> int:
    """Say what would be chosen."""
    table, wall = read_table(arguments.config), time.time()
    now = read_tiers(arguments.view, wall)
    if arguments.task is None:
        if arguments.json:
            rows = {name: task_text.as_data(table, name, now, wall) for name in table.names}
            write_line(json.dumps(rows, indent=2))
        else:
            write_line(task_text.every(table, now, wall))
    elif arguments.model:
        write_line(task_text.choose(table, arguments.task).model)
    elif arguments.json:
        write_line(json.dumps(task_text.as_data(table, arguments.task, now, wall), indent=2))
    else:
        write_line(task_text.one(table, arguments.task, now, wall))
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "select-model",
        description="Says which model and tier a type of task goes to, why, and how that tier is. Without a type it "
        "shows all of them. It only says so: the gateway chooses by the same table when a request names a task.",
        epilog="exit status: 0 chosen; 2 no such type, or no gateway on this host",
    )
    command.add_argument("task", nargs="?", metavar="TYPE", help="such as borrowing, fix or docs")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--model", action="store_true", help="only the model's id, for scripts")
    command.add_argument("--config", default=CONFIG, metavar="FILE", help="the gateway's configuration (%(default)s)")
    command.add_argument("--view", default=VIEW, metavar="FILE", help="how the tiers are (%(default)s)")
    command.set_defaults(run=choose_command)
