# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a drop-in with limits of the journal, which systemd 239 (EL8) and later versions support.

EL8 has no journal namespaces (systemd 245), so the limits on the size apply to the whole host. The limits on the rate
apply to each service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInputError

MARK = "# Written by Ansible (herd.inference, role node). Changes made here are lost."
_SIZE = re.compile(r"take up ([0-9.]+)([BKMGT])")
_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class JournalLimits:
    """Limits of a journal: the options of the module journald_limits, which describes them. Times are in seconds."""

    storage: str = "persistent"
    max_mib: int = 2048
    keep_free_mib: int = 2048
    days: int = 90
    lines: int = 10000
    interval: int = 30

    def __post_init__(self) -> None:
        # systemd replaces 0 by its default, and rejects files below 512 KiB.
        if self.max_mib < 16 or min(self.keep_free_mib, self.days, self.lines, self.interval) < 1:
            raise InvalidInputError(
                "a journal of at least 16 MiB, and all its other limits at least 1",
                f"{self.max_mib} MiB, {self.keep_free_mib} MiB to keep free, {self.days} days, "
                f"{self.lines} lines in {self.interval} seconds",
                "correct the variables node_journal_*",
            )


def drop_in(journal: JournalLimits) -> str:
    return f"""\
{MARK}
# A drop-in of yours that sorts behind this one wins.
[Journal]
Storage={journal.storage}
SystemMaxUse={journal.max_mib}M
SystemKeepFree={journal.keep_free_mib}M
RuntimeMaxUse={journal.max_mib}M
MaxRetentionSec={journal.days}day
# Of each service by itself.
RateLimitIntervalSec={journal.interval}s
RateLimitBurst={journal.lines}
"""


def usage(said: str) -> int:
    """Read the bytes from the output of C(journalctl --disk-usage), or 0."""
    found = _SIZE.search(said)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0
