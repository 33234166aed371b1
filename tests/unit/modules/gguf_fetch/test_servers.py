# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_fetch with servers that fail, refuse or replace a file."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.downloads import CUT, SECRET, WHOLE, Run, hidden, parts, sha256


def test_publishers_checksum_is_used_and_the_redirect_gets_no_token(
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


def test_redirect_on_the_same_host_keeps_the_token(server: ModelServer, run: Run) -> None:
    server.files["/m"] = Served(location="/m.gguf")
    server.files["/m.gguf"].token = SECRET
    assert run(url=server.url("/m"), sha256=sha256(WHOLE), token=SECRET)["changed"]


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
def test_passing_failures_are_retried(
    server: ModelServer, run: Run, tmp_path: Path, trouble: dict[str, Any], small_steps: list[float]
) -> None:
    for name, value in trouble.items():
        setattr(server.files["/m.gguf"], name, value)
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE)).get("msg") is None
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    if "failures" in trouble:
        assert small_steps == [7.0, 7.0, 0.04]


def test_lasting_failure_ends_in_one_error(server: ModelServer, run: Run, small_steps: list[float]) -> None:
    server.files["/m.gguf"].failures = [(503, {})] * 9
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), retries=3)
    assert "the server answered 503, 4 times in a row" in failed["msg"]
    assert small_steps == [0.01, 0.02, 0.04]


def test_retry_after_may_be_a_date(server: ModelServer, run: Run, small_steps: list[float]) -> None:
    server.files["/m.gguf"].failures = [(503, {"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)})]
    assert run(url=server.url("/m.gguf"), sha256=sha256(WHOLE))["changed"]
    assert 25 < small_steps[0] <= 30


def test_connections_are_kept_alive_and_limited(server: ModelServer, run: Run, tmp_path: Path) -> None:
    assert run(parts=parts(server), connections=3)["changed"]
    asked = server.asked("GET")
    assert server.sent == len(WHOLE) and len(asked) > 12
    assert server.connections <= 4, "each of the three is kept alive; the one that asked first may be another"


def test_file_replaced_between_runs_is_not_mixed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"].dies_after = 500_000
    run(url=server.url("/m.gguf"), verify="size", retries=0)
    assert run(check=True, url=server.url("/m.gguf"), verify="size")["to_fetch"] < len(WHOLE)
    newer = WHOLE[:1000] + bytes(len(WHOLE) - 1000)
    server.files["/m.gguf"] = Served(newer, etag='"two"')
    assert run(url=server.url("/m.gguf"), verify="size")["to_fetch"] == len(WHOLE)
    assert (tmp_path / "m.gguf").read_bytes() == newer


def test_file_replaced_during_the_download_is_not_mixed(server: ModelServer, run: Run, tmp_path: Path) -> None:
    served = server.files["/m.gguf"]

    def replace(total: int) -> None:
        if total >= 450_000:
            served.etag = '"two"'

    server.on_sent = replace
    failed = run(url=server.url("/m.gguf"), verify="size")
    assert '"one"' in failed["msg"] and '"two"' in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_wrong_part_is_named_removed_and_fetched_again(server: ModelServer, run: Run, tmp_path: Path) -> None:
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


def test_wrong_file_is_removed(server: ModelServer, run: Run, tmp_path: Path) -> None:
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
def test_refused_request_is_one_error_and_changes_nothing(
    server: ModelServer, run: Run, tmp_path: Path, change: Callable[[ModelServer], Any], words: str
) -> None:
    change(server)
    failed = run(parts=parts(server))
    assert words in failed["msg"]
    assert hidden(tmp_path) <= {".m.gguf.lock", ".m.gguf.progress"}


def test_login_page_is_rejected(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(b"<!DOCTYPE html><title>Sign in</title>" + bytes(5000))
    failed = run(url=server.url("/m.gguf"), verify="size")
    assert "GGUF" in failed["msg"] and "login" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()
    assert not (tmp_path / ".m.gguf.incoming").exists()


def test_other_size_is_refused_before_the_first_byte(server: ModelServer, run: Run) -> None:
    failed = run(url=server.url("/m.gguf"), sha256=sha256(WHOLE), size=5)
    assert f"size 5 of {server.url('/m.gguf')}, found {len(WHOLE)} on the server" in failed["msg"]
    assert not server.asked("GET")


def test_body_without_content_length_is_accepted(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(WHOLE[:-1], length=False)
    failed = run(url=server.url("/m.gguf"), size=len(WHOLE), verify="size", retries=1)
    assert f"{len(WHOLE)}" in failed["msg"] and f"{len(WHOLE) - 1}" in failed["msg"]
    assert "found none from the server" not in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()
    server.files["/m.gguf"].ranges = False
    assert "size of" in run(url=server.url("/m.gguf"), verify="size")["msg"]
