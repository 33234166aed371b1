# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch with small disks, busy locks and foreign files in its folder."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.module_utils.ports.download.locks import locked
from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.downloads import WHOLE, Run, parts, sha256


def test_estimate_checks_the_free_space(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "free", lambda *_: len(WHOLE) - 1)
    dest = tmp_path / "to" / "be made" / "m.gguf"
    failed = run(check=True, estimate=True, dest=str(dest), parts=parts(server))
    assert failed["failed"] and f"found {len(WHOLE) - 1}" in failed["msg"]


def test_free_space_is_known_before_the_directory_exists(tmp_path: Path) -> None:
    here = os.statvfs(tmp_path)
    found = Disk().free(str(tmp_path / "to" / "be made" / "m.gguf"))
    assert found is not None and 0 < found <= here.f_blocks * here.f_frsize


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system that is too small; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small file system needs the right to mount one")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_too_small_disk_is_refused_before_the_first_byte(server: ModelServer, run: Run, small_disk: Path) -> None:
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(WHOLE), "dest": str(small_disk / "m.gguf")}
    for check in (True, False):
        failed = run(check=check, **arguments)
        assert f"{len(WHOLE)} free bytes" in failed["msg"] and "free 0." in failed["msg"]
    assert not server.asked("GET")


def test_disk_that_fills_up_is_one_error(
    server: ModelServer, run: Run, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "free", lambda *args: 1 << 40)
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(WHOLE), "dest": str(small_disk / "m.gguf")}
    assert "The disk is full" in run(**arguments)["msg"]
    assert not server.asked("GET"), "the room is asked for before the first byte"
    server.files["/m.gguf"].length = False
    assert "The disk is full" in run(**arguments)["msg"]


def test_space_of_an_interrupted_download_counts_as_free(server: ModelServer, run: Run, small_disk: Path) -> None:
    data = gguf_bytes(400_000, 3)
    server.files["/m.gguf"] = Served(data, dies_after=300_000)
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(data), "dest": str(small_disk / "m.gguf")}
    assert "failed" in run(retries=0, **arguments)
    server.files["/m.gguf"].dies_after = None
    assert run(**arguments)["changed"]


def test_second_run_waits_for_the_first(server: ModelServer, run: Run, tmp_path: Path) -> None:
    waited: list[str] = []
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(str(tmp_path / ".m.gguf.lock"), 5, waited.append):
            holding.set()
            release.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(5)
    try:
        failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), lock_timeout=0)
        assert f"Process {os.getpid()} still downloads" in failed["msg"]
        threading.Timer(0.2, release.set).start()
        assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    finally:
        release.set()
        holder.join()
    assert not waited


def test_symbolic_link_at_the_partial_file_is_not_followed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".m.gguf.incoming").symlink_to(victim)
    assert "remove that path" in run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["msg"]
    assert victim.read_text() == "precious"


def test_progress_file_is_written(server: ModelServer, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "progress.json"
    seen: list[dict[str, Any]] = []
    server.files["/m.gguf"].pause = 0.1
    server.on_sent = lambda total: seen.append(json.loads(place.read_text()))
    run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), progress_file=str(place), connections=1)
    moving = [state for state in seen if state["what"] == "fetching m.gguf" and state["done"]]
    assert moving and moving[-1]["total"] == len(WHOLE) and not moving[-1]["finished"]
    assert json.loads(place.read_text())["finished"]
