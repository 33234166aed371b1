# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of checks continues only on the tree on which it began."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from tools import run_checks
from tools.run_checks import FAILED, NOT_RUN, PASSED, PASSED_BEFORE, PassedRecords, Result, run_all, tree_hash


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("ignored\n", encoding="utf-8")
    (folder / "file").write_text("one\n", encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Add a file")
    return folder


@pytest.fixture
def records(tmp_path: Path) -> PassedRecords:
    return PassedRecords(tmp_path / "passed")


class Runner:
    """Run targets, some of which fail or change the tree; record the started ones."""

    def __init__(self, failing: Iterable[str] = (), changing: Iterable[str] = ()) -> None:
        self.failing, self.changing = set(failing), set(changing)
        self.ran: list[str] = []
        self.current = "tree-0"

    def run(self, target: str, beside: bool) -> bool:
        self.ran.append(f"{target} beside others" if beside else target)
        if target in self.changing:
            self.current += "+"
        return target not in self.failing

    def tree(self) -> str | None:
        return self.current or None


def states(
    runner: Runner,
    records: PassedRecords,
    *groups: str,
    resume: bool = True,
    keep_going: bool = True,
) -> list[str]:
    results = run_all(groups or ["a", "b", "c"], runner.run, runner.tree, records, resume=resume, keep_going=keep_going)
    return [result.state for result in results]


def test_committed_tree_has_the_hash_that_git_gives_it(clone: Path) -> None:
    assert tree_hash(clone) == git(clone, "rev-parse", "HEAD^{tree}")


@pytest.mark.parametrize("name", ["file", "untracked"])
def test_hash_changes_with_uncommitted_content(clone: Path, name: str) -> None:
    before = tree_hash(clone)
    (clone / name).write_text("two\n", encoding="utf-8")
    assert tree_hash(clone) not in {before, None}


def test_ignored_files_leave_the_hash_as_it_is(clone: Path) -> None:
    before = tree_hash(clone)
    (clone / "ignored").write_text("two\n", encoding="utf-8")
    assert tree_hash(clone) == before


def test_hashing_leaves_the_repository_as_it_was(clone: Path) -> None:
    (clone / "untracked").write_text("two\n", encoding="utf-8")
    before = (git(clone, "status", "--porcelain"), git(clone, "count-objects"))
    tree_hash(clone)
    assert (git(clone, "status", "--porcelain"), git(clone, "count-objects")) == before


def test_directory_outside_of_git_has_no_hash(tmp_path: Path) -> None:
    assert tree_hash(tmp_path) is None


def test_second_run_on_the_same_tree_skips_passed_targets(records: PassedRecords) -> None:
    first, second = Runner(failing=["b"]), Runner()
    assert states(first, records) == [PASSED, FAILED, PASSED]
    assert states(second, records) == [PASSED_BEFORE, PASSED, PASSED_BEFORE]
    assert second.ran == ["b"]


def test_changed_tree_runs_everything_again(records: PassedRecords) -> None:
    states(Runner(), records)
    runner = Runner()
    runner.current = "tree-1"
    assert states(runner, records) == [PASSED] * 3


def test_everything_runs_without_resume(records: PassedRecords) -> None:
    states(Runner(), records)
    assert states(Runner(), records, resume=False) == [PASSED] * 3


def test_targets_after_a_failed_one_run_only_when_told_to(records: PassedRecords) -> None:
    runner = Runner(failing=["a"])
    assert states(runner, records, keep_going=False) == [FAILED, NOT_RUN, NOT_RUN]
    assert runner.ran == ["a"]


def test_joined_targets_run_at_the_same_time(records: PassedRecords) -> None:
    runner = Runner()
    together = threading.Barrier(2, timeout=30)

    def run(target: str, beside: bool) -> bool:
        if beside:
            together.wait()
        return runner.run(target, beside)

    results = run_all(["a+b", "c"], run, runner.tree, records, resume=False, keep_going=False)
    assert [(result.target, result.state) for result in results] == [("a", PASSED), ("b", PASSED), ("c", PASSED)]
    assert sorted(runner.ran[:2]) == ["a beside others", "b beside others"]
    assert runner.ran[2] == "c"


def test_failed_target_of_a_group_stops_the_run_when_the_group_has_ended(records: PassedRecords) -> None:
    first, second = Runner(failing=["a"]), Runner()
    assert states(first, records, "a+b", "c", keep_going=False) == [FAILED, PASSED, NOT_RUN]
    # The one of a group that has not passed runs alone.
    assert states(second, records, "a+b", "c") == [PASSED, PASSED_BEFORE, PASSED]
    assert second.ran == ["a", "c"]


def test_output_of_joined_targets_has_their_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Makefile").write_text("good:\n\t@echo one; echo two >&2\nbad:\n\t@exit 3\n", encoding="utf-8")
    monkeypatch.setattr(run_checks, "ROOT", tmp_path)
    assert run_checks.run_make("good", beside=True)
    assert capfd.readouterr().out.splitlines()[-2:] == ["[good] one", "[good] two"]
    assert not run_checks.run_make("bad", beside=True)


def test_target_that_changes_the_tree_is_not_recorded(records: PassedRecords) -> None:
    assert states(Runner(changing=["b"]), records) == [PASSED] * 3
    assert [bool(records.read("tree-0", target)) for target in "abc"] == [True, False, False]
    assert [bool(records.read("tree-0+", target)) for target in "abc"] == [False, False, True]


def test_nothing_is_recorded_outside_of_git(records: PassedRecords) -> None:
    runner = Runner()
    runner.current = ""
    assert states(runner, records) == [PASSED] * 3
    assert not records.folder.exists()


def test_damaged_record_counts_as_none(records: PassedRecords) -> None:
    records.write("tree", Result("a", PASSED, 10.0, 1.0))
    assert records.read("tree", "a") == Result("a", PASSED_BEFORE, 10.0, 1.0)
    (records.folder / "tree" / "a").write_text("{", encoding="utf-8")
    assert records.read("tree", "a") is None


def test_run_ends_with_a_table_and_fails_with_its_targets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HERD_CACHE", str(tmp_path))
    monkeypatch.setattr(run_checks, "tree_hash", lambda _root: "tree")
    monkeypatch.setattr(run_checks, "run_make", lambda target, _beside: target != "unit")
    assert run_checks.main(["lint", "unit", "sanity"]) == 1
    heading, lint, unit, sanity = capsys.readouterr().out.strip().splitlines()
    assert heading.split() == ["CHECK", "STATE", "ENDED", "MINUTES"]
    assert lint.split()[:2] == ["lint", "passed"]
    assert unit.split()[:2] == ["unit", "failed"]
    assert sanity.split()[:3] == ["sanity", "not", "run"]
    monkeypatch.setattr(run_checks, "run_make", lambda _target, _beside: True)
    assert run_checks.main(["--resume", "lint", "unit", "sanity"]) == 0
    assert "lint passed on this tree at " in capsys.readouterr().out
