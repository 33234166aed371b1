# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of herdctl. Each call flushes, so that a pipe or the journal has the text at once."""

from __future__ import annotations

import json
import sys
from typing import Any


def write(text: str) -> None:
    """Write text to standard output without a line end."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_line(text: str) -> None:
    """Write a line to standard output."""
    write(f"{text}\n")


def write_result(as_json: bool, facts: Any, text: str, indent: int | None = None) -> None:
    """Write a command's result as JSON for programs, or as text for people."""
    write_line(json.dumps(facts, indent=indent) if as_json else text)


def write_error_line(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
