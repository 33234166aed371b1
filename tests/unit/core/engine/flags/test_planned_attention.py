# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule about attention kernels, before a build is at hand."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.attention_kernels import AttentionShape
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.planned_attention import (
    problems_and_warnings,
)

WIDE, USUAL = AttentionShape(512, 512, 2), AttentionShape(128, 128, 8)


@pytest.mark.parametrize(
    ("shape", "flash", "capability", "is_newer", "has_workers", "problems", "warnings"),
    [
        (WIDE, "auto", "7.0", True, True, 1, 0),
        (WIDE, "auto", "7.0", True, False, 0, 1),
        (WIDE, "on", "7.0", True, False, 1, 0),
        (WIDE, "off", "7.0", True, True, 0, 0),
        (WIDE, "auto", "8.0", True, True, 0, 0),
        (WIDE, "auto", "8.0", False, True, 1, 0),
        (USUAL, "auto", "7.0", False, True, 0, 0),
    ],
)
def test_level_of_a_missing_kernel(
    shape: AttentionShape, flash: str, capability: str, is_newer: bool, has_workers: bool, problems: int, warnings: int
) -> None:
    found = problems_and_warnings([shape], {"flash_attention": flash}, (capability,), is_newer, has_workers)
    assert (len(found[0]), len(found[1])) == (problems, warnings)
    assert all("attention-without-kernel" in text and "512" in text for texts in found for text in texts)
