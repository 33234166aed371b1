# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misbehaving servers: right bytes or one clear error, no wrong file, and the next run continues."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers import framing, misbehaviour, redirects, statuses
from tests.unit.modules.gguf_fetch.servers.errors import SECRETS, check_error
from tests.unit.modules.gguf_fetch.servers.misbehaviour import SUM, WHOLE, Case, Run

CASES = [*misbehaviour.CASES, *statuses.CASES, *redirects.CASES, *framing.CASES]
OURS = {".m.gguf.lock", ".m.gguf.progress"}
UNFINISHED = {".m.gguf.incoming", ".m.gguf.journal", ".m.gguf.written"}
#: Seconds that a run may take on a busy machine; the retries of these tests take less than ten.
LONGEST = 60.0
#: Further paths with the same file.
PATHS = ("/storage/m.gguf", "/gr%C3%B6%C3%9Fe.gguf")


def spoil(server: ModelServer, case: Case) -> None:
    served = server.files["/m.gguf"]
    served.act = case.act
    for path in PATHS:
        server.files[path] = Served(WHOLE, act=case.storage)
    for hop in range(1, 12):
        server.files[f"/m.gguf?{hop}"] = served
    server.files["/login"] = Served(act=redirects.page)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_misbehaving_server_gives_right_bytes_or_one_error(
    server: ModelServer, run: Run, tmp_path: Path, case: Case
) -> None:
    dest = tmp_path / "m.gguf"
    spoil(server, case)
    asked = {"url": server.url("/m.gguf"), "sha256": SUM, **case.options}
    began = time.monotonic()
    result = run(**asked)
    assert time.monotonic() - began < LONGEST
    assert not any(secret in json.dumps(result) for secret in SECRETS)
    if case.words is None:
        assert "msg" not in result, result["msg"]
        assert dest.read_bytes() == WHOLE
        assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}
        return
    check_error(result, case.words)
    assert {path.name for path in tmp_path.iterdir()} <= OURS | UNFINISHED
    server.files["/m.gguf"].act = None
    again = run(**asked)
    assert "msg" not in again, again["msg"]
    assert dest.read_bytes() == WHOLE
    assert {path.name for path in tmp_path.iterdir()} == OURS | {"m.gguf", ".m.gguf.verified"}


def test_names_of_the_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 200


# A part of them: how a server failed makes no difference here.
@pytest.mark.parametrize("case", [case for case in CASES if case.words][::5], ids=lambda case: case.name)
def test_next_mirror_continues(server: ModelServer, run: Run, tmp_path: Path, case: Case) -> None:
    """Continue with the next address for each fault of the first one. The inventory knows size and checksum."""
    spoil(server, case)
    server.files["/mirror/m.gguf"] = Served(WHOLE, act=case.act, etag='"of-the-mirror"')
    server.files["/m.gguf"].act = None
    server.files["/m.gguf"].etag = '"of-the-publisher"'
    result = run(url=server.url("/m.gguf"), mirrors=[server.url("/mirror/")], sha256=SUM, size=len(WHOLE))
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == WHOLE
