# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch as Ansible runs it, against a real web server on loopback and a real disk."""

from __future__ import annotations

import email.utils
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.download import download
from ansible_collections.herd.inference.plugins.module_utils.core.download.extents import Extents
from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    Backoff,
    BandwidthLimit,
    Pace,
    SlowTransferDetector,
)
from ansible_collections.herd.inference.plugins.module_utils.ports.download import http_client
from ansible_collections.herd.inference.plugins.module_utils.ports.download.disk import Disk
from ansible_collections.herd.inference.plugins.module_utils.ports.download.locks import locked
from ansible_collections.herd.inference.plugins.module_utils.ports.download.partial_file import PartialFile
from ansible_collections.herd.inference.plugins.module_utils.ports.download.workers import DownloadWorkers
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.unit.model_server import ModelServer, Served

ROOT = Path(__file__).parents[3]
WHOLE = b"GGUF" + random.Random(7).randbytes(700_001)
CUT = 300_007
PARTS = (WHOLE[:CUT], WHOLE[CUT:])
SECRET = "hf_tokenOfATest"
SMALL_PACE = partial(
    Pace,
    smallest=20_000,
    largest=60_000,
    checkpoint=60_000,
    unsafe=220_000,
    ahead=400_000,
    block=10_000,
    progress=10_000,
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as running:
        for number, data in enumerate(PARTS, 1):
            running.files[f"/m.gguf.part{number}of2"] = Served(data, etag=f'"part{number}"')
        running.files["/m.gguf"] = Served(WHOLE)
        yield running


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Requests and checkpoints that fit these files; pauses before the transfer are noted and not slept."""
    pauses: list[float] = []
    monkeypatch.setattr(gguf_fetch, "Pace", SMALL_PACE)
    monkeypatch.setattr(gguf_fetch, "Backoff", partial(Backoff, first=0.01))
    monkeypatch.setattr(
        http_client.HttpClient.__init__,
        "__defaults__",
        (*http_client.HttpClient.__init__.__defaults__[:-1], pauses.append),
    )
    return pauses


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **arguments: Any) -> dict[str, Any]:
        arguments.setdefault("dest", str(tmp_path / "m.gguf"))
        arguments.update(_ansible_check_mode=check, _ansible_diff=True)
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gguf_fetch.main()
        output = capsys.readouterr().out
        assert SECRET not in output
        result: dict[str, Any] = json.loads(output)
        return result

    return call


def parts(server: ModelServer, *sums: str | None) -> list[dict[str, Any]]:
    return [
        {"url": server.url(f"/m.gguf.part{number}of2"), "sha256": value}
        for number, value in enumerate(sums or (sha256(PARTS[0]), sha256(PARTS[1])), 1)
    ]


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


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


def test_a_run_without_a_change_reads_nothing_and_asks_nobody(
    server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(parts=parts(server))
    asked = len(server.requests)

    def refuse(*args: Any) -> None:
        raise AssertionError("a verified file was read")

    monkeypatch.setattr(Disk, "hash_range", refuse)
    assert [run(check=check, parts=parts(server))["changed"] for check in (False, True)] == [False, False]
    assert len(server.requests) == asked


def test_a_copy_of_another_node_is_the_model_and_is_not_asked_for_again(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    """It came in one piece; the publisher's is in two."""
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    server.requests.clear()
    settled = run(parts=parts(server, None, None), sha256=sha256(WHOLE))
    assert (settled["changed"], settled["files"][0]["sha256"]) == (False, sha256(WHOLE))
    assert not server.requests


def test_the_estimate_neither_reads_nor_asks_where_a_file_may_be_right(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "hash_range", lambda *_: pytest.fail("a file was read"))
    (tmp_path / "m.gguf").write_bytes(WHOLE)
    assert run(check=True, estimate=True, url=server.url("/m.gguf"), size=len(WHOLE), sha256=sha256(WHOLE))["changed"]
    assert not server.requests


def test_the_estimate_of_a_file_that_is_not_there_asks_the_servers(server: ModelServer, run: Run) -> None:
    assert run(check=True, estimate=True, parts=parts(server))["changed"]
    assert not server.asked("GET")
    del server.files["/m.gguf.part2of2"]
    failed = run(check=True, estimate=True, parts=parts(server))
    assert failed["failed"] and "found status 404" in failed["msg"] and "part2of2" in failed["msg"]


def test_the_estimate_looks_at_the_free_space(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "free", lambda *_: len(WHOLE) - 1)
    dest = tmp_path / "to" / "be made" / "m.gguf"
    failed = run(check=True, estimate=True, dest=str(dest), parts=parts(server))
    assert failed["failed"] and f"found {len(WHOLE) - 1}" in failed["msg"]


def test_free_space_is_known_before_a_directory_is_made(tmp_path: Path) -> None:
    here = os.statvfs(tmp_path)
    found = Disk().free(str(tmp_path / "to" / "be made" / "m.gguf"))
    assert found is not None and 0 < found <= here.f_blocks * here.f_frsize


def test_a_file_put_there_by_hand_is_read_once_and_kept(server: ModelServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(WHOLE)
    before = (tmp_path / "m.gguf").stat()
    assert not run(check=True, url=server.url("/m.gguf"), sha256=sha256(WHOLE), mode="0644")["changed"]
    assert not run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), mode="0644")["changed"]
    assert (tmp_path / ".m.gguf.verified").exists()
    assert (tmp_path / "m.gguf").stat().st_ino == before.st_ino
    assert not server.asked("GET")


def test_a_damaged_file_is_found_when_its_time_changed_or_when_asked(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
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


def test_the_publishers_checksum_is_used_and_the_redirect_gets_no_token(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    hub = server.files["/resolve/m.gguf"] = Served(
        location=server.url("/cdn/m.gguf?sig=1", host="localhost"),
        token=SECRET,
        headers={"X-Linked-Etag": f'"{sha256(WHOLE)}"', "X-Linked-Size": str(len(WHOLE))},
    )
    server.files["/cdn/m.gguf?sig=1"] = Served(WHOLE, etag='"of-the-cdn"')
    result = run(url=server.url("/resolve/m.gguf"), token=SECRET)
    assert result["files"][0]["sha256"] == sha256(WHOLE)
    assert {asked.authorization for asked in server.asked("GET", "/resolve/m.gguf")} == {f"Bearer {SECRET}"}
    assert {asked.authorization for asked in server.asked("GET", "/cdn/m.gguf?sig=1")} == {None}
    assert not any(SECRET in path.read_text(errors="replace") for path in tmp_path.iterdir())

    hub.headers["X-Linked-Etag"] = "0" * 64
    failed = run(url=server.url("/resolve/m.gguf"), token=SECRET, sha256="1" * 64, dest=str(tmp_path / "n.gguf"))
    assert f"sha256 {'1' * 64}" in failed["msg"] and "0" * 64 in failed["msg"]
    assert not (tmp_path / "n.gguf").exists()


def test_a_redirect_on_the_same_host_keeps_the_token(server: ModelServer, run: Run) -> None:
    server.files["/m"] = Served(location="/m.gguf")
    server.files["/m.gguf"].token = SECRET
    assert run(url=server.url("/m"), sha256=sha256(WHOLE), token=SECRET)["changed"]


def test_without_any_checksum_the_operator_must_say_so(server: ModelServer, run: Run, tmp_path: Path) -> None:
    assert "found none in the inventory and none published" in run(url=server.url("/m.gguf"))["msg"]
    result = run(url=server.url("/m.gguf"), verify="size")
    assert result["files"][0]["verified"] == "size"
    assert not run(url=server.url("/m.gguf"), verify="size")["changed"]
    # A file that was only measured is not good enough once checksums are wanted.
    assert "sha256" in run(url=server.url("/m.gguf"))["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


@pytest.mark.parametrize(
    "trouble",
    [
        {"failures": [(503, {"Retry-After": "7"}), (429, {"Retry-After": "7"}), (500, {})]},
        {"cuts": [100_000, 1, 0]},
        {"cuts": [200_000, 50_000], "ranges": False},
        {"cuts": [200_000], "etag": None},
        {"head": False},
        {"length": False},
    ],
    ids=["busy", "cuts", "cuts-no-ranges", "cuts-no-etag", "no-head", "no-length"],
)
def test_a_server_with_moods_is_outlasted(
    server: ModelServer, run: Run, tmp_path: Path, trouble: dict[str, Any], small_steps: list[float]
) -> None:
    for name, value in trouble.items():
        setattr(server.files["/m.gguf"], name, value)
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE)).get("msg") is None
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    if "failures" in trouble:
        assert small_steps == [7.0, 7.0, 0.04]


def test_a_server_that_stays_away_ends_in_one_error(server: ModelServer, run: Run, small_steps: list[float]) -> None:
    server.files["/m.gguf"].failures = [(503, {})] * 9
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), retries=3)
    assert "the server answered 503, 4 times in a row" in failed["msg"]
    assert small_steps == [0.01, 0.02, 0.04]


def test_retry_after_may_be_a_date(server: ModelServer, run: Run, small_steps: list[float]) -> None:
    server.files["/m.gguf"].failures = [(503, {"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)})]
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    assert 25 < small_steps[0] <= 30


def test_an_interrupted_fetch_continues_where_it_stopped(server: ModelServer, run: Run, tmp_path: Path) -> None:
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


def test_several_connections_are_kept_and_no_more_than_asked_for(server: ModelServer, run: Run, tmp_path: Path) -> None:
    assert run(parts=parts(server), connections=3)["changed"]
    asked = server.asked("GET")
    assert server.sent == len(WHOLE) and len(asked) > 12
    assert server.connections <= 4, "each of the three is kept alive; the one that asked first may be another"


def test_a_file_that_changed_between_runs_is_not_mixed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"].dies_after = 500_000
    run(url=server.url("/m.gguf"), verify="size", retries=0)
    assert run(check=True, url=server.url("/m.gguf"), verify="size")["to_fetch"] < len(WHOLE)
    newer = b"GGUF" + bytes(len(WHOLE) - 4)
    server.files["/m.gguf"] = Served(newer, etag='"two"')
    assert run(url=server.url("/m.gguf"), verify="size")["to_fetch"] == len(WHOLE)
    assert (tmp_path / "m.gguf").read_bytes() == newer


def test_a_file_that_changes_during_the_fetch_is_not_mixed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    served = server.files["/m.gguf"]

    def replace(total: int) -> None:
        if total >= 450_000:
            served.etag = '"two"'

    server.on_sent = replace
    failed = run(url=server.url("/m.gguf"), verify="size")
    assert '"one"' in failed["msg"] and '"two"' in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_a_wrong_part_is_named_removed_and_fetched_again(server: ModelServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF, the former one")
    good = server.files["/m.gguf.part2of2"].data
    server.files["/m.gguf.part2of2"].data = b"x" + good[1:]
    failed = run(parts=parts(server))
    assert failed["msg"].count("expected") == 1
    assert sha256(good) in failed["msg"] and sha256(b"x" + good[1:]) in failed["msg"]
    assert "m.gguf.part2of2" in failed["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == b"GGUF, the former one"
    assert json.loads((tmp_path / ".m.gguf.journal").read_text())["safe"] == [[0, CUT]]

    server.files["/m.gguf.part2of2"].data = good
    assert run(parts=parts(server))["to_fetch"] == len(good)
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_a_wrong_whole_is_removed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    failed = run(parts=parts(server, None, None), sha256="ab" * 32)
    assert "of the whole m.gguf" in failed["msg"] and sha256(WHOLE) in failed["msg"]
    assert hidden(tmp_path) == {".m.gguf.lock", ".m.gguf.progress"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.files.pop("/m.gguf.part2of2"), "m.gguf.part2of2, found status 404"),
        (lambda s: setattr(s.files["/m.gguf.part1of2"], "token", SECRET), "status 401: a token is needed"),
        (lambda s: setattr(s.files["/m.gguf.part1of2"], "location", "/m.gguf.part1of2"), "at most 10 redirects"),
        (
            lambda s: setattr(s.files["/m.gguf.part1of2"], "headers", {"Content-Encoding": "gzip"}),
            "Content-Encoding gzip",
        ),
    ],
    ids=["missing", "gated", "loop", "gzip"],
)
def test_what_a_server_refuses_is_one_error_and_nothing_changes(
    server: ModelServer, run: Run, tmp_path: Path, change: Callable[[ModelServer], Any], words: str
) -> None:
    change(server)
    failed = run(parts=parts(server))
    assert words in failed["msg"]
    assert hidden(tmp_path) <= {".m.gguf.lock", ".m.gguf.progress"}


def test_a_login_page_is_not_a_model(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(b"<!DOCTYPE html><title>Sign in</title>" + bytes(5000))
    failed = run(url=server.url("/m.gguf"), verify="size")
    assert "GGUF" in failed["msg"] and "login" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()
    assert not (tmp_path / ".m.gguf.incoming").exists()


def test_a_size_that_differs_is_refused_before_the_first_byte(server: ModelServer, run: Run) -> None:
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), size=5)
    assert f"size 5 of {server.url('/m.gguf')}, found {len(WHOLE)} on the server" in failed["msg"]
    assert not server.asked("GET")


def test_a_body_without_a_length_is_measured(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(WHOLE[:-1], length=False)
    failed = run(url=server.url("/m.gguf"), size=len(WHOLE), verify="size", retries=1)
    assert f"{len(WHOLE)}" in failed["msg"] and f"{len(WHOLE) - 1}" in failed["msg"]
    assert "found none from the server" not in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()
    assert "size of" in run(url=server.url("/m.gguf"), verify="size")["msg"]


def test_shards_are_fetched_as_files(server: ModelServer, run: Run, tmp_path: Path) -> None:
    names = ["s-00001-of-00002.gguf", "s-00002-of-00002.gguf"]
    for name in names:
        server.files["/" + name] = Served(b"GGUF" + name.encode())
    shards = [{"url": server.url("/" + name), "sha256": sha256(b"GGUF" + name.encode())} for name in names]
    dest = str(tmp_path / names[0])
    assert run(shards=shards, dest=dest)["changed"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"GGUF" + name.encode() for name in names]
    assert not run(shards=shards, dest=dest)["changed"]
    (tmp_path / names[1]).unlink()
    assert run(shards=shards, dest=dest)["to_fetch"] == len(names[1]) + 4


def test_a_file_on_shared_storage(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "a b.gguf"
    source.write_bytes(WHOLE)
    url = source.as_uri()
    assert run(url=url, verify="size")["to_fetch"] == len(WHOLE)
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert "No such file" in run(url=url + "x", verify="size")["msg"]


def test_check_mode_on_a_bare_host(server: ModelServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_fetch, "REQUESTS_ERROR", "No module named requests")
    there = {"dest": "/nonexistent/of/herd/m.gguf", "owner": "herd-no-such-user", "group": "herd-no-such-group"}
    planned = run(check=True, parts=parts(server), size=len(WHOLE), **there)
    assert planned["changed"] and planned["files"][0]["size"] == len(WHOLE)
    assert run(check=True, parts=parts(server), **there)["to_fetch"] is None
    assert not server.requests
    assert "requests" in run(parts=parts(server))["msg"]


def test_an_unknown_owner_is_refused_before_the_first_byte(server: ModelServer, run: Run) -> None:
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), owner="herd-no-such-user")
    assert "herd-no-such-user" in failed["msg"]
    assert not server.requests


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


def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(
    server: ModelServer, run: Run, small_disk: Path
) -> None:
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(WHOLE), "dest": str(small_disk / "m.gguf")}
    for check in (True, False):
        failed = run(check=check, **arguments)
        assert f"{len(WHOLE)} free bytes" in failed["msg"] and "free 0." in failed["msg"]
    assert not server.asked("GET")


def test_a_disk_that_fills_up_meanwhile_is_one_error(
    server: ModelServer, run: Run, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "free", lambda *args: 1 << 40)
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(WHOLE), "dest": str(small_disk / "m.gguf")}
    assert "a full disk" in run(**arguments)["msg"]
    assert not server.asked("GET"), "the room is asked for before the first byte"
    server.files["/m.gguf"].length = False
    assert "a full disk" in run(**arguments)["msg"]


def test_room_that_an_interrupted_fetch_already_took_counts(server: ModelServer, run: Run, small_disk: Path) -> None:
    data = WHOLE[:400_000]
    server.files["/m.gguf"] = Served(data, dies_after=300_000)
    arguments = {"url": server.url("/m.gguf"), "sha256": sha256(data), "dest": str(small_disk / "m.gguf")}
    assert "failed" in run(retries=0, **arguments)
    server.files["/m.gguf"].dies_after = None
    assert run(**arguments)["changed"]


def test_the_second_of_two_runs_waits(server: ModelServer, run: Run, tmp_path: Path) -> None:
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
        assert f"process {os.getpid()} still at work" in failed["msg"]
        threading.Timer(0.2, release.set).start()
        assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    finally:
        release.set()
        holder.join()
    assert not waited


def test_a_link_that_lies_in_the_way_is_not_followed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".m.gguf.incoming").symlink_to(victim)
    assert "remove that path" in run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["msg"]
    assert victim.read_text() == "precious"


def test_progress_is_written(server: ModelServer, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "progress.json"
    seen: list[dict[str, Any]] = []
    server.files["/m.gguf"].pause = 0.1
    server.on_sent = lambda total: seen.append(json.loads(place.read_text()))
    run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), progress_file=str(place), connections=1)
    moving = [state for state in seen if state["what"] == "fetching m.gguf" and state["done"]]
    assert moving and moving[-1]["total"] == len(WHOLE) and not moving[-1]["finished"]
    assert json.loads(place.read_text())["finished"]


class SuddenDeath:
    """Kills its own process before the n-th thing that is done to the disk, by whichever thread."""

    def __init__(self, inner: Any, left: list[int]) -> None:
        self._inner = inner
        self._left = left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any) -> Any:
            # Looking changes nothing, so there is nothing in between.
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


# The child touches nothing that the threads of earlier tests may hold.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_killed_before_every_single_step_and_run_again(tmp_path: Path) -> None:
    """The whole fetch, died at step 1, 2, 3 …; each time the next run must end with the right file."""
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
        targets = gguf_fetch.plan_targets(str(dest), parts=pieces, sha256=sha256(WHOLE))

        def attempt(disk: Any, targets: Any = targets) -> None:
            client = http_client.HttpClient()
            limit = BandwidthLimit(0)
            workers = DownloadWorkers(client, 1, limit, lambda: SlowTransferDetector(60), lambda *args: None)
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


class Platters:
    """A disk that loses power: what was not synced is gone, and the journal must not count on it."""

    def __init__(self) -> None:
        self.written = Extents()
        self.durable = Extents()
        self.journals = 0
        self.broken_promises: list[list[int]] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lock = threading.Lock()
        write, sync, write_json = PartialFile.write, PartialFile.sync, Disk.write_json

        def noted_write(file: PartialFile, position: int, pieces: Any) -> None:
            write(file, position, pieces)
            with lock:
                self.written.add(position, position + sum(len(piece) for piece in pieces))

        def noted_sync(file: PartialFile) -> None:
            with lock:
                reached = self.written.copy()
            sync(file)
            with lock:
                for start, end in reached:
                    self.durable.add(start, end)

        def noted_json(disk: Disk, path: str, value: dict[str, Any]) -> None:
            if path.endswith(".journal"):
                with lock:
                    self.journals += 1
                    promised = list(value["safe"])
                    self.broken_promises += [pair for pair in promised if self.durable.reach(pair[0]) < pair[1]]
            write_json(disk, path, value)

        monkeypatch.setattr(PartialFile, "write", noted_write)
        monkeypatch.setattr(PartialFile, "sync", noted_sync)
        monkeypatch.setattr(Disk, "write_json", noted_json)


def test_the_journal_promises_only_what_a_loss_of_power_leaves(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platters = Platters()
    platters.watch(monkeypatch)
    server.files["/m.gguf.part2of2"].dies_after = 330_000
    assert run(parts=parts(server), retries=0)["failed"]
    assert platters.journals > 3 and not platters.broken_promises
    monkeypatch.undo()

    # The power goes: another start of the machine, and where nothing was synced there are zeros.
    incoming = tmp_path / ".m.gguf.incoming"
    left = bytearray(incoming.read_bytes())
    promised = Extents(json.loads((tmp_path / ".m.gguf.journal").read_text())["safe"])
    for position in range(len(left)):
        if promised.reach(position) == position:
            left[position] = 0
    incoming.write_bytes(left)
    monkeypatch.setattr(Disk, "boot_id", lambda _disk: "another start")
    server.files["/m.gguf.part2of2"].dies_after = None
    assert run(parts=parts(server), sha256=sha256(WHOLE))["to_fetch"] == len(WHOLE) - promised.total
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
