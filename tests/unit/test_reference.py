# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated pages of the reference, and the action groups, agree with the code."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.rules import RULES
from tools import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert (reference.REFERENCE / name).read_text(encoding="utf-8") == reference.PAGES[name](), "run make reference"


def test_every_rule_is_a_row_that_links_its_issues() -> None:
    text, _memory_flags = reference.flag_guard().split("\n## Flags", 1)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [rule.id for rule in RULES]
    (deadlock,) = (row for row in rows if "`deadlocking-workers`" in row)
    assert "[#28487](https://github.com/ggml-org/llama.cpp/issues/28487)" in deadlock


def test_each_module_belongs_to_one_action_group() -> None:
    grouped = [module for modules in reference.action_groups().values() for module in modules]
    assert sorted(grouped) == sorted(path.stem for path in reference.MODULES.glob("*.py"))


def test_modules_of_an_action_group_are_sorted() -> None:
    assert all(modules == sorted(modules) for modules in reference.action_groups().values())
