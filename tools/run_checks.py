# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run make targets one after the other, and record the tree on which each one passed.

    PYTHONPATH=collections python3 -m tools.run_checks [--resume] [--keep-going] TARGET[+TARGET]...

Targets that are joined by C(+) run at the same time, and each line of their output begins with its target's name.
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
from concurrent.futures import ThreadPoolExecutor
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
    groups: Sequence[str],
    run: Callable[[str, bool], bool],
    tree: Callable[[], str | None],
    records: PassedRecords,
    *,
    resume: bool,
    keep_going: bool,
) -> list[Result]:
    """Run the groups of targets in their order; record the targets that passed and left the tree as it was.

    :param run: runs a target, and returns whether it passed. Its second argument is whether others run beside it.
    """
    results: list[Result] = []
    stopped = False
    for group in groups:
        before = tree()
        targets = group.split("+")
        known = {target: records.read(before, target) if resume else None for target in targets}
        pending = [] if stopped else [target for target in targets if not known[target]]

        def timed(target: str, beside: bool = len(pending) > 1) -> Result:
            start = time.time()
            passed = run(target, beside)
            ended = time.time()
            return Result(target, PASSED if passed else FAILED, ended, ended - start)

        with ThreadPoolExecutor(len(targets)) as others:
            found = {result.target: result for result in others.map(timed, pending)}
        results += [known[target] or found.get(target) or Result(target, NOT_RUN) for target in targets]
        if before is not None and tree() == before:
            for result in found.values():
                if result.state == PASSED:
                    records.write(before, result)
        stopped = stopped or (not keep_going and any(result.state == FAILED for result in found.values()))
    return results


def run_make(target: str, beside: bool = False) -> bool:
    """Run one target of the Makefile, and print its output.

    :param beside: whether others run at the same time, so that each line needs the target's name.
    """
    print(f"\n== make {target}", flush=True)
    words = ["make", "--no-print-directory", target]
    if not beside:
        return subprocess.run(words, cwd=ROOT, check=False).returncode == 0
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            print(f"[{target}] {line}", end="", flush=True)
    return process.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.run_checks", description=__doc__.splitlines()[0])
    parser.add_argument("--resume", action="store_true", help="skip what passed on this very tree")
    parser.add_argument("--keep-going", action="store_true", help="run the other targets after one has failed")
    parser.add_argument("group", nargs="+", metavar="TARGET[+TARGET]")
    options = parser.parse_args(argv)
    records = PassedRecords(Places.of(os.environ).cache / "passed")
    tree = tree_hash(ROOT)
    if tree is None:
        print("run_checks: git does not know this directory; results are not recorded.", file=sys.stderr)
    for target in "+".join(options.group).split("+") if options.resume else ():
        known = records.read(tree, target)
        if known:
            print(f"run_checks: {target} passed on this tree at {known.row()['ended']}; it is skipped.")
    results = run_all(
        options.group,
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
