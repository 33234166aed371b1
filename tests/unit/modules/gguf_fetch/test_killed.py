# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch is killed during a download and run again; tests/slow does it sixty times."""

from __future__ import annotations

from pathlib import Path

from tests.unit.fetch_kills import kill_often


def test_ten_kills_in_one_download(tmp_path: Path) -> None:
    killed = kill_often(tmp_path, size=16 << 20, kills=10, longest=0.2)
    assert killed.kills == 10
    assert killed.sent <= 1.2 * killed.size
