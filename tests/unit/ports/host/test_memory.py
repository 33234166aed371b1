# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host memory, from trees that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory


def test_total_memory_is_read_from_meminfo(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       394263272 kB\nMemFree:        1 kB\n")
    assert memory.total_bytes(tmp_path) == 394263272 * 1024
    assert memory.total_bytes(tmp_path / "nothing") == 0
