# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A header of every architecture that a release knows is read for that release."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_summary, header_check
from ansible_collections.herd.inference.plugins.module_utils.core.models.engine_architectures import ARCHITECTURES
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
