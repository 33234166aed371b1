# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classify the free space of file systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import HerdError, InsufficientError, InvalidInputError

OK, LOW, FULL, SILENT = "ok", "low", "full", "silent"
#: A file system is low, or full, if its free space is below both the percentage and the GiB of the limits.
LOW_PERCENT, FULL_PERCENT = 10.0, 2.0


@dataclass(frozen=True)
class DiskLimits:
    """Free GiB below which a file system is low, or full."""

    low_gib: float = 10.0
    full_gib: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.full_gib <= self.low_gib:
            raise InvalidInputError(
                "limits of disks with 0 <= full <= low, in GiB",
                f"full {self.full_gib:g}, low {self.low_gib:g}",
                "correct herd_disk_full_gib or herd_disk_low_gib",
            )


@dataclass(frozen=True)
class DiskSpace:
    """A file system, named by its paths. -1 MiB is unknown."""

    path: str
    free_mib: int
    total_mib: int


def state_of(space: DiskSpace, limits: DiskLimits) -> str:
    if space.total_mib < 0 or space.free_mib < 0:
        return SILENT
    percent = 100.0 * space.free_mib / space.total_mib if space.total_mib else 0.0
    if space.free_mib < limits.full_gib * 1024 and percent < FULL_PERCENT:
        return FULL
    if space.free_mib < limits.low_gib * 1024 and percent < LOW_PERCENT:
        return LOW
    return OK


def describe(space: DiskSpace, state: str) -> str:
    """Describe the state of a file system; empty if it is OK."""
    if state == OK:
        return ""
    if state == SILENT:
        return f"disk of {space.path} does not answer"
    return f"disk of {space.path} is {state}: {space.free_mib} of {space.total_mib} MiB free"


def full_error(spaces: Sequence[DiskSpace], limits: DiskLimits, host: str) -> HerdError | None:
    """Return an error if a file system is full: services would lose logs and truncate files."""
    full = [space for space in spaces if state_of(space, limits) == FULL]
    if not full:
        return None
    return InsufficientError(
        f"at least {limits.full_gib:g} GiB or {FULL_PERCENT:g} % free on every disk that the herd uses",
        f"on {host}: " + "; ".join(f"{space.free_mib} of {space.total_mib} MiB under {space.path}" for space in full),
        "run playbooks/tidy.yml, which removes unused files, or free space by hand",
    )
