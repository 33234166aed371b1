# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""disk_info, journald_limits, model_partials_prune and release_prune as Ansible runs them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.host import journald as journald_rules
from ansible_collections.herd.inference.plugins.module_utils.herd_module import HerdModule
from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import disks, journald
from ansible_collections.herd.inference.plugins.module_utils.ports.release import store as release_store
from ansible_collections.herd.inference.plugins.modules import (
    disk_info,
    journald_limits,
    model_partials_prune,
    release_prune,
)

DAY_S = 86400


def run(module: Any, capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def aged(path: Path, days: float, text: str = "x") -> Path:
    path.write_text(text, encoding="utf-8")
    when = time.time() - days * DAY_S
    os.utime(path, (when, when))
    return path


# disk_info


def test_each_disk_is_returned_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(disk_info, capsys, paths=[str(tmp_path / "not" / "yet"), str(tmp_path)], low_gib=0, full_gib=0)
    (disk,) = found["disks"]
    assert disk["path"] == str(tmp_path / "not" / "yet")
    assert disk["state"] == "ok"
    assert 0 <= disk["free_mib"] <= disk["total_mib"]
    assert not found["changed"]


@pytest.mark.parametrize(("free", "state"), [(5000, "low"), (100, "full")])
def test_a_full_disk_fails_with_refuse(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(disks, "mounts", lambda paths: [(str(paths[0]), free, 1 << 20)])
    assert run(disk_info, capsys, paths=["/var/log"])["disks"][0]["state"] == state
    said: list[str] = []
    monkeypatch.setattr(HerdModule, "warn", lambda _module, text: said.append(text))
    found = run(disk_info, capsys, paths=["/var/log"], refuse=True)
    assert found.get("failed", False) is (state == "full")
    assert f"{free} of 1048576 MiB" in (found["msg"] if state == "full" else said[0])


# journald_limits


class Journald:
    """A journald that only notes its restarts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.restarts, self.shrunk, self.size = 0, 0, "8.0M"
        self.dies = False
        self.drop_in = folder / "journald.conf.d" / "50-herd.conf"
        monkeypatch.setattr(journald, "DROP_IN", self.drop_in)
        monkeypatch.setattr(journald, "PENDING", folder / "pending")
        monkeypatch.setattr(systemd, "restart", self.restart)
        monkeypatch.setattr(journald, "usage", lambda: f"Archived and active journals take up {self.size} in x.\n")
        monkeypatch.setattr(journald, "shrink", self.shrink)

    def restart(self, _unit: str) -> None:
        if self.dies:
            raise KeyboardInterrupt
        self.restarts += 1

    def shrink(self, max_mib: int) -> None:
        self.shrunk, self.size = max_mib, f"{max_mib}.0M"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journald:
    return Journald(tmp_path, monkeypatch)


def test_limits_of_the_journal(host: Journald, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(journald_limits, capsys, check=True, max_mib=64)["changed"]
    assert (host.restarts, host.drop_in.exists()) == (0, False)
    found = run(journald_limits, capsys, max_mib=64)
    assert found["changed"]
    assert (host.restarts, host.shrunk, found["bytes"]) == (1, 0, 8 << 20)
    assert host.drop_in.read_text(encoding="utf-8") == journald_rules.drop_in(journald_rules.JournalLimits(max_mib=64))
    for check in (False, True):
        assert not run(journald_limits, capsys, check=check, max_mib=64)["changed"]
    host.size = "63.0M"
    assert run(journald_limits, capsys, max_mib=32)["bytes"] == 32 << 20
    assert (host.restarts, host.shrunk) == (2, 32)


def test_journald_is_restarted_after_a_killed_run(host: Journald, capsys: pytest.CaptureFixture[str]) -> None:
    host.dies = True
    with patch_module_args({"max_mib": 64}), pytest.raises(KeyboardInterrupt):
        journald_limits.main()
    host.dies = False
    assert run(journald_limits, capsys, check=True, max_mib=64)["changed"]
    assert run(journald_limits, capsys, max_mib=64)["changed"]
    assert host.restarts == 1
    assert not run(journald_limits, capsys, max_mib=64)["changed"]


# model_partials_prune


def test_old_partial_downloads_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    going = [aged(tmp_path / f".old.gguf.{suffix}", 8) for suffix in ("incoming", "journal", "written", "lock")]
    staying = [aged(tmp_path / name, 30) for name in ("model.gguf", ".model.gguf.verified", ".model.gguf.lock")]
    staying += [aged(tmp_path / ".new.gguf.incoming", 1), aged(tmp_path / ".profile", 900)]
    foreseen = run(model_partials_prune, capsys, check=True, path=str(tmp_path))
    assert all(path.exists() for path in going)
    done = run(model_partials_prune, capsys, path=str(tmp_path))
    for found in (foreseen, done):
        assert found["changed"]
        assert found["removed"] == sorted(path.name for path in going)
    assert {*tmp_path.iterdir()} == {*staying}
    assert not run(model_partials_prune, capsys, path=str(tmp_path))["changed"]
    assert not run(model_partials_prune, capsys, path=str(tmp_path / "none"))["changed"]


def test_partial_downloads_stay_during_a_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(tmp_path / ".old.gguf.incoming", 8)
    lock = aged(tmp_path / ".other.gguf.lock", 8)
    with lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = run(model_partials_prune, capsys, path=str(tmp_path))
        assert (found["changed"], found["busy"]) == (False, [".other.gguf.lock"])
        assert (tmp_path / ".old.gguf.incoming").exists()
    assert run(model_partials_prune, capsys, path=str(tmp_path))["changed"]


# release_prune


def build(letter: str) -> str:
    """The id of a release that a table names by a letter."""
    return f"{letter}-cpu-11111111"


class Node:
    """A prefix with six releases, the oldest first; f is current and a was before it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = folder / "llama.cpp"
        self.units = folder / "units"
        self.units.mkdir()
        monkeypatch.setattr(release_store, "UNITS", self.units)
        for number, name in enumerate("abcdef"):
            place = self.prefix / "releases" / build(name) / "bin"
            place.mkdir(parents=True)
            os.utime(place.parent, (1000 + number, 1000 + number))
        for link, name in (("current", "f"), ("previous", "a")):
            (self.prefix / link).symlink_to(Path("releases") / build(name))

    def there(self) -> str:
        return letters(path.name for path in (self.prefix / "releases").iterdir())


def letters(names: Iterable[str]) -> str:
    return "".join(sorted(name.removesuffix("-cpu-11111111") for name in names))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


@pytest.mark.parametrize(("keep", "left"), [(9, "abcdef"), (5, "abcdef"), (2, "aef"), (1, "af"), (0, "af"), (-1, "af")])
def test_current_and_previous_releases_are_kept(
    node: Node, capsys: pytest.CaptureFixture[str], keep: int, left: str
) -> None:
    foreseen = run(release_prune, capsys, check=True, prefix=str(node.prefix), keep=keep)
    assert node.there() == "abcdef"
    done = run(release_prune, capsys, prefix=str(node.prefix), keep=keep)
    assert node.there() == left == letters(done["kept"])
    assert foreseen["removed"] == done["removed"]
    assert foreseen["changed"] is done["changed"] is (left != "abcdef")
    assert not run(release_prune, capsys, prefix=str(node.prefix), keep=keep)["changed"]


def test_used_releases_are_kept(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    releases = node.prefix / "releases"
    (node.units / "llama-rpc.service").write_text(
        f"[Service]\nExecStart=/usr/bin/stdbuf -oL {releases}/{build('b')}/bin/ggml-rpc-server -p 50052\n",
        encoding="utf-8",
    )
    program = releases / build("c") / "bin" / "worker"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([str(program), "60"]) as process:
        try:
            run(release_prune, capsys, prefix=str(node.prefix), keep=0)
            assert node.there() == "abcf"
        finally:
            process.kill()
    run(release_prune, capsys, prefix=str(node.prefix), keep=0)
    assert node.there() == "abf"


def test_folders_without_the_name_of_a_release_are_kept(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    releases = node.prefix / "releases"
    (releases / "backup-of-ops").mkdir()
    os.utime(releases / "backup-of-ops", (1, 1))
    elsewhere = node.prefix / "elsewhere"
    elsewhere.mkdir()
    (releases / build("g")).symlink_to(elsewhere)
    done = run(release_prune, capsys, prefix=str(node.prefix), keep=2)
    assert letters(done["kept"]) == "aef"
    assert {path.name for path in releases.iterdir()} == {*map(build, "aefg"), "backup-of-ops"}


def test_leftovers_of_a_killed_installation_are_removed(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.prefix / "releases" / f".incoming-{build('g')}" / "bin").mkdir(parents=True)
    (node.prefix / ".current.77.tmp").symlink_to("nowhere")
    found = run(release_prune, capsys, prefix=str(node.prefix), keep=9)
    assert len(found["leftovers"]) == 2
    assert (node.there(), (node.prefix / ".current.77.tmp").is_symlink()) == ("abcdef", False)


def test_nothing_is_removed_without_a_current_release(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    (node.prefix / "current").unlink()
    assert not run(release_prune, capsys, prefix=str(node.prefix), keep=0)["changed"]
    assert not run(release_prune, capsys, prefix=str(node.prefix / "none"), keep=0)["changed"]
    assert node.there() == "abcdef"
    assert not (node.prefix / "none").exists()
