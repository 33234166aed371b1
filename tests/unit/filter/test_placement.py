# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""placement as Ansible runs it, on files that the engine's tests generate, and the filter beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.filter import placement as placement_filter
from ansible_collections.herd.inference.plugins.module_utils.core.models.shape import shape_of
from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory
from ansible_collections.herd.inference.plugins.modules import placement
from tests.engine.models import Model, header_of, models

MODELS = {model.name: model for model in models()}
HOSTS = {name: {"gpus": [], "memory_gib": 16} for name in ("a", "b")}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(memory, "total_bytes", lambda: 8 << 30)
    monkeypatch.setattr(memory, "limit_bytes", lambda: 0)

    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            placement.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_shape_read_from_a_file_is_the_one_that_was_meant(model: Model, tmp_path: Path) -> None:
    found = placement.shape_at(model.write(tmp_path / "m.gguf"))
    assert found == shape_of(header_of(model)).to_data()


def test_a_plan_from_a_file(run: Run, tmp_path: Path) -> None:
    path = MODELS["llama"].write(tmp_path / "m.gguf")
    found = run(
        path=str(path), workers=["a", "b"], head="h", hosts=HOSTS, release="0c1e57098", _ansible_check_mode=True
    )
    assert found["plan"]["fits"] and not found["changed"]
    assert sum(found["plan"]["split"].values()) == 9
    assert found["memory_bytes"] == 8 << 30
    again = run(model={"shape": found["shape"]}, workers=["a", "b"], head="h", hosts=HOSTS, release="0c1e57098")
    assert again["plan"] == found["plan"]


def test_the_limit_of_the_job_is_looked_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_bytes", lambda: 64 << 20)
    path = MODELS["llama"].write(tmp_path / "m.gguf")
    given = {"path": str(path), "workers": ["a", "b"], "head": "h", "hosts": HOSTS, "release": "0c1e57098"}
    assert "memory limit" in run(**given)["plan"]["problems"][0]
    assert run(**given, memory_max="200G")["plan"]["fits"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": "/nowhere/m.gguf"}, "a model at /nowhere/m.gguf"),
        ({"model": {"shape": {"kinds": []}}}, "lock_models.yml"),
        ({"model": {}, "workers": []}, "one of the following is required"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(run: Run, given: dict[str, Any], expected: str) -> None:
    arguments = {"workers": ["a"], "head": "h", "hosts": HOSTS, "release": "0c1e57098", **given}
    if given.get("model") == {}:
        del arguments["model"]
    found = run(**arguments)
    assert found["failed"] and expected in found["msg"]


def test_the_filter_reads_the_inventory_and_nothing_else() -> None:
    entry = {"name": "small", "layers": 9, "shape": shape_of(header_of(MODELS["llama"])).to_data()}
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
        ({"split": {"a": 4, "b": 4}}, "expected a tensor split that adds up to the model's 9 layers, found 8"),
        ({"settings": {"context": 0}}, "expected context to be a whole number above zero"),
        ({"profile": "none"}, "expected a profile among p"),
        ({"memory_max": "much"}, "expected a limit such as 200G"),
    ],
)
def test_input_that_cannot_work_is_one_sentence_of_the_filter(change: dict[str, Any], sentence: str) -> None:
    entry = {"name": "small", "layers": 9, "shape": shape_of(header_of(MODELS["llama"])).to_data()}
    hosts = {name: {"herd_memory_gib": 16} for name in ("a", "b", "h")}
    given = {"profiles": {"p": {}}, **change}
    found = placement_filter.placement(entry, ["a", "b"], "h", hosts, "0c1e57098", **given)
    assert not found["fits"]
    assert found["table"].startswith(sentence)
    assert found["split"] == change.get("split", {})
