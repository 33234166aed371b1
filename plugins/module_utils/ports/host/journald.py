# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure journald, and read the size of the journal."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import NotFoundError
from .. import commands, files, systemd

DROP_IN = Path("/etc/systemd/journald.conf.d/50-herd.conf")
#: Exists until journald has read a changed drop-in. A reboot removes it, and journald reads the drop-in then.
PENDING = Path("/run/herd-journal.pending")
SERVICE = "systemd-journald.service"


def apply(text: str) -> None:
    """Write the drop-in, and restart journald."""
    PENDING.touch()
    files.atomic_write(DROP_IN, text)
    systemd.restart(SERVICE)
    PENDING.unlink()


def usage() -> str:
    """Return the output of C(journalctl --disk-usage); empty without journalctl."""
    try:
        return commands.run(["journalctl", "--disk-usage"]).out
    except NotFoundError:
        return ""


def shrink(most_mib: int) -> None:
    """Remove the oldest lines of the journal above a size."""
    for words in (["--rotate"], [f"--vacuum-size={most_mib}M"]):
        remedy = "look at journalctl -u systemd-journald, and free space by hand if the disk is full"
        commands.run_checked(["journalctl", *words], remedy, timeout=300)
