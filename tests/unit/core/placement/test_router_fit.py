# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the largest models of a router fit together, with the models of the documents' clusters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import arguments as engine_arguments
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.placement import from_inventory as inventory_placement
from ansible_collections.herd.inference.plugins.module_utils.core.placement import router_fit
from ansible_collections.herd.inference.plugins.module_utils.core.placement.planner import MIB
from ansible_collections.herd.inference.plugins.module_utils.core.placement.router_fit import RouterHost, RouterModel

ROOT = Path(__file__).parents[4]
COMPUTED = json.loads((ROOT / "inventory/beefcake2/group_vars/all/models_computed.json").read_text(encoding="utf-8"))
V100 = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 32768}
MACHINE = RouterHost("vasp-02", [V100], 384, reserve_mib=1024)
ROOMY = replace(MACHINE, gpus=[{**V100, "memory_mib": 65536}])
STRAND, BEHEMOTH = "strand-rust-coder-14b-q8_0", "or1-behemoth-q4_k_m"
NEW = "0c1e57098"


def entry(key: str = STRAND, name: str = "", is_named: bool = True, **settings: Any) -> RouterModel:
    merged = engine_arguments.merged({"context": 8192, "batch": 512, **settings})
    return RouterModel(
        name or key, inventory_placement.metadata_in(COMPUTED["herd_models_computed"][key]), merged, is_named
    )


def plan(*entries: RouterModel, machine: RouterHost = MACHINE, models_max: int = 2) -> dict[str, Any]:
    return router_fit.plan(entries, machine, models_max, NEW)


def test_fitting_model_names_its_devices() -> None:
    found = plan(entry())
    assert found["fits"] and found["known"] and not found["problems"]
    assert [(model["id"], model["devices"], model["split"]) for model in found["models"]] == [(STRAND, ["CUDA0"], [])]
    # Weights and cache are the engine's own numbers: 14180 and 1536 MiB.
    assert 14180 + 1536 < found["together"][0] / MIB < 17500


def test_largest_models_are_counted() -> None:
    small, large = entry(name="small", context=2048), entry(name="large", context=16384)
    alone = {name: plan(one)["together"][0] for name, one in (("small", small), ("large", large))}
    found = plan(small, large, replace(small, id="smaller"), machine=ROOMY)
    assert found["fits"]
    assert found["largest"] == ["large", "small"]
    assert found["together"] == [alone["small"] + alone["large"]]


def test_models_that_do_not_fit_together_get_remedies() -> None:
    two = [entry(name="a", context=32768), entry(name="b", context=32768)]
    found = plan(*two)
    assert not found["fits"]
    (problem,) = found["problems"]
    assert "the largest 2 of 2 models at the same time (21236 MiB for a and 21236 MiB for b)" in problem
    assert "11220 MiB are missing" in problem
    assert found["remedies"][0].startswith("1 in memory at the same time (models_max) fits")
    assert plan(*two, models_max=1)["fits"]
    context = int(next(remedy for remedy in found["remedies"] if "context" in remedy).split("at most ")[1].split()[0])
    assert plan(*(replace(one, settings={**one.settings, "context": context}) for one in two))["fits"]
    assert found["remedies"][-1] == "Without a the others fit."
    assert found["table"].count("remedy: ") == len(found["remedies"])


def test_smaller_cache_is_a_remedy_only_if_it_helps() -> None:
    given = [entry(name=name, context=24576) for name in ("a", "b")]
    machine = replace(MACHINE, gpus=[{**V100, "memory_mib": 38000}])
    remedies = plan(*given, machine=machine)["remedies"]
    assert "Cache types q8_0 for keys and values of every model (cache_type_k, cache_type_v) fit." in remedies
    without_flash = [replace(one, settings={**one.settings, "flash_attention": "off"}) for one in given]
    assert not [remedy for remedy in plan(*without_flash, machine=machine)["remedies"] if "Cache types" in remedy]


def test_found_file_is_left_out_if_too_large() -> None:
    found = plan(entry(), entry(BEHEMOTH, is_named=False))
    assert found["fits"]
    assert list(found["left_out"]) == [BEHEMOTH]
    assert "80 layers" in found["left_out"][BEHEMOTH]
    assert f"left out: {BEHEMOTH}" in found["table"]


def test_named_model_that_is_too_large_is_a_problem() -> None:
    found = plan(entry(), entry(BEHEMOTH))
    assert not found["fits"]
    assert found["problems"][0].startswith(f"model {BEHEMOTH}: device CUDA0 on vasp-02: expected room")
    assert not [remedy for remedy in found["remedies"] if "node" in remedy]


def test_each_gpu_must_hold_its_share() -> None:
    found = plan(entry(BEHEMOTH), machine=RouterHost("big", [V100, V100, V100], 384))
    (model,) = found["models"]
    assert model["devices"] == ["CUDA0", "CUDA1", "CUDA2"]
    assert sum(model["split"]) == 81 and len(found["together"]) == 3
    assert found["fits"]
    twice = plan(entry(BEHEMOTH), entry(BEHEMOTH, "copy"), machine=RouterHost("big", [V100, V100, V100], 384))
    assert [text.split(":")[0] for text in twice["problems"]] == [f"device {n} of big" for n in range(3)]


def test_cpu_has_no_device_and_uses_host_memory() -> None:
    found = plan(entry(), entry(name="b"), machine=RouterHost("cpu", [], 64))
    assert found["fits"]
    assert all(not model["devices"] for model in found["models"])
    # Buffers of the process, and the weights on top if they are to stay in the cache; loading takes of their room.
    assert found["memory"]["comfortable"] - found["memory"]["least"] > 2 * 13000 * MIB
    locked = plan(entry(load_mode="lock"), entry(name="b", load_mode="lock"), machine=RouterHost("cpu", [], 64))
    assert locked["memory"]["least"] >= found["memory"]["least"] + 2 * 14180 * MIB


@pytest.mark.parametrize(("limit", "fits"), [("1G", False), ("4G", True), ("", True), ("infinity", True)])
def test_service_limit_covers_all_processes(limit: str, fits: bool) -> None:
    found = plan(entry(), entry(name="b", context=4096), machine=replace(ROOMY, memory_max=limit))
    assert found["fits"] is fits, found["table"]
    if not fits:
        assert "expected a memory limit of at least" in found["problems"][0]
        assert "lets the files' pages stay" in found["problems"][0]


def test_unknown_model_is_a_warning() -> None:
    found = plan(entry(), replace(entry(name="new"), metadata=None))
    assert found["fits"] and not found["known"]
    assert "new: nothing is known of it" in found["table"]


def test_host_without_gpu_and_memory_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="herd_gpus or herd_memory_gib for n1"):
        plan(entry(), machine=RouterHost("n1"))
