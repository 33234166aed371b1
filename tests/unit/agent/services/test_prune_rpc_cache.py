# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl rpc-cache on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import rpc_cache
from tests.unit.agent.conftest import run_herdctl

SIZE = 11 << 20
AGO = 3600.0
NAMES = [f"{number:016x}" for number in range(3)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Create three cache files of an hour ago, and a file that is not the engine's."""
    folder = tmp_path / "rpc"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        put(folder / name, SIZE, AGO - 120 * number)
    put(folder / "notes.txt", 3, AGO)
    return folder


def put(path: Path, size: int, seconds_ago: float) -> None:
    with path.open("wb") as sink:
        sink.truncate(size)
    when = time.time() - seconds_ago
    os.utime(path, (when, when))


def prune(herdctl: Path, folder: Path, *arguments: str) -> list[str]:
    done = run_herdctl(herdctl, "rpc-cache", "prune", "--folder", str(folder), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["removed"]) if done.stdout else []


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_existing_files_are_proved_once_and_stay(herdctl: Path, cache: Path) -> None:
    # No record shows how the worker that wrote these files ended, so the last one may be truncated.
    assert prune(herdctl, cache, "--starting") == [NAMES[2]]
    assert prune(herdctl, cache, "--starting") == []
    # A worker writes a file, and exits some time later or during the write.
    put(cache / NAMES[2], SIZE, -2.0)
    assert prune(herdctl, cache, "--ended") == [NAMES[2]]
    assert names(cache) == {*NAMES[:2], "notes.txt", ".herd.json"}


def test_limits_are_enforced(herdctl: Path, cache: Path) -> None:
    prune(herdctl, cache, "--starting")
    put(cache / NAMES[2], SIZE, 30.0)
    (cache / ".herd.json").write_text(json.dumps({"proved": time.time()}), encoding="utf-8")
    done = run_herdctl(herdctl, "rpc-cache", "prune", "--starting", "--folder", str(cache), "--max-mib", "22")
    assert done.stdout == "removed from the cache 1 file of 11 MiB: the cache is larger than 22 MiB (1)\n"
    assert names(cache) == {*NAMES[1:], "notes.txt", ".herd.json"}


def test_files_written_on_a_full_disk_are_removed_later(herdctl: Path, cache: Path, tmp_path: Path) -> None:
    """The agent recorded the full disk; the device is the same."""
    (cache / ".herd.json").write_text(json.dumps({"proved": time.time() - AGO - 200}), encoding="utf-8")
    seen = {str(cache.stat().st_dev): time.time() - AGO + 60}
    (tmp_path / "full.json").write_text(json.dumps(seen), encoding="utf-8")
    # The first file was written before the disk was full.
    assert prune(herdctl, cache, "--ended", "--run-dir", str(tmp_path)) == NAMES[:1]


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"proved": null}', '{"proved": "x"}', "\xff"])
def test_damaged_record_proves_no_file(herdctl: Path, cache: Path, state: str) -> None:
    (cache / ".herd.json").write_text(state, encoding="latin-1")
    (cache / "..herd.json.99").write_text("", encoding="utf-8")
    assert prune(herdctl, cache, "--starting") == [NAMES[2]]
    assert "..herd.json.99" not in names(cache)


def test_missing_cache_is_no_error(herdctl: Path, tmp_path: Path) -> None:
    assert prune(herdctl, tmp_path / "none", "--starting") == []
    assert run_herdctl(herdctl, "rpc-cache", "show", "--folder", str(tmp_path / "none")).returncode == 0


def test_links_are_not_followed(herdctl: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x")
    (cache / "00000000000000ff").symlink_to(tmp_path / "elsewhere")
    prune(herdctl, cache, "--starting", "--max-mib", "1")
    assert (tmp_path / "elsewhere").exists()
    assert names(cache) == {"00000000000000ff", "notes.txt", ".herd.json"}


def test_manual_prune_requires_a_stopped_worker(herdctl: Path, cache: Path, tmp_path: Path) -> None:
    # A double of systemctl that reports a running worker.
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nprintf 'LoadState=loaded\\nActiveState=active\\nMainPID=4711\\n'\n", encoding="utf-8"
    )
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", str(herdctl), "rpc-cache", "prune", "--folder", str(cache)],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "herdctl rpc-cache: expected a worker that is down, found llama-rpc.service as process 4711: "
        "systemctl restart llama-rpc.service, which does the same.\n"
    )
    assert names(cache) == {*NAMES, "notes.txt"}


def test_check_reads_every_byte(herdctl: Path, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / f"{rpc_cache.fnv(data):016x}").write_bytes(data)
    assert run_herdctl(herdctl, "rpc-cache", "check", "--folder", str(tmp_path)).stdout == "all is whole\n"
    (tmp_path / f"{rpc_cache.fnv(data + b'x'):016x}").write_bytes(data)
    done = run_herdctl(herdctl, "rpc-cache", "check", "--folder", str(tmp_path), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"damaged": [f"{rpc_cache.fnv(data + b'x'):016x}"]}
