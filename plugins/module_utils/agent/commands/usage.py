# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl usage): show what the gateway's keys have used."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ...core.gateway.usage import report
from ..common.output import write_result
from ..common.usage_database import read_rows

DATABASE = "/var/lib/herd-gateway/usage.sqlite3"


def usage_command(arguments: argparse.Namespace) -> int:
    """Show usage by key, project, model, day or another group."""
    covered = report.period(arguments.since, arguments.until, time.time())
    groups = report.grouped(read_rows(Path(arguments.database), covered), arguments.by)
    data = report.as_data(groups, arguments.by, covered)
    write_result(arguments.json, data, report.as_text(groups, arguments.by, covered), indent=2)
    return 0


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe C(herdctl usage)."""
    command = commands.add_parser(
        "usage",
        description=(
            "Shows the requests and tokens of the gateway's users, on the gateway's host. Hours, days and months are"
            " those of UTC. Estimated tokens are of requests that ended before their engine counted them."
        ),
    )
    command.add_argument("--by", choices=report.GROUPS, default="key", help="what a line is about (default: key)")
    command.add_argument(
        "--since",
        default="",
        help=f"a day, a time (2026-11-30T12:00:00Z) or an age (12h, 7d); default: {report.DEFAULT_DAYS}d",
    )
    command.add_argument("--until", default="", help="the same, for the end, which is not covered; default: now")
    command.add_argument("--json", action="store_true", help="write JSON")
    command.add_argument("--database", default=DATABASE, help="the gateway's usage (default: %(default)s)")
    command.set_defaults(run=usage_command)
