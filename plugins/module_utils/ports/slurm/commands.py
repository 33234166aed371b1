# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm's own programs, as a module calls them."""

from __future__ import annotations

from ...core.errors import RemoteFailureError
from .. import commands

TIMEOUT_S = 60.0
# sacctmgr says so, with status 1, where a change changes nothing.
_NOTHING = "Nothing new added"


def ask(*argv: str) -> str:
    """Run one of Slurm's programs; what it printed."""
    answer = commands.ask(argv, timeout=TIMEOUT_S)
    if answer.rc and _NOTHING not in answer.out + answer.err:
        said = " ".join((answer.err or answer.out).split())
        raise RemoteFailureError(
            f"{' '.join(argv[:4])} to answer",
            f"status {answer.rc}: {said[:400] or 'no word'}",
            "see that slurmctld and slurmdbd run (systemctl status slurmctld slurmdbd), and that munge does",
        )
    return answer.out


def show(what: str, fields: str) -> str:
    """Ask the accounting, in columns."""
    return ask("sacctmgr", "--noheader", "--parsable2", "show", what, f"format={fields}")
