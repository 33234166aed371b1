# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of a file decides with its checksum whether the file gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.downloads import CUT, WHOLE, Run, hidden, sha256

ORDER = "list all parts of this file, and only those, in the order of their numbers"


def served(server: ModelServer, *contents: bytes) -> list[dict[str, Any]]:
    """Serve parts with their right checksums; their names do not count."""
    for number, data in enumerate(contents):
        server.files[f"/{'xyz'[number]}"] = Served(data, etag=f'"{number}"')
    return [{"url": server.url(f"/{'xyz'[number]}"), "sha256": sha256(data)} for number, data in enumerate(contents)]


@pytest.mark.parametrize(
    "contents, difference",
    [
        ((WHOLE[:CUT], WHOLE[CUT:-1]), "1 bytes fewer"),
        ((WHOLE[:CUT], WHOLE[CUT:600_000]), f"{len(WHOLE) - 600_000} bytes fewer"),
        ((WHOLE, bytes(64)), "more"),
        ((WHOLE[:CUT], WHOLE[CUT:], WHOLE[:5000]), "more"),
    ],
)
def test_joined_file_is_as_long_as_its_header_says(
    server: ModelServer, run: Run, tmp_path: Path, contents: tuple[bytes, ...], difference: str
) -> None:
    """The checksum of the whole is that of the wrong bytes."""
    failed = run(parts=served(server, *contents), sha256=sha256(b"".join(contents)))
    assert f"the joined parts to be m.gguf of {len(WHOLE)} bytes, as its header says, found" in failed["msg"]
    assert difference in failed["msg"] and ORDER in failed["msg"]
    assert hidden(tmp_path) >= {".m.gguf.incoming", ".m.gguf.journal"}, "the bytes are kept"
    assert not (tmp_path / "m.gguf").exists() and not (tmp_path / ".m.gguf.verified").exists()
    assert run(parts=served(server, WHOLE[:CUT], WHOLE[CUT:]), sha256=sha256(WHOLE))["changed"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE


def test_joined_file_may_end_before_its_last_padding(server: ModelServer, run: Run, tmp_path: Path) -> None:
    for number, whole in enumerate((WHOLE, WHOLE + bytes(-len(WHOLE) % 32))):
        assert len(whole) % 32 == (len(WHOLE) % 32 if number == 0 else 0) and len(WHOLE) % 32
        dest = str(tmp_path / f"{number}.gguf")
        assert run(parts=served(server, whole[:CUT], whole[CUT:]), sha256=sha256(whole), dest=dest)["changed"]


@pytest.mark.parametrize(
    "opening, found",
    [
        (b"GGUF" + bytes(range(4, 200)), "GGUF version 2 or 3 in m.gguf, found version"),
        (WHOLE[:24] + b"\xff" * 200, "m.gguf, found"),
        (WHOLE[:8] + b"\xff" * 8 + WHOLE[16:], "a number of tensors that"),
    ],
)
@pytest.mark.parametrize("joined", [True, False])
def test_file_with_an_unreadable_header_gets_no_name(
    server: ModelServer, run: Run, tmp_path: Path, opening: bytes, found: str, joined: bool
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"the former file")
    data = opening + WHOLE[len(opening) :]
    source = {"parts": served(server, data[:CUT], data[CUT:])} if joined else {"url": served(server, data)[0]["url"]}
    failed = run(**source, sha256=sha256(data))
    assert found in failed["msg"] and (ORDER if joined else "the engine does not open this file") in failed["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == b"the former file"
    assert hidden(tmp_path) >= {".m.gguf.incoming", ".m.gguf.journal"}, "the bytes are kept"


def test_truncated_file_of_the_publisher_gets_no_name(server: ModelServer, run: Run, tmp_path: Path) -> None:
    (source,) = served(server, WHOLE[:-10])
    failed = run(**source)
    assert f"expected m.gguf of {len(WHOLE)} bytes, as its header says, found 10 bytes fewer" in failed["msg"]
    assert "the publisher's file is truncated" in failed["msg"]
    assert not (tmp_path / "m.gguf").exists()


def test_whole_file_may_have_bytes_behind_its_last_tensor(server: ModelServer, run: Run, tmp_path: Path) -> None:
    """The engine ignores them."""
    (source,) = served(server, WHOLE + bytes(1000))
    assert run(**source)["changed"]


def test_each_shard_is_read(server: ModelServer, run: Run, tmp_path: Path) -> None:
    names = [f"s-0000{number}-of-00002.gguf" for number in (1, 2)]
    server.files[f"/{names[0]}"] = Served(gguf_bytes(1000, 1))
    server.files[f"/{names[1]}"] = Served(gguf_bytes(2000, 2)[:1500])
    failed = run(
        shards=[{"url": server.url(f"/{name}")} for name in names], verify="size", dest=f"{tmp_path}/{names[0]}"
    )
    assert f"{names[1]} of 2000 bytes, as its header says, found 500 bytes fewer" in failed["msg"]
