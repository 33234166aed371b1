# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core import text as core_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("198412K", 198412 << 10),
        ("46.50M", 48758784),
        ("64g", 64 << 30),
        (" 2G ", 2 << 30),
        ("7", 7),
        ("", None),
        ("?", None),
        ("80%", None),
        ("64 G", None),
        ("-1", None),
        ("1.G", None),
    ],
)
def test_sizes_are_converted_to_bytes(text: str, expected: int | None) -> None:
    assert core_text.bytes_of(text) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(210 << 30, "210.00 GiB"), (12 << 20, "12.0 MiB"), (1 << 28, "0.25 GiB")]
)
def test_sizes_are_shown_in_gib_or_mib(count: int, expected: str) -> None:
    assert core_text.size(count) == expected
