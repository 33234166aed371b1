# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that the router of a job offers on its node."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import subject as flag_subject
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_models import ModelFile
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import job_models, job_spec
from tests.unit.core.engine.flags.flag_lines import NEW
from tests.unit.core.slurm.test_tier_plan import models, plan

STRAND = "strand-rust-coder-14b-q8_0"
METADATA = inventory_placement.metadata_in(models("beefcake2_slurm")[STRAND])
LARGE = inventory_placement.metadata_in(models("beefcake2_slurm")["or1-behemoth-q4_k_m"])
assert METADATA
assert LARGE


def job(**changes: Any) -> job_spec.JobSpec:
    tiers = plan("beefcake2_slurm", lambda found: found["fast"].update(changes))
    assert tiers["problems"] == []
    return job_spec.read_job(json.dumps(tiers["tiers"]["fast"]["data"]))


def small(layers: int) -> Any:
    """Make a model with some layers of the large one."""
    assert METADATA
    return replace(
        METADATA, layers=METADATA.layers[:layers], file_size=METADATA.file_size * layers // len(METADATA.layers)
    )


def offered(tier: job_spec.JobSpec, *files: ModelFile, limit: str = "") -> tuple[list[str], str]:
    """Return the offered ids and the notes for further files."""
    named = ModelFile(tier.models[0].path.removeprefix(f"{tier.folder}/"), METADATA)
    found, notes = job_models.offered(tier, tier.nodes["vasp-02"], [named, *files], limit)
    return [model.id for model in found], "\n".join(notes)


def test_found_models_that_fit_are_offered_with_the_named_ones() -> None:
    tier = job()
    path = tier.models[0].path.removeprefix(f"{tier.folder}/")
    found, notes = job_models.offered(
        tier, tier.nodes["vasp-02"], [ModelFile(path, METADATA), ModelFile("x/small.gguf", small(8))]
    )
    assert [model.id for model in found] == [STRAND, "small"]
    assert notes == []
    assert found[1].path == "/scratch/ai/models/x/small.gguf"
    assert (found[1].layers, list(found[1].devices)) == (8, ["CUDA0"])
    assert [shape.ratio for shape in found[1].attention] == [5]
    # The first shard names the model.
    assert offered(tier, ModelFile("s-00001-of-00002.gguf", small(8)))[0] == [STRAND, "s"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (ModelFile("large.gguf", LARGE), "large is not offered: "),
        (ModelFile("cut.gguf", problem="expected a whole model"), "cut is not offered: expected a whole model"),
        (ModelFile(f"other/{STRAND}.gguf", METADATA), "another model has this name"),
        (ModelFile("my model.gguf", METADATA), "its file's name has more than letters"),
        (ModelFile("default.gguf", METADATA), "default is not offered"),
    ],
)
def test_model_that_is_not_offered_has_a_reason(file: ModelFile, words: str) -> None:
    ids, notes = offered(job(), file)
    assert ids == [STRAND]
    assert words in notes


def test_found_models_are_dropped_before_named_ones() -> None:
    """The two largest models must fit together."""
    files = [ModelFile("twin.gguf", METADATA), ModelFile("small.gguf", small(4))]
    ids, notes = offered(job(), *files)
    assert ids == [STRAND, "small"]
    assert "twin is not offered: beside the others it does not fit: " in notes
    assert offered(job(models_max=1), *files)[0] == [STRAND, "twin", "small"]


def test_memory_limit_of_the_job_applies() -> None:
    ids, notes = offered(job(), ModelFile("small.gguf", small(4)), limit="1M")
    assert ids == [STRAND]
    assert "expected a memory limit of at least" in notes


def test_unreadable_named_model_stays() -> None:
    tier = job()
    for limit in ("", "1M"):
        found, _notes = job_models.offered(tier, tier.nodes["vasp-02"], [ModelFile("cut.gguf", problem="cut")], limit)
        assert [model.id for model in found] == [STRAND]


def test_only_named_models_are_offered_on_an_unknown_node() -> None:
    tier = job()
    node = replace(tier.nodes["vasp-02"], gpus=0, memory_gib=0.0)
    found, notes = job_models.offered(tier, node, [ModelFile("small.gguf", small(4))])
    assert [model.id for model in found] == [STRAND]
    assert "only the named models are offered" in notes[0]


def test_model_settings_replace_those_of_the_tier() -> None:
    preset = {"aliases": ["strand"], "settings": {"context": 4096}, "load_at_start": True}
    tier = job(presets={STRAND: preset})
    found, _notes = job_models.offered(tier, tier.nodes["vasp-02"], [ModelFile("small.gguf", small(4))])
    program = "llama-server"
    manifest = {"id": "0c1e57098", "programs": {"head": program}, "flags": {program: sorted(NEW)}}
    assert flag_subject.engine_of(manifest, program)
    job_now, node = replace(tier, models=found), tier.nodes["vasp-02"]
    one, two = job_spec.router_line(job_now, f"/x/{program}", manifest, node, "/x/m.ini").presets.split("[small]")
    assert "ctx-size = 4096" in one
    assert "alias = strand" in one
    assert "load-on-startup = true" in one
    assert "ctx-size = 32768" in two
    assert "alias" not in two
