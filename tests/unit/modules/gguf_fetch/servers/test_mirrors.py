# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors: their order, and which bytes of them are combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, WHOLE, Run, asked_range, plain


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
    other = WHOLE[:1000] + bytes(len(WHOLE) - 1000)
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


SHORT, LONG = WHOLE[:-4000], WHOLE + bytes(4000)
#: Where the checksum comes from: options of the module, and headers of the publisher.
PUBLISHED = {"X-Linked-Etag": f'"{SUM}"', "X-Linked-Size": str(len(WHOLE))}
CHECKSUMS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "inventory": ({"sha256": SUM}, {}),
    "publisher": ({}, PUBLISHED),
    "nowhere": ({"verify": "size"}, {}),
}


def mirrors(server: ModelServer, contents: list[bytes], name: str = "mirror") -> list[str]:
    for number, data in enumerate(contents):
        server.files[f"/{name}/{number}/m.gguf"] = Served(data, etag=f'"{number}"')
    return [server.url(f"/{name}/{number}/") for number in range(len(contents))]


@pytest.mark.parametrize("known", CHECKSUMS)
@pytest.mark.parametrize(
    "contents", [[SHORT], [LONG], [SHORT, WHOLE], [WHOLE, LONG], [SHORT, LONG], [SHORT, SHORT, WHOLE]]
)
def test_mirror_with_another_size_is_left_out(
    server: ModelServer, run: Run, tmp_path: Path, contents: list[bytes], known: str
) -> None:
    options, published = CHECKSUMS[known]
    server.files["/hub/m.gguf"] = Served(location=server.url("/m.gguf"), headers=published)
    urls = mirrors(server, contents, tmp_path.name)
    result = run(url=server.url("/hub/m.gguf"), mirrors=urls, **options)
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert server.asked("HEAD", f"/{tmp_path.name}/0/m.gguf")
    for number, data in enumerate(contents):
        label = f"{urls[number]}m.gguf"
        warning = f"{label} is left out: expected size {len(WHOLE)} of {label}, found {len(data)} on the server."
        was_asked = bool(server.asked("HEAD", f"/{tmp_path.name}/{number}/m.gguf"))
        assert (warning in str(result.get("warnings"))) == (data != WHOLE and was_asked)


@pytest.mark.parametrize("wrong", [SHORT, LONG])
def test_copy_of_another_size_on_shared_storage_is_left_out(
    server: ModelServer, run: Run, tmp_path: Path, wrong: bytes
) -> None:
    """With a checksum, the copy is read before the publisher is asked."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "m.gguf").write_bytes(wrong)
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[f"{tmp_path}/shelf/"])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE
    assert f"{tmp_path}/shelf/m.gguf is left out: expected sha256 {SUM}" in str(result["warnings"])


@pytest.mark.parametrize("wrong", [SHORT, LONG])
def test_size_of_a_mirror_that_dies_is_corrected_by_the_next(
    server: ModelServer, run: Run, tmp_path: Path, wrong: bytes
) -> None:
    """The publisher does not answer, so that only the mirrors state a size."""
    server.files["/m.gguf"].act = plain(503)
    urls = mirrors(server, [wrong, WHOLE])
    server.files["/mirror/0/m.gguf"].dies_after = len(WHOLE) - 8000
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=urls)
    assert result.get("changed"), result
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_mirror_that_dies_behind_the_end_is_replaced_by_the_publisher(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    """The publisher answers late, and refuses a range behind its end."""
    silent = iter((plain(503),) * 2)

    def act(handler: Any) -> bool:
        refuse = next(silent, None)
        if refuse is None and asked_range(handler)[0] >= len(WHOLE):
            refuse = plain(416, Content_Range=f"bytes */{len(WHOLE)}")
        return refuse is not None and refuse(handler)

    server.files["/m.gguf"].act = act
    urls = mirrors(server, [WHOLE + bytes(100_000)])
    server.files["/mirror/0/m.gguf"].dies_after = len(WHOLE) + 50_000
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=urls)
    assert result.get("changed"), result
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_mirror_that_states_an_impossible_size_needs_no_space(server: ModelServer, run: Run, tmp_path: Path) -> None:
    server.files["/0/m.gguf"] = Served(WHOLE, act=plain(200, Content_Length=10**17))
    result = run(url=server.url("/m.gguf"), sha256=SUM, mirrors=[server.url("/0/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_sizes_of_wrong_mirrors_do_not_contradict_the_size_of_the_whole(
    server: ModelServer, run: Run, tmp_path: Path
) -> None:
    parts = []
    for number, data in enumerate((WHOLE[:200_000], WHOLE[200_000:]), 1):
        server.files[f"/m.gguf.part{number}of2"] = Served(data)
        server.files[f"/0/m.gguf.part{number}of2"] = Served(data[:-1])
        parts.append({"url": server.url(f"/m.gguf.part{number}of2")})
    result = run(parts=parts, size=len(WHOLE), sha256=SUM, mirrors=[server.url("/0/")])
    assert result["changed"] and (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_silent_publisher_is_asked_once_to_confirm_sizes(server: ModelServer, run: Run, tmp_path: Path) -> None:
    parts = []
    for number, data in enumerate((WHOLE[:200_000], WHOLE[200_000:400_000], WHOLE[400_000:]), 1):
        server.files[f"/0/m.gguf.part{number}of3"] = Served(data)
        server.files[f"/hub/m.gguf.part{number}of3"] = Served(act=plain(503))
        parts.append({"url": server.url(f"/hub/m.gguf.part{number}of3")})
    assert run(parts=parts, sha256=SUM, mirrors=[server.url("/0/")])["changed"]
    assert {asked.path for asked in server.requests if "/hub/" in asked.path} == {"/hub/m.gguf.part1of3"}
