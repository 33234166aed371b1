# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say on a compute node of Slurm where the state of its jobs is: the node has no agent and no tiers of its own."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from ...core.errors import OtherHostError
from ...core.text import plain

#: The port guard's configuration, which the role slurm_tiers writes on every compute node.
GUARD = "/etc/herd/job-guard.json"


def check(what: str, remedy: str, *files: str) -> None:
    """Stop if this host is a compute node: it has the port guard's configuration, and none of the command's files.

    :param what: what the command shows.
    :param remedy: the command to run on the controller.
    :raises OtherHostError: on a compute node.
    """
    if any(Path(file).exists() for file in files) or not Path(GUARD).exists():
        return
    try:
        controller = plain(str(json.loads(Path(GUARD).read_text(encoding="utf-8"))["controller"]))
    except (OSError, ValueError, KeyError, TypeError):
        controller = "Slurm's controller"
    name = platform.node().partition(".")[0]
    raise OtherHostError(
        f"{what} on this host",
        "a compute node of Slurm, whose jobs the controller manages",
        f"run {remedy} on {controller}; squeue --nodelist={name} lists the jobs of this host",
    )
