# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint is read from its index and all its files, which have to agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError, MismatchError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint
from tests.unit import safetensors_bytes as made

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 10,
}
ONE = made.entries({"model.layers.0.mlp.up_proj.weight": ("BF16", [16, 8])})
BOTH = {"model.layers.0.mlp.up_proj.weight": ("BF16", [16, 8]), "lm_head.weight": ("BF16", [10, 8])}
TWO = made.entries({"lm_head.weight": ("BF16", [10, 8])})


def folder(index: Any = None, **files: Any) -> made.Folder:
    found: dict[str, Any] = {"config.json": json.dumps(CONFIG).encode()}
    found.update({f"{name}.safetensors": made.file(header) for name, header in files.items()})
    if index is not None:
        found["model.safetensors.index.json"] = index if isinstance(index, bytes) else json.dumps(index).encode()
    return made.Folder(found)


def index_of(**files: Any) -> dict[str, Any]:
    return {"weight_map": {name: f"{file}.safetensors" for file, header in files.items() for name in header}}


def test_one_file_needs_no_index() -> None:
    found = checkpoint.read(folder(model=ONE))
    assert (found.files, found.tensors, found.weights.total) == (("model.safetensors",), 1, 256)


def test_all_files_of_the_index_are_read_and_reported() -> None:
    steps: list[tuple[int, int]] = []
    found = checkpoint.read(
        folder(index_of(a=ONE, b=TWO), a=ONE, b=TWO), lambda done, total: steps.append((done, total))
    )
    assert (found.files, found.tensors, found.weights.total) == (("a.safetensors", "b.safetensors"), 2, 416)
    assert steps == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (folder(), "model.safetensors"),
        (folder(index_of(a=ONE, b=TWO), a=ONE), "b.safetensors"),
        (folder(index_of(a=TWO, b=ONE), a=made.entries(BOTH), b=ONE), "in one file"),
        (folder(index_of(a={**ONE, **TWO}), a=ONE), "the tensor nowhere"),
        (folder(index_of(a=TWO, b=ONE), a=ONE, b=TWO), "as the index says"),
        (folder({"weight_map": {}}, a=ONE), "weight_map of 1 to"),
        (folder({"weight_map": []}, a=ONE), "weight_map of 1 to"),
        (folder({}, a=ONE), "weight_map of 1 to"),
        (folder(b"[]", a=ONE), "a JSON object"),
        (folder(b'{"weight_map":{"x":"a.safetensors","x":"a.safetensors"}}', a=ONE), "'x' twice"),
        (folder({"weight_map": {"x": "../a.safetensors"}}), "plain names"),
        (folder({"weight_map": {"x": "/etc/passwd"}}), "plain names"),
        (folder({"weight_map": {"x": "sub/a.safetensors"}}), "plain names"),
        (folder({"weight_map": {"x": "..\\a.safetensors"}}), "plain names"),
        (folder({"weight_map": {"x": ".hidden.safetensors"}}), "plain names"),
        (folder({"weight_map": {"x": "a.bin"}}), "plain names"),
        (folder({"weight_map": {"x": f"{'a' * 300}.safetensors"}}), "plain names"),
        (folder({"weight_map": {"x": 1}}), "plain names"),
        (folder({"weight_map": {f"x{n}": f"a{n}.safetensors" for n in range(1025)}}), "at most 1024 files"),
    ],
)  # fmt: skip
def test_contradictory_checkpoint_is_refused(case: made.Folder, says: str) -> None:
    with pytest.raises(HerdError, match=says):
        checkpoint.read(case)


def test_folder_without_configuration_is_refused() -> None:
    with pytest.raises(NotFoundError, match=r"config\.json"):
        checkpoint.read(made.Folder({"model.safetensors": made.file(ONE)}))


def test_broken_configuration_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"config\.json of folder"):
        checkpoint.read(made.Folder({"config.json": b"{", "model.safetensors": made.file(ONE)}))
