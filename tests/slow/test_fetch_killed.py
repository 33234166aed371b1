# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a download sixty times: it ends with the right bytes, and fetches few of them twice."""

from __future__ import annotations

from pathlib import Path

from tests.unit.fetch_kills import kill_often


def test_download_survives_sixty_kills(tmp_path: Path) -> None:
    killed = kill_often(tmp_path, size=112 << 20, kills=60, longest=0.5)
    print(f"{killed.kills} kills, {killed.sent} bytes sent of {killed.size}: {killed.sent / killed.size:.3f}")
    assert killed.kills == 60
    assert killed.sent <= 1.2 * killed.size
