# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages for developers name files, make targets and checks that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UTILS = ROOT / "plugins" / "module_utils"
PAGES = (
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/how-to.md",
    "docs/decisions/0015-plans-follow-the-engines-graph.md",
)
CODE = re.compile(r"`([^`\n]+)`")
FOLDERS = {path.name: ROOT for path in ROOT.iterdir() if path.is_dir()}
FOLDERS.update(dict.fromkeys(("core", "ports", "agent"), UTILS))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def paths(page: str) -> Iterator[str]:
    """Yield the words of a page's code that have the form of a repository path."""
    for code in CODE.findall((ROOT / page).read_text(encoding="utf-8")):
        for word in code.split():
            if re.fullmatch(r"[\w.]+/[\w./-]*", word) and word.partition("/")[0] in FOLDERS:
                yield word


def is_check(name: str) -> bool:
    """Return whether a make target exists, either written out or as the name of a scenario or slow test."""
    kind, _dash, rest = name.partition("-")
    if kind == "scenario" and rest:
        return (ROOT / "molecule" / rest / "molecule.yml").is_file()
    if kind == "slow" and rest:
        return (ROOT / "tests" / "slow" / f"test_{rest}.py").is_file()
    return re.search(rf"^{re.escape(name)}:", MAKEFILE, re.MULTILINE) is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    missing = [path for path in paths(page) if not (FOLDERS[path.partition("/")[0]] / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", ["docs/how-to.md", PAGES[-1]])
def test_every_name_of_the_code_exists(page: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py"))
    text += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "roles").rglob("*.j2"))
    named = re.findall(
        r"`([A-Z][A-Z_]{3,}|[A-Z][a-z]+[A-Z]\w+|[a-z]+_[a-z_]+)`", (ROOT / page).read_text(encoding="utf-8")
    )
    assert named
    assert [name for name in named if not re.search(rf"\b{name}\b", text)] == []


def test_every_package_of_the_code_is_in_the_architecture() -> None:
    named = set(paths("docs/architecture.md"))
    packages = {
        str(path.relative_to(UTILS))
        for layer in ("core", "agent")
        for path in (UTILS / layer).iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    assert packages - named == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/how-to.md", "README.md"])
def test_every_make_target_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\bmake ([a-z][\w-]*)", " ".join(CODE.findall(text)))
    targets += [code for code in CODE.findall(text) if re.fullmatch(r"(scenario|slow)-\w+|\w+-test", code)]
    assert [target for target in targets if target != "slow-x" and not is_check(target)] == []


def test_every_check_of_the_makefile_exists() -> None:
    names = re.findall(r"addprefix (\w+-),([^)]*)\)", MAKEFILE)
    checks = [prefix + name for prefix, words in names for name in words.split()]
    assert checks
    assert [check for check in checks if not is_check(check)] == []


def test_every_scenario_and_slow_test_is_a_check() -> None:
    scenarios = {f"scenario-{path.parent.name}" for path in (ROOT / "molecule").glob("*/molecule.yml")}
    slow = {f"slow-{path.stem[5:]}" for path in (ROOT / "tests" / "slow").glob("test_*.py")}
    names = re.findall(r"addprefix (\w+-),([^)]*)\)", MAKEFILE)
    found = {prefix + name for prefix, words in names for name in words.split()}
    found |= set(re.findall(r"\bscenario-[a-z]\w+", MAKEFILE))
    # chaos runs the tests of worker_lost too.
    assert scenarios | slow == found | {"scenario-worker_lost"}
