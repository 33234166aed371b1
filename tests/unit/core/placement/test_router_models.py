# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One stray file does not stop a router: it is left out with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_models
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_fit import RouterHost, RouterModel
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_models import ModelFile
from tests.engine.generated.model import header_of
from tests.engine.models import models

MODEL = metadata_of(header_of(next(model for model in models() if model.name == "llama")))
GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (ModelFile("my model.gguf", MODEL), "rename it"),
        (ModelFile("default.gguf", MODEL), "rename it"),
        (ModelFile("ä.gguf", MODEL), "rename it"),
        (ModelFile(f"{'n' * 200}.gguf", MODEL), "rename it"),
        (ModelFile("a.gguf", MODEL), "another model has this name"),
        (ModelFile("deep/named.gguf", MODEL), "another model has this name"),
        (ModelFile("alias.gguf", MODEL), "another model has this name"),
        (ModelFile("a-00001-of-00002.gguf", MODEL), "another model has this name"),
        (ModelFile("e.gguf", replace(MODEL, purpose="an embedding or reranking model")), "it is an embedding"),
        (ModelFile("cut.gguf", problem="expected a complete model"), "expected a complete model"),
    ],
)
def test_stray_file_is_left_out_with_a_reason(file: ModelFile, words: str) -> None:
    files = [ModelFile("x/a.gguf", MODEL), file, ModelFile("z.gguf", MODEL)]
    chosen, left_out = router_models.select(files, {"named", "alias"})
    assert [one.file for one in chosen] == ["x/a.gguf", "z.gguf"]
    assert len(left_out) == 1
    assert words in next(iter(left_out.values()))


def test_other_ending_is_reported() -> None:
    files = ["a.gguf", "b.GGUF", "c.Gguf", ".d.GGUF", "e.gguf.part1of2", "notes.txt"]
    assert set(router_models.misnamed(files)) == {"b.GGUF", "c.Gguf"}


def entry(name: str, is_named: bool, **changes: Any) -> RouterModel:
    return RouterModel(name, replace(MODEL, **changes), engine_arguments.merged({"context": 2048}), is_named)


def test_found_model_that_cannot_be_planned_is_left_out() -> None:
    """A model with fewer layers than the host has GPUs cannot be split."""
    machine = RouterHost("vasp-02", [GPU, GPU], 64)
    found = router_models.plan(
        [entry("good", True), entry("short", False, layers=MODEL.layers[:1])], machine, 2, "0c1e57098"
    )
    assert found["fits"]
    assert set(found["left_out"]) == {"short"}
    assert "left out: short" in found["table"]


def test_found_model_that_the_release_does_not_know_is_left_out() -> None:
    machine = RouterHost("vasp-02", [GPU], 64)
    found = router_models.plan([entry("good", True), entry("new", False, architecture="gemma4")], machine, 2, "b7836")
    assert found["fits"]
    assert "found gemma4" in found["left_out"]["new"]
