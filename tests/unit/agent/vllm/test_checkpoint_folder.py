# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint is read from a local folder and from the Hub's cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import checkpoint_folder
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint
from tests.unit import safetensors_bytes as made

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 10,
}


def write(folder: Path) -> None:
    """Write a checkpoint of one tensor."""
    folder.mkdir(parents=True)
    header = made.file(made.entries({"lm_head.weight": ("BF16", [10, 8])}))
    (folder / "model.safetensors").write_bytes(header.data + bytes(header.size - len(header.data)))
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")


def test_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "m")
    found = checkpoint_folder.read(tmp_path / "m")
    assert (found.name, found.weights.total, found.files) == (str(tmp_path / "m"), 160, ("model.safetensors",))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write(tmp_path / "m")
    (tmp_path / "m" / missing).unlink()
    with pytest.raises(NotFoundError, match=missing):
        checkpoint_folder.read(tmp_path / "m")


def test_half_a_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "m")
    whole = (tmp_path / "m" / "model.safetensors").read_bytes()
    (tmp_path / "m" / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(MismatchError, match="cut off"):
        checkpoint_folder.read(tmp_path / "m")


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_something_else_than_a_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with pytest.raises(HerdError):
        checkpoint_folder.read(tmp_path / "m")


def test_huge_configuration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_CONFIG", 1 << 20)
    write(tmp_path / "m")
    with (tmp_path / "m" / "config.json").open("wb") as opened:
        opened.truncate(3 << 30)
    with pytest.raises(MismatchError, match="at most 1 MiB"):
        checkpoint_folder.read(tmp_path / "m")


def test_snapshot_of_the_revision_is_found_else_the_newest_one(tmp_path: Path) -> None:
    snapshots = tmp_path / "models--o--n" / "snapshots"
    write(snapshots / "0123")
    write(snapshots / "4567")
    os.utime(snapshots / "0123", (1, 1))
    (snapshots / "89ab").mkdir()
    assert checkpoint_folder.find(tmp_path, "o/n") == snapshots / "4567"
    (tmp_path / "models--o--n" / "refs").mkdir()
    (tmp_path / "models--o--n" / "refs" / "main").write_text("0123", encoding="ascii")
    assert checkpoint_folder.find(tmp_path, "o/n") == snapshots / "0123"
    (tmp_path / "models--o--n" / "refs" / "main").write_text("../../..", encoding="ascii")
    assert checkpoint_folder.find(tmp_path, "o/n") == snapshots / "4567"


def test_cache_with_another_model_has_no_snapshot(tmp_path: Path) -> None:
    missing: Any = checkpoint_folder.find(tmp_path / "nowhere", "o/n")
    assert missing is None
