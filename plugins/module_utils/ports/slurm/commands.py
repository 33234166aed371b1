# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Slurm's own programs."""

from __future__ import annotations

from ...core.errors import RemoteFailureError
from .. import commands

TIMEOUT_S = 60.0
# What sacctmgr prints, with exit status 1, if a change changes nothing.
_NOTHING = "Nothing new added"


def run(*argv: str) -> str:
    """Run one of Slurm's programs and return its output."""
    result = commands.run(argv, timeout=TIMEOUT_S)
    if result.rc and _NOTHING not in result.out + result.err:
        raise RemoteFailureError(
            f"{' '.join(argv[:4])} to succeed",
            result.complaint,
            "check that slurmctld, slurmdbd and munge run (systemctl status slurmctld slurmdbd munge)",
        )
    return result.out


def show(what: str, fields: str) -> str:
    """List records of the accounting as columns."""
    return run("sacctmgr", "--noheader", "--parsable2", "show", what, f"format={fields}")
