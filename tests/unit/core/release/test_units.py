# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the engines' units, which stand in one table and in the roles that install them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.release import units

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(("role", "unit"), units.BY_GROUP.items())
def test_role_of_the_group_installs_the_unit(role: str, unit: str) -> None:
    assert (ROOT / "roles" / role / "templates" / f"{unit}.j2").is_file()


def test_no_other_rule_repeats_the_name_of_a_unit() -> None:
    names = set(units.BY_GROUP.values())
    found = [
        (path.name, node.value)
        for path in sorted((ROOT / "plugins").rglob("*.py"))
        if path.name != "units.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []
