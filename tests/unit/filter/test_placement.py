# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter placement, on model metadata of the engine's tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.filter import placement as placement_filter
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from tests.engine.generated.model import header_of
from tests.engine.models import models

MODELS = {model.name: model for model in models()}


def test_filter_reads_only_inventory_variables() -> None:
    entry = {"name": "small", "layers": 9, "metadata": metadata_of(header_of(MODELS["llama"])).to_data()}
    hosts = {
        "a": {"herd_gpus": [{"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}], "herd_gpu_free_mib": [9000]},
        "b": {"herd_gpus": [], "herd_memory_gib": 16, "other": object()},
        "h": {"herd_memory_gib": 16},
    }
    cached = {**hosts, "a": {**hosts["a"], "ansible_facts": {"herd_gpu_free_mib": [9000]}}}
    del cached["a"]["herd_gpu_free_mib"]
    assert placement_filter.known(cached["a"]) == placement_filter.known(hosts["a"])
    found = placement_filter.placement(
        entry, ["a", "b"], "h", hosts, "0c1e57098", {"p": {"context": 2048}}, "p", {"slots": 2}, models={"x": entry}
    )
    assert found["settings"]["context"] == 2048 and found["settings"]["slots"] == 2
    assert [device["modelled"] for device in found["devices"]] == [True, False]
    assert found["devices"][0]["free"] == 9000 << 20
    json.dumps(found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"split": {"a": 4, "x": 5}},
            "expected a tensor split over the hosts that hold layers (a, b), found the host x",
        ),
        ({"split": {"a": 9}}, "expected a number of layers for each host that holds layers (a, b), found none for b"),
        ({"settings": {"context": 0}}, "expected context to be a whole number above zero"),
        ({"profile": "none"}, "expected a profile among p"),
        ({"memory_max": "much"}, "expected a limit such as 200G"),
        ({"environment": {"LLAMA_ARG_SWA_FULL": "1"}}, "expected an environment that changes no memory"),
        ({"settings": {"extra_arguments": ["--swa-full"]}}, "expected extra_arguments that change no memory"),
        ({"settings": {"gpu_layers": 9}}, "expected gpu_layers of at least 10"),
    ],
)
def test_filter_reports_invalid_input_as_one_sentence(change: dict[str, Any], sentence: str) -> None:
    entry = {"name": "small", "layers": 9, "metadata": metadata_of(header_of(MODELS["llama"])).to_data()}
    hosts = {name: {"herd_memory_gib": 16} for name in ("a", "b", "h")}
    given = {"profiles": {"p": {}}, **change}
    found = placement_filter.placement(entry, ["a", "b"], "h", hosts, "0c1e57098", **given)
    assert not found["fits"]
    assert found["table"].startswith(sentence)
    assert found["split"] == change.get("split", {})
