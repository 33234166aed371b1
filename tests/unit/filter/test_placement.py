# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter placement, on model metadata of the engine's tests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.filter import placement as placement_filter
from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_fit
from tests.engine.generated.model import header_of
from tests.engine.models import models

MODELS = {model.name: model for model in models()}


def test_filter_reads_only_inventory_variables() -> None:
    entry = {"name": "small", "layers": 9, "metadata": metadata_of(header_of(MODELS["llama"])).to_data()}
    hosts: dict[str, dict[str, Any]] = {
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


def test_memory_limit_is_the_given_one_or_the_plans() -> None:
    entry = {"name": "small", "layers": 9, "metadata": metadata_of(header_of(MODELS["llama"])).to_data()}
    hosts = {"a": {"herd_memory_gib": 16}, "h": {"herd_memory_gib": 16}}

    def found(given: str, **change: Any) -> dict[str, Any]:
        return placement_filter.placement(
            {**entry, **change}, ["a"], "h", hosts, "0c1e57098", settings={"context": 512}, memory_max=given
        )

    assert (found("")["memory_max"], found("8G")["memory_max"], found("infinity")["memory_max"]) == (
        *("1G", "8G", "infinity"),
    )
    assert "MemoryMax of the head's service: 1G, from the plan" in found("")["table"]
    assert "MemoryMax of the head's service: 8G, as given" in found("8G")["table"]
    # Without metadata there is no plan, and no limit but a given one.
    assert (found("", metadata={})["memory_max"], found("8G", metadata={})["memory_max"]) == ("", "8G")


def test_gpu_of_a_router_is_booked_once() -> None:
    metadata = metadata_of(header_of(MODELS["llama"]))
    entry = {"name": "small", "file": "small.gguf", "layers": 9, "metadata": metadata.to_data()}
    gpu = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 2048}
    host = {"herd_gpus": [gpu], "herd_memory_gib": 16}
    router = {**host, "fast_router_models": {"small": {}}, "fast_router_settings": {"context": 65536}}
    hosts: dict[str, dict[str, Any]] = {"a": host, "b": router, "h": {"herd_memory_gib": 16}}
    given: dict[str, Any] = {"settings": {"context": 8192}, "models": {"small": entry}}
    alone = placement_filter.placement(entry, ["a", "b"], "h", hosts, "0c1e57098", **given)
    both = placement_filter.placement(entry, ["a", "b"], "h", hosts, "0c1e57098", routers=["b"], **given)
    assert alone["fits"] and not any("router" in text for text in alone["warnings"])
    free = [[device["free"] for device in found["devices"]] for found in (alone, both)]
    assert free[0][0] == free[1][0] and free[0][1] > free[1][1]
    assert "the router on b books" in both["warnings"][0]
    booked = alone["booked_mib"]["b"]
    assert booked == [alone["devices"][1]["total"] / (1 << 20)]
    # The router's plan counts the head's model in turn, and comes to the same result.
    made = router_fit.RouterModel("small", metadata, engine_arguments.merged({"context": 65536}))
    (need,) = router_fit.plan([made], router_fit.RouterHost("b", [gpu], 16.0), 2, "0c1e57098")["together"]
    assert free[0][1] - free[1][1] == need
    machine = router_fit.RouterHost("b", [{**gpu, "free_mib": need / (1 << 20) + booked[0] - 1}], 16.0)
    assert router_fit.plan([made], machine, 2, "0c1e57098")["fits"]
    beside = router_fit.plan([made], replace(machine, booked_mib=booked), 2, "0c1e57098")
    assert not beside["fits"] and "1 MiB are missing" in beside["problems"][0]
