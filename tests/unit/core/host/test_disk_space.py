# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a disk is low, when it is full, and what is said of it."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import disk_space
from ansible_collections.herd.inference.plugins.module_utils.core.host.disk_space import DiskLimits, DiskSpace

TIB, GIB = 1 << 20, 1 << 10


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (500 * GIB, TIB, "ok"),
        (11 * GIB, TIB, "ok"),
        (9 * GIB, TIB, "low"),
        (1023, TIB, "full"),
        (0, TIB, "full"),
        # A small file system is not low because it is small.
        (5 * GIB, 8 * GIB, "ok"),
        (700, 8 * GIB, "low"),
        (160, 8 * GIB, "full"),
        (15, 20, "ok"),
        (1, 20, "low"),
        (0, 20, "full"),
        (0, 0, "full"),
        (-1, -1, "silent"),
    ],
)
def test_states(free: int, total: int, state: str) -> None:
    assert disk_space.state_of(DiskSpace("/opt/models", free, total), DiskLimits(10, 1)) == state


def test_limits_of_a_site() -> None:
    assert disk_space.state_of(DiskSpace("/", 30 * GIB, TIB), DiskLimits(low_gib=50, full_gib=5)) == "low"
    assert disk_space.state_of(DiskSpace("/", 0, TIB), DiskLimits(0, 0)) == "ok"


@pytest.mark.parametrize(("low", "full"), [(1, 2), (-1, -2), (5, -1)])
def test_invalid_limits_are_rejected(low: float, full: float) -> None:
    with pytest.raises(InvalidInputError, match="0 <= full <= low"):
        DiskLimits(low, full)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("ok", ""),
        ("low", "disk of /opt/models is low: 900 of 8192 MiB free"),
        ("full", "disk of /opt/models is full: 900 of 8192 MiB free"),
        ("silent", "disk of /opt/models does not answer"),
    ],
)
def test_states_are_described(state: str, words: str) -> None:
    assert disk_space.describe(DiskSpace("/opt/models", 900, 8192), state) == words


def test_only_a_full_disk_is_an_error() -> None:
    low, full = DiskSpace("/", 9 * GIB, TIB), DiskSpace("/var/log", 3, 8 * GIB)
    assert disk_space.full_error([low], DiskLimits(10, 1), "vllm-node2") is None
    error = disk_space.full_error([low, full], DiskLimits(10, 1), "vllm-node2")
    assert str(error) == (
        "expected at least 1 GiB or 2 % free on every disk that the herd uses, found on vllm-node2: 3 of 8192 MiB "
        "under /var/log: run playbooks/tidy.yml, which removes unused files, or free space by hand."
    )
