# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misbehaving servers: right bytes or one clear error, no wrong file, and the next run continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import CASES, SUM, WHOLE, Case, Run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_misbehaving_server_gives_right_bytes_or_one_error(
    server: ModelServer, run: Run, tmp_path: Path, case: Case
) -> None:
    dest = tmp_path / "m.gguf"
    server.files["/m.gguf"].act = case.act
    asked = {"url": server.url("/m.gguf"), "sha256": SUM}
    result = run(**asked)
    if case.words is None:
        assert "msg" not in result, result["msg"]
        assert dest.read_bytes() == WHOLE
        assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}
        return
    assert result.get("failed"), result
    assert case.words in result["msg"]
    assert result["msg"].startswith("expected ") and result["msg"].count("expected ") == 1
    assert {path.name for path in tmp_path.iterdir()} <= OURS | UNFINISHED
    server.files["/m.gguf"].act = None
    again = run(**asked)
    assert "msg" not in again, again["msg"]
    assert dest.read_bytes() == WHOLE
    assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}


OURS = {".m.gguf.lock", ".m.gguf.progress"}


UNFINISHED = {".m.gguf.incoming", ".m.gguf.journal", ".m.gguf.written"}


def test_there_are_more_than_forty_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 40


# Every third of them: how a server failed makes no difference here.
@pytest.mark.parametrize("case", [case for case in CASES if case.words][::3], ids=lambda case: case.name)
def test_next_mirror_continues(server: ModelServer, run: Run, tmp_path: Path, case: Case) -> None:
    """Whatever is wrong with the first address: the bytes are right, and nobody has to run it again."""
    server.files["/mirror/m.gguf"] = Served(WHOLE, act=case.act, etag='"of-the-mirror"')
    server.files["/m.gguf"].etag = '"of-the-publisher"'
    result = run(url=server.url("/m.gguf"), mirrors=[server.url("/mirror/")], sha256=SUM)
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
