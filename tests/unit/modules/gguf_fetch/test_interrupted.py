# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch after a broken connection, a kill and a loss of power."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download import download
from ansible_collections.herd.inference.plugins.module_utils.core.download import parts as download_parts
from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents
from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    BandwidthLimit,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.download import http_client
from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.module_utils.ports.download.partial_file import PartialFile
from ansible_collections.herd.inference.plugins.module_utils.ports.download.workers import DownloadWorkers
from tests.unit.model_server import ModelServer
from tests.unit.modules.gguf_fetch.downloads import PARTS, SMALL_PACE, WHOLE, Run, hidden, parts, sha256


def test_interrupted_download_continues_where_it_stopped(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf.part2of2"].dies_after = 250_000
    failed = run(parts=parts(server), sha256=sha256(WHOLE), retries=1)
    assert "closed the connection" in failed["msg"] or "connection broke" in failed["msg"]
    server.files["/m.gguf.part2of2"].dies_after = None
    before = server.sent
    planned = run(check=True, parts=parts(server), sha256=sha256(WHOLE))
    assert planned["to_fetch"] == len(WHOLE) - before
    assert run(parts=parts(server), sha256=sha256(WHOLE))["to_fetch"] == planned["to_fetch"]
    assert server.sent == len(WHOLE), "nothing is fetched twice"
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


class SuddenDeath:
    """Kill the own process before the n-th change of the disk, by any thread."""

    def __init__(self, inner: Any, left: list[int]) -> None:
        self._inner = inner
        self._left = left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any) -> Any:
            # Reading changes nothing.
            self._left[0] -= name not in (
                "read",
                "read_json",
                "read_line",
                "identity",
                "boot_id",
                "free",
                "allocated",
            )
            if self._left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*args)
            return SuddenDeath(result, self._left) if name in ("open_partial_file", "open_line_file") else result

        return call


# The child uses nothing that the threads of earlier tests may hold.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_download_killed_before_any_step_is_completed_by_the_next_run(tmp_path: Path) -> None:
    """Kill the download at step 1, 2, 3 …; each time, the next run must end with the right file."""
    for number, data in enumerate(PARTS, 1):
        (tmp_path / f"m.gguf.part{number}of2").write_bytes(data)
    pieces = [{"url": (tmp_path / f"m.gguf.part{number}of2").as_uri()} for number in (1, 2)]
    steps = 0
    while True:
        steps += 1
        folder = tmp_path / str(steps)
        folder.mkdir()
        dest = folder / "m.gguf"
        dest.write_bytes(b"GGUF former")
        targets = download_parts.plan_targets(str(dest), parts=pieces, sha256=sha256(WHOLE))

        def attempt(disk: Any, targets: Any = targets) -> None:
            client = http_client.HttpClient()
            limit = BandwidthLimit(0)
            workers = DownloadWorkers(client, 1, limit, lambda *args: None)
            ports = download.DownloadPorts(disk, client, workers, lambda *args: None)
            policy = download.DownloadPolicy(
                pace=SMALL_PACE(connections=1, smallest=150_000, largest=150_000, checkpoint=150_000)
            )
            download.run([download.Download(target, policy, ports) for target in targets])

        child = os.fork()
        if child == 0:
            try:
                attempt(SuddenDeath(Disk(), [steps]))
            finally:
                os._exit(0)
        _pid, status = os.waitpid(child, 0)
        assert dest.read_bytes() in (b"GGUF former", WHOLE), f"killed before step {steps}"
        attempt(Disk())
        assert dest.read_bytes() == WHOLE, f"killed before step {steps}"
        assert hidden(folder) == {".m.gguf.verified"}
        if status == 0:
            break
    assert steps > 25


class PowerLossDisk:
    """A disk that loses power: bytes that were not synced are gone, and the journal must not list them."""

    def __init__(self) -> None:
        self.written = Extents()
        self.durable = Extents()
        self.journals = 0
        self.lost_bytes: list[list[int]] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lock = threading.Lock()
        write, sync, write_json = PartialFile.write, PartialFile.sync, Disk.write_json

        def recorded_write(file: PartialFile, position: int, pieces: Any) -> None:
            write(file, position, pieces)
            with lock:
                self.written.add(position, position + sum(len(piece) for piece in pieces))

        def recorded_sync(file: PartialFile) -> None:
            with lock:
                reached = self.written.copy()
            sync(file)
            with lock:
                for start, end in reached:
                    self.durable.add(start, end)

        def recorded_json(the_disk: Disk, path: str, value: dict[str, Any]) -> None:
            if path.endswith(".journal"):
                with lock:
                    self.journals += 1
                    listed = list(value["safe"])
                    self.lost_bytes += [pair for pair in listed if self.durable.reach(pair[0]) < pair[1]]
            write_json(the_disk, path, value)

        monkeypatch.setattr(PartialFile, "write", recorded_write)
        monkeypatch.setattr(PartialFile, "sync", recorded_sync)
        monkeypatch.setattr(Disk, "write_json", recorded_json)


def test_journal_lists_only_bytes_that_survive_a_loss_of_power(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = PowerLossDisk()
    disk.watch(monkeypatch)
    server.files["/m.gguf.part2of2"].dies_after = 330_000
    assert run(parts=parts(server), retries=0)["failed"]
    assert disk.journals > 3 and not disk.lost_bytes
    monkeypatch.undo()

    # The power goes: another start of the machine, and where nothing was synced there are zeros.
    incoming = tmp_path / ".m.gguf.incoming"
    left = bytearray(incoming.read_bytes())
    listed = Extents(json.loads((tmp_path / ".m.gguf.journal").read_text())["safe"])
    for position in range(len(left)):
        if listed.reach(position) == position:
            left[position] = 0
    incoming.write_bytes(left)
    monkeypatch.setattr(Disk, "boot_id", lambda _disk: "another start")
    server.files["/m.gguf.part2of2"].dies_after = None
    assert run(parts=parts(server), sha256=sha256(WHOLE))["to_fetch"] == len(WHOLE) - listed.total
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
