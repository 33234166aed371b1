# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""journald of this host: its drop-in, its restart, and how much it has."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import NotFoundError
from .. import commands, files, systemd

DROP_IN = Path("/etc/systemd/journald.conf.d/50-herd.conf")
#: There from before the drop-in is written until journald has read it. A reboot does both, and /run forgets it.
PENDING = Path("/run/herd-journal.pending")
SERVICE = "systemd-journald.service"


def drop_in() -> str:
    """The drop-in that is there."""
    return DROP_IN.read_text(encoding="utf-8") if DROP_IN.exists() else ""


def is_pending() -> bool:
    """Whether journald may not have read it."""
    return PENDING.exists()


def apply(text: str) -> None:
    """Write the drop-in and let journald read it."""
    PENDING.touch()
    if drop_in() != text:
        files.atomic_write(DROP_IN, text)
    systemd.restart(SERVICE)
    PENDING.unlink()


def usage() -> str:
    """What journalctl says of the size; nothing on a host without it."""
    try:
        return commands.run(["journalctl", "--disk-usage"]).out
    except NotFoundError:
        return ""


def shrink(most_mib: int) -> None:
    """Remove the oldest lines of a journal that is larger than it may be."""
    for words in (["--rotate"], [f"--vacuum-size={most_mib}M"]):
        remedy = "look at journalctl -u systemd-journald, and free space by hand if the disk is full"
        commands.run_checked(["journalctl", *words], remedy, timeout=300)
