# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_files_info as Ansible runs it, on files that gguf_fetch downloaded."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.modules import gguf_fetch, model_files_info
from tests.models.random_weights import gguf_bytes

BODY = gguf_bytes(600, 1)
SHA256 = hashlib.sha256(BODY).hexdigest()


def run(module: Any, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "source.gguf").write_bytes(BODY)
    for name, verify in (("m.gguf", {"sha256": SHA256}), ("unsure.gguf", {"verify": "size"})):
        url = f"file://{tmp_path}/source.gguf"
        assert run(gguf_fetch, capsys, dest=str(tmp_path / name), url=url, **verify)["changed"]
    return tmp_path


def test_files_are_sorted_by_their_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["m.gguf", "source.gguf", "unsure.gguf", "gone.gguf"]
    found = run(model_files_info, capsys, path=str(folder), files=names)
    assert found["known"] == {"m.gguf": SHA256, "unsure.gguf": SHA256}
    assert (found["others"], found["missing"]) == (["source.gguf"], ["gone.gguf"])


def test_changed_file_is_not_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(folder / "m.gguf", ns=(1, 1))
    assert run(model_files_info, capsys, path=str(folder), files=["m.gguf"])["others"] == ["m.gguf"]


def test_files_of_an_absent_folder_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(model_files_info, capsys, path=str(tmp_path / "nowhere"), files=["m.gguf"])
    assert (found["known"], found["missing"], found["changed"]) == ({}, ["m.gguf"], False)
