# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages that are made of the code are as the code is now."""

from __future__ import annotations

from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.rules import RULES
from tools import reference


def test_the_page_of_the_flag_guard_is_the_table() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run make reference"


def test_every_rule_is_a_row_that_links_its_issues() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(RULES)
    (deadlock,) = (row for row in rows if "`deadlocking-workers`" in row)
    assert "[#28487](https://github.com/ggml-org/llama.cpp/issues/28487)" in deadlock
