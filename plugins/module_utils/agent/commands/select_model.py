# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl select-model), also called llama-model-selector: show which tier and model a task type goes to."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

from ...core.errors import InvalidInputError, NotFoundError
from ...core.gateway import task_routing, task_text, tiers
from ...core.gateway.tiers import TierStatus
from ...core.slurm import tier_status
from ..common import compute_node
from ..common.output import write_line, write_result

CONFIG, TIER_STATUS = "/etc/herd/gateway.json", "/run/herd/tiers.json"


def read_table(path: str) -> task_routing.TaskTable:
    """Read the gateway's task table."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        tasks = data["tasks"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotFoundError(
            f"the gateway's task table in {path}",
            str(error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"),
            "run this on the host of the gateway; playbooks/slurm.yml --tags gateway writes it",
        ) from error
    return task_routing.read(tasks)


def read_tiers(path: str, wall: float) -> Mapping[str, TierStatus] | None:
    """Read the status of the tiers; None while the tier manager is silent."""
    try:
        report = tier_status.read(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, InvalidInputError):
        return None
    if report.age_problem(wall):
        return None
    return {name: tiers.status_of(tier) for name, tier in report.tiers.items()}


def select_model_command(arguments: argparse.Namespace) -> int:
    """Print the choice."""
    compute_node.check("the gateway's task table", "llama-model-selector", arguments.config)
    table, wall = read_table(arguments.config), time.time()
    now = read_tiers(arguments.tier_status, wall)
    if arguments.task is None:
        rows = {name: task_text.as_data(table, name, now, wall) for name in table.names}
        write_result(arguments.json, rows, task_text.every(table, now, wall), indent=2)
    elif arguments.model:
        write_line(task_text.choose(table, arguments.task).model)
    else:
        facts = task_text.as_data(table, arguments.task, now, wall)
        write_result(arguments.json, facts, task_text.one(table, arguments.task, now, wall), indent=2)
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl select-model)."""
    command = commands.add_parser(
        "select-model",
        description="Shows the tier and model of a task type, the reason, and the tier's status. Without a type it "
        "shows all types. It changes nothing: the gateway uses the same table for requests that name a task.",
        epilog="exit status: 0 chosen; 2 unknown type, or no gateway on this host; 4 ask on the controller of Slurm",
    )
    command.add_argument("task", nargs="?", metavar="TYPE", help="for example borrowing, fix or docs")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--model", action="store_true", help="print the model's id only")
    command.add_argument("--config", default=CONFIG, metavar="FILE", help="the gateway's configuration (%(default)s)")
    command.add_argument("--tier-status", default=TIER_STATUS, metavar="FILE", help="status of the tiers (%(default)s)")
    command.set_defaults(run=select_model_command)
