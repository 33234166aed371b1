# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_partials_prune while downloads start, and with an invalid lock."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.models import partial_downloads
from ansible_collections.herd.inference.plugins.modules import model_partials_prune


def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    with patch_module_args({"path": str(folder)}), pytest.raises(SystemExit):
        model_partials_prune.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Partial downloads of two models, one without a lock."""
    for name in (".a.gguf.incoming", ".a.gguf.journal", ".b.gguf.incoming", ".b.gguf.lock"):
        path = tmp_path / name
        path.write_text("x", encoding="utf-8")
        os.utime(path, (1e9, 1e9))
    return tmp_path


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Run a function between the plan and the removal."""
    whole = partial_downloads.plan
    calls: list[int] = []

    def plan(*arguments: Any) -> Any:
        found = whole(*arguments)
        if not calls:
            happens()
        calls.append(1)
        return found

    monkeypatch.setattr(partial_downloads, "plan", plan)


def test_files_and_locks_are_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(run(folder, capsys)["removed"]) == 4
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["a.gguf", "b.gguf"])
def test_download_that_starts_meanwhile_keeps_its_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fds: list[int] = []

    def begin() -> None:
        # It has its lock and has written nothing yet.
        fds.append(os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT))
        fcntl.flock(fds[0], fcntl.LOCK_EX | fcntl.LOCK_NB)

    if name == "a.gguf":
        meanwhile(monkeypatch, begin)
    else:
        # Its lock is there, and held until the plan is made.
        whole = model_partials_prune.remove

        def begun(*given: Any) -> Any:
            if not fds:
                begin()
            return whole(*given)

        monkeypatch.setattr(model_partials_prune, "remove", begun)
    removed = run(folder, capsys)["removed"]
    os.close(fds[0])
    assert removed
    assert not [gone for gone in removed if name in gone]
    assert (folder / f".{name}.incoming").exists()
    assert (folder / f".{name}.lock").exists()


def test_download_that_ran_meanwhile_keeps_its_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    meanwhile(monkeypatch, lambda: os.utime(folder / ".a.gguf.incoming", (now, now)))
    assert not [gone for gone in run(folder, capsys)["removed"] if "a.gguf" in gone]
    assert sorted(path.name for path in folder.iterdir()) == [".a.gguf.incoming", ".a.gguf.journal"]


def test_path_that_is_no_lock_is_one_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".c.gguf.lock").symlink_to(".c.gguf.lock")
    found = run(folder, capsys)
    assert found["failed"]
    assert f"expected a lock at {folder / '.c.gguf.lock'}, found Too many levels" in found["msg"]
    assert len(list(folder.iterdir())) == 5
