# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch as Ansible runs it, with a real web server on loopback and a real disk."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.downloads import CUT, WHOLE, Run, hidden, parts, sha256


def test_parts_become_one_verified_file(server: ModelServer, run: Run, tmp_path: Path) -> None:
    planned = run(check=True, parts=parts(server), sha256=sha256(WHOLE), mode="0640")
    assert planned["changed"] and planned["to_fetch"] == len(WHOLE)
    assert not server.asked("GET")
    assert not any(tmp_path.iterdir())

    result = run(parts=parts(server), sha256=sha256(WHOLE), mode="0640")
    assert result["diff"] == planned["diff"]
    assert result["to_fetch"] == len(WHOLE)
    dest = tmp_path / "m.gguf"
    assert dest.read_bytes() == WHOLE
    assert stat.S_IMODE(dest.stat().st_mode) == 0o640
    assert hidden(tmp_path) == {".m.gguf.lock", ".m.gguf.progress", ".m.gguf.verified"}


def test_second_run_reads_no_file_and_asks_no_server(
    server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(parts=parts(server))
    asked = len(server.requests)

    def refuse(*args: Any) -> None:
        raise AssertionError("a verified file was read")

    monkeypatch.setattr(Disk, "hash_range", refuse)
    assert [run(check=check, parts=parts(server))["changed"] for check in (False, True)] == [False, False]
    assert len(server.requests) == asked


def test_copy_from_another_node_is_accepted_without_a_request(server: ModelServer, run: Run, tmp_path: Path) -> None:
    """It came in one piece; the publisher's is in two."""
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    server.requests.clear()
    settled = run(parts=parts(server, None, None), sha256=sha256(WHOLE))
    assert (settled["changed"], settled["files"][0]["sha256"]) == (False, sha256(WHOLE))
    assert not server.requests


def test_estimate_neither_reads_nor_asks_if_the_file_may_be_right(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "hash_range", lambda *_: pytest.fail("a file was read"))
    (tmp_path / "m.gguf").write_bytes(WHOLE)
    assert run(check=True, estimate=True, url=server.url("/m.gguf"), size=len(WHOLE), sha256=sha256(WHOLE))["changed"]
    assert not server.requests


def test_estimate_of_a_missing_file_asks_the_servers(server: ModelServer, run: Run) -> None:
    assert run(check=True, estimate=True, parts=parts(server))["changed"]
    assert not server.asked("GET")
    del server.files["/m.gguf.part2of2"]
    failed = run(check=True, estimate=True, parts=parts(server))
    assert failed["failed"] and "found status 404" in failed["msg"] and "part2of2" in failed["msg"]


def test_file_copied_by_hand_is_read_once_and_kept(server: ModelServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(WHOLE)
    before = (tmp_path / "m.gguf").stat()
    assert not run(check=True, url=server.url("/m.gguf"), sha256=sha256(WHOLE), mode="0644")["changed"]
    assert not run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), mode="0644")["changed"]
    assert (tmp_path / ".m.gguf.verified").exists()
    assert (tmp_path / "m.gguf").stat().st_ino == before.st_ino
    assert not server.asked("GET")


def test_damaged_file_is_detected_by_its_time_or_by_rehash(server: ModelServer, run: Run, tmp_path: Path) -> None:
    dest = tmp_path / "m.gguf"
    run(parts=parts(server))
    verified = dest.stat()
    with dest.open("r+b") as stream:
        stream.seek(CUT + 5)
        stream.write(b"!")
    changed = run(check=True, parts=parts(server))
    assert changed["changed"] and changed["diff"][0]["before"]["verified"] == "no"

    os.utime(dest, ns=(verified.st_mtime_ns, verified.st_mtime_ns))
    assert not run(parts=parts(server))["changed"]
    assert run(check=True, rehash=True, parts=parts(server))["changed"]
    assert run(rehash=True, parts=parts(server))["changed"]
    assert dest.read_bytes() == WHOLE
    assert not run(rehash=True, parts=parts(server))["changed"]


def test_file_without_checksum_needs_verify_size(server: ModelServer, run: Run, tmp_path: Path) -> None:
    assert "found none in the inventory and none published" in run(url=server.url("/m.gguf"))["msg"]
    result = run(url=server.url("/m.gguf"), verify="size")
    assert result["files"][0]["verified"] == "size"
    assert not run(url=server.url("/m.gguf"), verify="size")["changed"]
    # A file that was only measured is not good enough once checksums are wanted.
    assert "sha256" in run(url=server.url("/m.gguf"))["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def shard_bytes(name: str) -> bytes:
    return gguf_bytes(600, zlib.crc32(name.encode()))


def test_shards_are_fetched_as_files(server: ModelServer, run: Run, tmp_path: Path) -> None:
    names = ["s-00001-of-00002.gguf", "s-00002-of-00002.gguf"]
    for name in names:
        server.files["/" + name] = Served(shard_bytes(name))
    shards = [{"url": server.url("/" + name), "sha256": sha256(shard_bytes(name))} for name in names]
    dest = str(tmp_path / names[0])
    assert run(shards=shards, dest=dest)["changed"]
    assert [(tmp_path / name).read_bytes() for name in names] == [shard_bytes(name) for name in names]
    assert not run(shards=shards, dest=dest)["changed"]
    (tmp_path / names[1]).unlink()
    assert run(shards=shards, dest=dest)["to_fetch"] == 600


def test_file_is_copied_from_shared_storage(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "a b.gguf"
    source.write_bytes(WHOLE)
    url = source.as_uri()
    assert run(url=url, verify="size")["to_fetch"] == len(WHOLE)
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert "No such file" in run(url=url + "x", verify="size")["msg"]


def test_check_mode_works_on_a_bare_host(server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_fetch, "REQUESTS_ERROR", "No module named requests")
    there = {"dest": "/nonexistent/of/herd/m.gguf", "owner": "herd-no-such-user", "group": "herd-no-such-group"}
    planned = run(check=True, parts=parts(server), size=len(WHOLE), **there)
    assert planned["changed"] and planned["files"][0]["size"] == len(WHOLE)
    assert run(check=True, parts=parts(server), **there)["to_fetch"] is None
    assert not server.requests
    assert "requests" in run(parts=parts(server))["msg"]


def test_unknown_owner_is_refused_before_the_first_byte(server: ModelServer, run: Run) -> None:
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), owner="herd-no-such-user")
    assert "herd-no-such-user" in failed["msg"]
    assert not server.requests
