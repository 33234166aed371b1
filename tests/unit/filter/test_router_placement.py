# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter router_placement: a router's named models, and the bound of its unnamed ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.filter.placement import placement
from ansible_collections.herd.inference.plugins.filter.router_placement import router_placement
from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_models
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_fit import RouterHost, RouterModel
from tests.engine.generated.model import header_of
from tests.engine.models import models

MIB = 1 << 20
METADATA = {model.name: metadata_of(header_of(model)) for model in models()}
ENTRIES = {
    name: {"file": f"{name}.gguf", "layers": len(METADATA[name].layers), "metadata": METADATA[name].to_data()}
    for name in ("llama", "qwen2", "gemma2")
}
GPU = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 4096}


def plan(names: list[str], **changes: Any) -> dict[str, Any]:
    given = {"gpus": [GPU], "memory_gib": 16.0, "settings": {"context": 8192}, **changes}
    return router_placement({name: {} for name in names}, ENTRIES, "b", "0c1e57098", **given)


def test_table_has_the_models_their_memory_and_how_many_at_once() -> None:
    found = plan(["llama", "qwen2", "gemma2"])
    json.dumps(found)
    assert found["fits"] and found["models_max"] == 2
    lines = found["table"].splitlines()
    assert lines[0] == "router on b, 2 of 3 models in memory"
    for model in found["models"]:
        (row,) = [line.split() for line in lines if line.startswith(f"{model['id']} ")]
        assert row[7] == f"{sum(model['totals']) / MIB:.0f}"
    totals = sorted((model["totals"][0] for model in found["models"]), reverse=True)
    assert found["together"] == [sum(totals[:2])]


def test_memory_that_the_head_books_is_not_planned_again() -> None:
    free, need = plan(["llama"])["free"][0], plan(["llama"])["together"][0]
    booked = (free - need) / MIB
    assert plan(["llama"], booked_mib=[booked])["fits"]
    beside = plan(["llama"], booked_mib=[booked + 1])
    assert not beside["fits"]
    assert f"the head's model takes {booked + 1:.0f} MiB of its GPUs" in beside["table"]


@pytest.mark.parametrize("scan", [True, False])
def test_room_of_unnamed_models_is_said(scan: bool) -> None:
    found = plan(["llama"], scan=scan)
    room = f"if the largest 2 of all take no more than {found['free'][0] / MIB:.0f} MiB together"
    assert (room in found["table"]) is scan


@pytest.mark.parametrize(
    ("models_given", "sentence"),
    [
        ({"none": {}}, "expected every model of the router to be in herd_models, with its file, found none"),
        ({"llama": {"context": 1}}, "expected settings, aliases or load_at_start for the model llama, found context"),
        ({"llama": {"settings": {"kontext": 1}}}, "expected settings of the head among"),
    ],
)
def test_invalid_input_is_one_sentence(models_given: dict[str, Any], sentence: str) -> None:
    found = router_placement(models_given, ENTRIES, "b", "0c1e57098", gpus=[GPU], memory_gib=16.0)
    assert not found["fits"]
    assert found["table"].startswith(sentence)


@pytest.mark.parametrize("named", [{}, {"qwen2": {}}], ids=["none named", "one named"])
def test_unnamed_models_take_no_more_than_the_plan_of_the_head_leaves(named: dict[str, Any]) -> None:
    host: dict[str, Any] = {"herd_gpus": [GPU], "herd_memory_gib": 16}
    router = {**host, "fast_router_models": named, "fast_router_settings": {"context": 8192}}
    hosts: dict[str, dict[str, Any]] = {"b": router, "h": {"herd_memory_gib": 16}}
    given: dict[str, Any] = {"settings": {"context": 8192}, "models": ENTRIES, "routers": ["b"]}
    found = placement(ENTRIES["llama"], ["b"], "h", hosts, "0c1e57098", **given)
    assert found["fits"]
    (note,) = [text for text in found["warnings"] if "router on b" in text]
    left = found["devices"][0]["left"]
    assert "Its largest 2 models" in note
    assert f"take at most {left / MIB:.0f} MiB more" in note
    assert "the router on b" in found["table"]
    # The router counts the head's model, and leaves out found files until its largest models fit.
    settings = {"context": 8192}
    alone = plan([*named], settings=settings, booked_mib=found["booked_mib"]["b"])
    machine = RouterHost("b", [GPU], 16.0, booked_mib=found["booked_mib"]["b"])
    entries = [
        RouterModel(name, METADATA[name], engine_arguments.merged(settings), name in named)
        for name in (*named, "gemma2", "llama-experts")
    ]
    together = router_models.plan(entries, machine, 2, "0c1e57098")
    assert together["together"][0] - alone["together"][0] <= left
    hosts["b"] = {**router, "fast_router_scan": False}
    without = placement(ENTRIES["llama"], ["b"], "h", hosts, "0c1e57098", **given)
    assert not any("Its largest" in text for text in without["warnings"])
