# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run make targets one after the other, and record the tree on which each one passed.

    PYTHONPATH=collections python3 -m tools.run_checks [--resume] [--keep-going] TARGET...

A tree is the content of all files that git does not ignore, committed or not. $HERD_CACHE/passed holds one directory
for each tree, and in it one file for each target that passed. With --resume, a target that passed on this tree is
skipped. With --keep-going, the targets after a failed one run too. The output ends with a table of all targets.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ansible_collections.herd.inference.plugins.module_utils.core.text import text_table
from tests.lab.naming import Places

ROOT = Path(__file__).parents[1]
PASSED, PASSED_BEFORE, FAILED, NOT_RUN = "passed", "passed before", "failed", "not run"


@dataclass(frozen=True)
class Result:
    """Result of one target, when it ended (Unix time) and its seconds."""

    target: str
    state: str
    ended: float = 0.0
    seconds: float = 0.0

    def row(self) -> dict[str, str]:
        """Return the cells of the table at the end; times are local."""
        ended = datetime.fromtimestamp(self.ended).strftime("%Y-%m-%d %H:%M") if self.ended else ""
        minutes = f"{self.seconds / 60:.1f}" if self.ended else ""
        return {"check": self.target, "state": self.state, "ended": ended, "minutes": minutes}


def tree_hash(root: Path) -> str | None:
    """Hash the files of a checkout as `git write-tree` does, with uncommitted ones; None outside of git."""

    def git(*words: str, **env: str) -> str:
        given = {**os.environ, **env}
        done = subprocess.run(["git", *words], cwd=root, env=given, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        index = Path(git("rev-parse", "--path-format=absolute", "--git-path", "index"))
        objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
        # A copy of the index and a separate object directory leave the repository unchanged.
        with tempfile.TemporaryDirectory() as scratch:
            own_index = Path(scratch) / "index"
            if index.exists():
                shutil.copy2(index, own_index)
            (Path(scratch) / "objects").mkdir()
            env = {
                "GIT_INDEX_FILE": str(own_index),
                "GIT_OBJECT_DIRECTORY": f"{scratch}/objects",
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
            }
            git("add", "--all", ":/", **env)
            return git("write-tree", **env)
    except (OSError, subprocess.CalledProcessError):
        return None


class PassedRecords:
    """The targets that passed, by tree: one JSON file each under a directory of the cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, tree: str | None, target: str) -> Result | None:
        """Return the record of a target that passed on this tree."""
        if tree is None:
            return None
        try:
            data = json.loads((self.folder / tree / target).read_text(encoding="utf-8"))
            return Result(target, PASSED_BEFORE, float(data["ended"]), float(data["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, tree: str, result: Result) -> None:
        """Record that a target passed on this tree."""
        place = self.folder / tree
        place.mkdir(parents=True, exist_ok=True)
        scratch = place / f".{result.target}.{os.getpid()}"
        scratch.write_text(json.dumps({"ended": result.ended, "seconds": result.seconds}) + "\n", encoding="utf-8")
        scratch.replace(place / result.target)


def run_all(
    targets: Sequence[str],
    run: Callable[[str], bool],
    tree: Callable[[], str | None],
    records: PassedRecords,
    *,
    resume: bool,
    keep_going: bool,
) -> list[Result]:
    """Run the targets in their order; record those that passed and left the tree as it was."""
    results: list[Result] = []
    stopped = False
    for target in targets:
        before = tree()
        known = records.read(before, target) if resume else None
        if known or stopped:
            results.append(known or Result(target, NOT_RUN))
            continue
        start = time.time()
        passed = run(target)
        ended = time.time()
        result = Result(target, PASSED if passed else FAILED, ended, ended - start)
        results.append(result)
        if passed and before is not None and tree() == before:
            records.write(before, result)
        stopped = not passed and not keep_going
    return results


def run_make(target: str) -> bool:
    """Run one target of the Makefile; it inherits standard output and error."""
    print(f"\n== make {target}", flush=True)
    return subprocess.run(["make", "--no-print-directory", target], cwd=ROOT, check=False).returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.run_checks", description=__doc__.splitlines()[0])
    parser.add_argument("--resume", action="store_true", help="skip what passed on this very tree")
    parser.add_argument("--keep-going", action="store_true", help="run the other targets after one has failed")
    parser.add_argument("target", nargs="+")
    options = parser.parse_args(argv)
    records = PassedRecords(Places.of(os.environ).cache / "passed")
    tree = tree_hash(ROOT)
    if tree is None:
        print("run_checks: git does not know this directory; results are not recorded.", file=sys.stderr)
    for target in options.target if options.resume else ():
        known = records.read(tree, target)
        if known:
            print(f"run_checks: {target} passed on this tree at {known.row()['ended']}; it is skipped.")
    results = run_all(
        options.target,
        run_make,
        lambda: tree_hash(ROOT),
        records,
        resume=options.resume,
        keep_going=options.keep_going,
    )
    print(f"\n{text_table([result.row() for result in results], ('check', 'state', 'ended', 'minutes'))}")
    return 0 if all(result.state in {PASSED, PASSED_BEFORE} for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
