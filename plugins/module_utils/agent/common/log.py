# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines of the node's daemons and jobs, on standard output."""

from __future__ import annotations

import time

from .output import write_line


def log(message: str) -> None:
    """Write a line to the journal, which adds the time."""
    write_line(message)


def log_with_time(message: str) -> None:
    """Write a line to a job's log file, to which nothing else adds the time."""
    log(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}")
