# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A header of every architecture that a release knows is read for that release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_summary, header_check
from ansible_collections.herd.inference.plugins.module_utils.core.models.engine_architectures import ARCHITECTURES
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf import Tensor
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data, metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import engine_limits
from ansible_collections.herd.inference.plugins.module_utils.core.placement.kv_cache import CacheSettings
from tests.engine.generated.every_architecture import every_architecture
from tests.engine.generated.model import Model, header_of
from tests.engine.generated.unlisted import unlisted
from tests.unit.gguf_bytes import Bytes

MODELS = {model.name: model for model in (*every_architecture(), *unlisted())}
COMPANIONS = ("dflash", "eagle3", "gemma4-assistant")
#: Keys that the engine reads of every architecture.
ALWAYS = ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count")


def of(architecture: str) -> list[Model]:
    return [model for model in MODELS.values() if model.architecture == architecture]


@pytest.mark.parametrize(
    ("release", "architecture"), [(release, name) for release, names in ARCHITECTURES.items() for name in names]
)
def test_header_of_every_architecture_is_read_for_its_releases(release: str, architecture: str) -> None:
    assert of(architecture), "no model of this architecture is made"
    for model in of(architecture):
        header = header_of(model)
        assert header_check.problems(header) == [], model.name
        if architecture in COMPANIONS:
            assert header_check.companion(header.metadata, len(header.tensors)) == "a draft model"
            continue
        metadata = metadata_of(header)
        assert from_data(metadata.to_data()) == metadata
        refusals = list(engine_limits.refusals(metadata, CacheSettings(4096), True, release))
        assert not any("an architecture that release" in refusal for refusal in refusals)


@pytest.mark.parametrize("name", MODELS)
def test_file_of_every_architecture_is_read(name: str) -> None:
    head = MODELS[name].header()
    header = gguf.read_header(Bytes(head, header_of(MODELS[name]).file_size))
    found = gguf_summary.describe([header], header)
    assert (found["whole"], found["problems"]) == (True, [])


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("hrm_text", {"block_count": 3}, "hrm_text.block_count of 4: hrm.layers_per_stack 1 x hrm.h_cycles 2 x"),
        ("hrm_text", {"block_count": 8}, "found block_count of 8"),
        ("hrm_text", {"hrm.h_cycles": 1}, "hrm_text.block_count of 2"),
        ("hrm_text", {"hrm.l_cycles": 3}, "(hrm.l_cycles 3 + 1), found block_count of 4"),
        ("hrm_text", {"hrm.h_cycles": 512, "hrm.l_cycles": 512}, "hrm_text.block_count of 262656"),
        ("hrm_text", {"hrm.h_cycles": 0}, "found hrm.h_cycles of 0"),
        ("hrm_text", {"hrm.l_cycles": 0}, "found hrm.l_cycles of 0"),
        ("hrm_text", {"hrm.layers_per_stack": 0}, "found hrm.layers_per_stack of 0"),
        ("hrm_text", {"hrm.l_cycles": None}, "none (hrm.l_cycles)"),
        ("hrm_text", {"hrm.layers_per_stack": 2, "hrm.h_cycles": 1}, "none of layer blk.2"),
        ("t5", {"decoder_block_count": 5}, "t5.decoder_block_count of at most 4 beside the block_count 4"),
        ("t5", {"decoder_block_count": 4}, "none of layer dec.blk.3"),
        ("t5", {"decoder_block_count": 2}, "tensors of layer dec.blk.2"),
        ("t5", {"decoder_block_count": None}, "none of layer dec.blk.3"),
        ("gemma4", {"attention.shared_kv_layers": 512}, "gemma4.attention.shared_kv_layers of at most"),
    ],
)
def test_counts_of_layers_that_the_engine_would_refuse_are_named(
    name: str, changes: dict[str, int | None], words: str
) -> None:
    header = header_of(MODELS[name])
    named = {f"{name}.{key}": value for key, value in changes.items()}
    metadata = {key: value for key, value in {**header.metadata, **named}.items() if value is not None}
    assert any(words in problem for problem in header_check.problems(replace(header, metadata=metadata)))


def test_pass_of_hrm_text_has_no_tensors_of_its_own() -> None:
    """Count four passes, of which only the first two hold layers; the engine refuses further tensors."""
    header = header_of(MODELS["hrm_text"])
    more = Tensor("blk.2.attn_q.weight", "f16", (64, 64), 0, 8192)
    (problem,) = header_check.problems(replace(header, tensors=(*header.tensors, more)))
    assert "tensors of 2 layers, as hrm_text.hrm.layers_per_stack of 1 says, found tensors of layer blk.2" in problem
