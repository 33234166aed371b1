# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, folders and the main functions of modules stay small. The complexity of other functions is a rule of ruff."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES, MOST_FILES, MOST_PATHS = 450, 16, 9
FILES = sorted(path for name in ("plugins", "tests", "molecule", "tools") for path in (ROOT / name).rglob("*.py"))
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
#: Statements that add a path through a function, as counted by McCabe's complexity.
BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler)


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES}


def test_folders_hold_few_files() -> None:
    """The modules are flat, since a folder would be a part of a module's name; so are the filters."""
    folders = {path.parent for path in FILES if path.is_relative_to(ROOT / "plugins" / "module_utils")}
    folders |= {path.parent for path in FILES if path.is_relative_to(ROOT / "tests" / "unit")}
    counts = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert not {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MOST_FILES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_main_of_each_module_is_simple(path: Path) -> None:
    functions = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    (main,) = (function for function in functions if function.name == "main")
    assert 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(main)) <= MOST_PATHS
