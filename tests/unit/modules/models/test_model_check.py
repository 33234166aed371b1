# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_check as Ansible runs it, on files that were changed after gguf_fetch downloaded them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.models.check import sort_others
from ansible_collections.herd.inference.plugins.modules import gguf_fetch, gguf_info, model_check
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense
from tests.models import gguf_writer
from tests.models.gguf_writer import TensorSpec, field

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


def file_of(fields: list[bytes], tensors: list[TensorSpec]) -> bytes:
    return gguf_writer.header(fields, tensors) + bytes(gguf_writer.data_size(tensors))


def put(store: Store, data: bytes) -> None:
    """Put a file into the folder, and make it the only one of the inventory."""
    store.entry = {"name": "x", "file": "x.gguf", "source": {"url": "http://x/x.gguf"}}
    (store.folder / "x.gguf").write_bytes(data)


def changed(**keys: Any) -> bytes:
    model = replace(MODEL, metadata={**MODEL.metadata, **keys})
    return file_of(model.fields(), model.tensors)


@pytest.mark.parametrize(
    "data, words",
    [
        (changed(block_count=3), ("tensors of 3 layers", "none of layer blk.2")),
        (changed(block_count=600), ("from 1 to 512", "block_count of 600")),
        (file_of(MODEL.fields(), [*MODEL.tensors, TensorSpec("v.blk.0.attn_q.weight", (256,))]), ("tower",)),
        (file_of(replace(MODEL, architecture="").fields(), MODEL.tensors), ("general.architecture",)),
    ],
)
def test_model_that_the_engine_would_refuse_is_wrong(store: Store, data: bytes, words: tuple[str, ...]) -> None:
    put(store, data)
    (file,) = store.check()["files"]
    assert file["state"] == "wrong" and all(word in file["why"] for word in words)
    info = run(gguf_info, store.capsys, path=str(store.folder / "x.gguf"))
    assert file["problems"] == info["problems"] and file["problems"][0] == file["why"]


def test_what_the_engine_accepts_is_a_problem_only(store: Store) -> None:
    put(store, store.path.read_bytes() + bytes(100))
    (file,) = store.check()["files"]
    assert file["state"] == "unread"
    assert file["problems"] == run(gguf_info, store.capsys, path=str(store.folder / "x.gguf"))["problems"] != []


def test_projector_of_a_model_is_not_judged_as_a_model(store: Store) -> None:
    keys: dict[str, str | bool] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
    }
    put(store, file_of([field(*pair) for pair in keys.items()], [TensorSpec("v.patch_embd.weight", (64, 8))]))
    (file,) = store.check()["files"]
    assert (file["state"], file["problems"]) == ("unread", [])


def test_shards_are_judged_together(store: Store) -> None:
    names = [f"x-0000{number}-of-00002.gguf" for number in (1, 2)]
    half, count = len(MODEL.tensors) // 2, len(MODEL.tensors)

    def write(index: int, tensors: list[TensorSpec]) -> None:
        split = [field("split.no", index), field("split.count", 2), field("split.tensors.count", count)]
        data = file_of([*(MODEL.fields() if index == 0 else []), *split], tensors)
        (store.folder / names[index]).write_bytes(data)

    write(0, MODEL.tensors[:half])
    write(1, MODEL.tensors[half:])
    store.entry = {"name": "x", "file": names[0], "repository": "o/x", "files": [{"file": name} for name in names]}
    assert [(file["state"], file["problems"]) for file in store.check()["files"]] == [("unread", [])] * 2
    write(1, MODEL.tensors[half:-1])
    first, second = store.check()["files"]
    assert (first["state"], second["state"]) == ("wrong", "unread")
    assert f"expected {count} tensors in all shards (split.tensors.count)" in first["why"]


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
