# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated pages of the reference, and the action groups, agree with the code."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import attention_kernels
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


def test_each_cell_of_the_attention_kernels_follows_the_rule() -> None:
    rows = {
        tuple(cells[:2]): cells[2:]
        for line in reference.attention().splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    assert rows["128", "128"] == ["any number"] * 4
    assert rows["512", "512"] == ["no kernel", "no kernel", "multiples of 4", "2 or more"]
    assert rows["576", "512"] == ["multiples of 4", "2 or more"] * 2
    assert rows["192", "128"] == ["no kernel", "no kernel", "multiples of 8", "multiples of 8"]
    assert len(rows) == 2 + len(attention_kernels.EQUAL_SIZES) + len(attention_kernels.PAIRS)


def test_rule_about_attention_points_to_an_existing_page() -> None:
    (rule,) = [rule for rule in RULES if rule.id == "attention-without-kernel"]
    (page,) = [word for word in rule.instead.split() if word.endswith(".md")]
    assert (reference.ROOT / page).is_file()


def test_each_module_belongs_to_one_action_group() -> None:
    grouped = [module for modules in reference.action_groups().values() for module in modules]
    assert sorted(grouped) == sorted(path.stem for path in reference.MODULES.glob("*.py"))


def test_modules_of_an_action_group_are_sorted() -> None:
    assert all(modules == sorted(modules) for modules in reference.action_groups().values())
