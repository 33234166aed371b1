# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors: their order, and which bytes of them are combined."""

from __future__ import annotations

from pathlib import Path

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, WHOLE, Run, plain


def test_mirrors_are_asked_in_order_and_the_publisher_last(server: ModelServer, run: Run, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "m.gguf").write_bytes(WHOLE)
    nowhere = tmp_path / "not mounted"
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[f"{nowhere}/", f"{shelf}/", server.url("/second/")])
    assert result["changed"] and not server.requests
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_bytes_of_two_mirrors_are_combined_with_a_checksum(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/m.gguf"].sent == len(WHOLE) - 200_000


def test_bytes_of_two_mirrors_are_not_combined_without_a_checksum(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    other = b"GGUF" + bytes(len(WHOLE) - 4)
    server.files["/mirror/m.gguf"] = Served(other, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), verify="size", mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/m.gguf"].sent == len(WHOLE)


def test_wrong_combination_is_fetched_again_from_one_address(server: ModelServer, run: Run, tmp_path: Path) -> None:
    wrong = WHOLE[:50_000] + b"?" + WHOLE[50_001:]
    server.files["/mirror/m.gguf"] = Served(wrong, etag='"mirror"', dies_after=200_000)
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/mirror/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_mirror_is_compared_with_the_publishers_checksum(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE[:-1] + b"?", etag='"mirror"')
    server.files["/hub/m.gguf"] = Served(
        location=server.url("/m.gguf"), headers={"X-Linked-Etag": f'"{SUM}"', "X-Linked-Size": str(len(WHOLE))}
    )
    assert run(url=server.url("/hub/m.gguf"), mirrors=[server.url("/mirror/")])["files"][0]["sha256"] == SUM
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.files["/mirror/m.gguf"].sent == len(WHOLE)


def test_error_of_all_mirrors_names_them(server: ModelServer, run: Run) -> None:
    server.files["/m.gguf"].act = plain(404)
    failed = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/one/"), "/nowhere/of/herd/"])
    assert failed["msg"].startswith(f"expected a file at {server.url('/m.gguf')}, found status 404 (and before that, ")
    assert f"{server.url('/one/m.gguf')}: status 404; file:///nowhere/of/herd/m.gguf: No such file" in failed["msg"]


def test_mirrors_get_no_token(server: ModelServer, run: Run) -> None:
    server.files["/mirror/m.gguf"] = Served(WHOLE, etag='"mirror"', dies_after=200_000)
    elsewhere = server.url("/mirror/", host="localhost")
    assert run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[elsewhere], token="hf_tokenOfATest")["changed"]
    assert {asked.authorization for asked in server.asked("GET", "/mirror/m.gguf")} == {None}
    assert {asked.authorization for asked in server.asked("GET", "/m.gguf")} == {"Bearer hf_tokenOfATest"}
