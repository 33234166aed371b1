# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's drop-in, and what journalctl says of its size."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.host import journald as journald_rules

# journald.conf(5) of systemd 239, EL8's.
KNOWN_IN_239 = {
    "Storage",
    "SystemMaxUse",
    "SystemKeepFree",
    "RuntimeMaxUse",
    "MaxRetentionSec",
    "RateLimitIntervalSec",
    "RateLimitBurst",
}


def test_the_drop_in() -> None:
    lines = journald_rules.drop_in(
        journald_rules.JournalLimits(max_mib=64, keep_free_mib=32, days=7, lines=500, interval=10)
    ).splitlines()
    settings = dict(line.split("=") for line in lines if "=" in line)
    assert settings == {
        "Storage": "persistent",
        "SystemMaxUse": "64M",
        "SystemKeepFree": "32M",
        "RuntimeMaxUse": "64M",
        "MaxRetentionSec": "7day",
        "RateLimitIntervalSec": "10s",
        "RateLimitBurst": "500",
    }
    assert set(settings) <= KNOWN_IN_239
    assert lines[0].startswith("# ")
    assert "herd.inference" in lines[0]
    assert "[Journal]" in lines


@pytest.mark.parametrize(
    "change",
    [{"max_mib": 15}, {"keep_free_mib": 0}, {"days": 0}, {"lines": 0}, {"interval": -1}],
)
def test_limits_that_systemd_ignores_are_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="node_journal"):
        journald_rules.JournalLimits(**change)


@pytest.mark.parametrize(
    ("said", "size"),
    [
        # systemd 239, and 252.
        ("Archived and active journals take up 96.0M in the file system.\n", 96 << 20),
        ("Archived and active journals take up 1.5G on disk.\n", 3 << 29),
        ("Archived and active journals take up 0B in the file system.\n", 0),
        ("", 0),
    ],
)
def test_the_size_is_read_from_journalctl(said: str, size: int) -> None:
    assert journald_rules.usage(said) == size
