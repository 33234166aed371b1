# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_check as Ansible runs it, on files that were changed after gguf_fetch downloaded them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.models.check import sort_others
from ansible_collections.herd.inference.plugins.modules import gguf_fetch, model_check
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense

MODEL = llama("tiny", Dense(layers=2, width=256, heads=4, kv_heads=2, inner=512, vocabulary=600))
CUT = 5000


def run(module: Any, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


class Store:
    """A folder with one model from two byte parts."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.folder = tmp_path / "models"
        self.folder.mkdir()
        self.path = self.folder / "m.gguf"
        whole = MODEL.write(tmp_path / "m.gguf").read_bytes()
        files = []
        for number, data in enumerate((whole[:CUT], whole[CUT:]), 1):
            (tmp_path / f"m.gguf.part{number}of2").write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            files.append({"file": f"m.gguf.part{number}of2", "size": len(data), "sha256": digest})
        self.entry: dict[str, Any] = {"name": "m", "file": "m.gguf", "repository": "o/m", "files": files}
        parts = [{"url": f"{tmp_path}/{file['file']}", "sha256": file["sha256"]} for file in files]
        assert run(gguf_fetch, capsys, dest=str(self.path), parts=parts)["changed"]

    def check(self, **arguments: Any) -> dict[str, Any]:
        given = {"path": str(self.folder), "models": [self.entry], **arguments}
        return run(model_check, self.capsys, **given)

    def state(self, **arguments: Any) -> tuple[str, str]:
        (file,) = self.check(**arguments)["files"]
        return file["state"], file["why"]


@pytest.fixture
def store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Store:
    return Store(tmp_path, capsys)


def test_unchanged_model_is_right(store: Store) -> None:
    assert store.state() == ("right", "unchanged since it was verified")
    assert store.state(rehash=True) == ("right", "read now")
    found = store.check()
    assert (found["models"], found["other"], found["foreign"], found["leftover"]) == ({"right": 1}, [], [], [])
    assert not found["changed"]


def test_flipped_bit_is_found_by_rehash_only(store: Store) -> None:
    before = store.path.stat()
    with store.path.open("r+b") as stream:
        stream.seek(before.st_size - 1)
        stream.write(b"\x01")
    os.utime(store.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.state()[0] == "right"
    state, why = store.state(rehash=True)
    assert state == "wrong"
    assert f"of bytes {CUT} to {before.st_size - 1} instead of" in why


def test_touched_file_is_unread(store: Store) -> None:
    os.utime(store.path, ns=(1, 1))
    state, why = store.state()
    assert (state, "model_store_rehash=true" in why) == ("unread", True)
    assert store.state(rehash=True)[0] == "right"


def test_truncated_file_is_wrong(store: Store) -> None:
    size = store.path.stat().st_size
    os.truncate(store.path, size - 64)
    assert store.state() == ("wrong", f"{size - 64} bytes instead of {size}")
    for file in store.entry["files"]:
        del file["size"]
    assert store.state() == ("wrong", "64 bytes missing at its end")


def test_file_without_gguf_header_is_wrong(store: Store) -> None:
    store.entry = {"name": "x", "file": "page.gguf", "source": {"url": "http://x/page.gguf"}}
    (store.folder / "page.gguf").write_bytes(b"<html>" + bytes(100))
    state, why = store.state()
    assert (state, "a web page" in why) == ("wrong", True)
    assert store.check()["foreign"] == ["m.gguf"]


def test_model_without_a_checksum_is_unread(store: Store) -> None:
    for file in store.entry["files"]:
        del file["sha256"]
    state, why = store.state(rehash=True)
    assert (state, "lock_models.yml" in why) == ("unread", True)


def test_absent_model_is_missing(store: Store) -> None:
    store.path.unlink()
    assert store.state(rehash=True)[0] == "missing"
    assert store.check(path=str(store.folder / "nowhere"))["models"] == {"missing": 1}
    store.entry["files"] = store.entry["files"][:1]
    assert "part2of2 missing" in store.check()["msg"]


def test_verified_file_of_another_lock_is_wrong(store: Store) -> None:
    store.entry["sha256"] = "0" * 64
    state, why = store.state()
    assert (state, why.endswith(f"not {'0' * 64}")) == ("wrong", True)


def test_other_files_are_sorted() -> None:
    names = [
        "m.gguf",
        ".m.gguf.verified",
        ".m.gguf.lock",
        ".m.gguf.incoming",
        "n.gguf",
        ".n.gguf.verified",
        ".gone.gguf.verified",
        "q.gguf",
        "notes.txt",
        ".m.gguf.verified.123.tmp",
    ]
    assert sort_others(names, ["m.gguf"], ["q.gguf"]) == {
        "other": ["q.gguf"],
        "foreign": ["n.gguf", "notes.txt"],
        "leftover": [".gone.gguf.verified", ".m.gguf.incoming", ".m.gguf.verified.123.tmp"],
    }
