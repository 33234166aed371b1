# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""router_plan as Ansible runs it: on files that the engine's tests generate, with a release beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from ansible_collections.herd.inference.plugins.module_utils.ports.host import memory
from ansible_collections.herd.inference.plugins.modules import router_plan
from tests.engine.generated.model import header_of
from tests.engine.models import models
from tests.unit.core.engine.flags.flag_lines import NEW, OLD

LLAMA = next(model for model in models() if model.name == "llama")
RELEASE = "0c1e57098"
Run = Callable[..., dict[str, Any]]


def release_at(prefix: Path, flags: frozenset[str] = NEW, openssl: str = "OFF") -> Path:
    place = prefix / "releases" / RELEASE
    place.mkdir(parents=True)
    manifest = {"id": RELEASE, "programs": {"head": "llama-server"}, "flags": {"llama-server": sorted(flags)}}
    manifest["cmake"] = {"LLAMA_OPENSSL": openssl}
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (prefix / "current").symlink_to(place)
    return place


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LLAMA.write(tmp_path_factory.mktemp("router") / "whole.gguf")


@pytest.fixture(scope="session")
def cut(whole: Path) -> Path:
    path = whole.with_name("cut.gguf")
    path.write_bytes(whole.read_bytes()[:-4096])
    return path


@pytest.fixture
def folder(tmp_path: Path, whole: Path, cut: Path) -> Path:
    path = tmp_path / "models"
    (path / "big").mkdir(parents=True)
    for name in ("a.gguf", "b.gguf", "c.gguf", "mmproj-a.gguf", ".d.gguf.incoming"):
        (path / name).hardlink_to(whole)
    (path / "cut.gguf").hardlink_to(cut)
    (path / "notes.gguf").write_text("no model", encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> Run:
    monkeypatch.setattr(memory, "total_bytes", lambda: 8 << 30)
    base = {
        "prefix": str(tmp_path / "prefix"),
        "release": RELEASE,
        "name": "vasp-02",
        "folder": str(folder),
        "entries": {name: {"file": f"{name}.gguf"} for name in ("a", "b", "c", "cut", "none")},
        "settings": {"context": 512},
        "listen_address": "10.0.0.42",
        "listen_port": 8080,
        "api_key_file": "/etc/herd/router/api-keys",
        "preset_file": "/etc/herd/router/presets.ini",
    }

    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({**base, **arguments}), pytest.raises(SystemExit):
            router_plan.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def ids(found: dict[str, Any]) -> list[str]:
    return [offer["id"] for offer in found["offers"]]


def test_scan_offers_whole_models_only(run: Run, tmp_path: Path) -> None:
    place = release_at(tmp_path / "prefix")
    found = run(models={"b": {"aliases": ["fast"], "settings": {"context": 1024}, "load_at_start": True}})
    assert not found["changed"] and not found["pending"]
    assert ids(found) == ["b", "a", "c"]
    assert set(found["left_out"]) == {"cut", "notes"}
    assert "bytes missing at its end" in found["left_out"]["cut"]
    text = found["files"]["/etc/herd/router/presets.ini"]
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[b]", "[a]", "[c]"]
    assert "alias = fast" in text and "ctx-size = 1024" in text and "load-on-startup = true" in text
    assert found["argv"][0] == f"{place}/bin/llama-server"
    assert found["argv"][1:5] == ["--models-preset", "/etc/herd/router/presets.ini", "--models-max", "2"]
    assert found["environment"]["LLAMA_ARG_API_KEY_FILE"] == "/etc/herd/router/api-keys"
    assert found["plan"]["fits"] and found["plan"]["largest"] == ["b", "a"]
    assert found["findings"] == []


def test_stray_files_do_not_stop_the_router(run: Run, tmp_path: Path, folder: Path, whole: Path) -> None:
    release_at(tmp_path / "prefix")
    for name in ("my model.gguf", "default.gguf", "upper.GGUF", "big/c.gguf"):
        (folder / name).hardlink_to(whole)
    found = run(models={"a": {"aliases": ["b"]}})
    assert ids(found) == ["a", "c"]
    assert set(found["left_out"]) == {"b.gguf", "c.gguf", "cut", "default", "my model", "notes", "upper.GGUF"}


def test_without_scan_only_named_models_are_offered(run: Run, tmp_path: Path) -> None:
    release_at(tmp_path / "prefix")
    assert ids(run(models={"c": {}}, scan=False)) == ["c"]
    assert ids(run(exclude=["a", "cut", "notes"])) == ["b", "c"]
    assert run(exclude=["a", "cut", "notes"])["left_out"] == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"models": {"none": {}}}, "expected a model at"),
        ({"models": {"cut": {}}}, "expected a complete model at"),
        ({"models": {"a": {"aliases": ["b"]}, "b": {}}}, "expected ids and aliases that each name one model"),
        ({"models": {"who": {}}}, "expected every model of the router to be in herd_models"),
        (
            {"models": {"a": {"context": 4}}},
            "expected settings, aliases or load_at_start for the model a, found context",
        ),
        ({"exclude": ["a", "b", "c"]}, "expected at least one model that the router can offer"),
        ({"folder": "/no/where"}, "expected a folder of models at /no/where"),
        ({"settings": {"contexts": 1}}, "expected settings of the head among"),
        ({"models_max": 0}, "expected at least one model in memory"),
        ({"settings": {"extra_arguments": ["--flash-atn", "on"]}}, "--flash-atn in the preset of a"),
        ({"environment": {"LLAMA_ARG_CTX_SIZE": "9"}}, "the variable LLAMA_ARG_CTX_SIZE"),
        ({"accepted_rules": ["no-such-rule"]}, "expected ids of the flag guard's rules"),
    ],
)
def test_invalid_models_are_rejected(run: Run, tmp_path: Path, arguments: dict[str, Any], expected: str) -> None:
    release_at(tmp_path / "prefix")
    found = run(**arguments)
    assert found["failed"] and expected in found["msg"]


def test_small_gpu_is_a_problem_for_named_models(run: Run, tmp_path: Path) -> None:
    release_at(tmp_path / "prefix")
    gpu = {"name": "Tesla V100S-PCIE-32GB", "memory_mib": 600, "compute_capability": "7.0", "id": 1}
    found = run(gpus=[gpu], models={"a": None}, settings={"context": 512})
    assert not found["plan"]["fits"] and found["plan"]["remedies"]
    roomy = run(gpus=[{**gpu, "memory_mib": 8192}])
    assert roomy["plan"]["fits"]
    assert "device = CUDA0" in roomy["files"]["/etc/herd/router/presets.ini"]
    assert roomy["environment"]["CUDA_VISIBLE_DEVICES"] == "1"


TLS = {"certificate": "/etc/herd/router.crt", "key": "/etc/herd/router/tls.key"}


def test_tls_is_on_router_command_line_only(run: Run, tmp_path: Path) -> None:
    release_at(tmp_path / "prefix", openssl="ON")
    found = run(tls=TLS)
    assert found["argv"][-4:] == ["--ssl-cert-file", TLS["certificate"], "--ssl-key-file", TLS["key"]]
    assert "ssl" not in found["files"]["/etc/herd/router/presets.ini"]


def test_release_without_tls_is_rejected(run: Run, tmp_path: Path) -> None:
    release_at(tmp_path / "prefix")
    assert "tls-not-built" in run(tls=TLS)["msg"]
    # A check comes before the build that would have it.
    assert not run(tls=TLS, _ansible_check_mode=True).get("failed")


def test_older_release_is_rejected_with_reason(run: Run, tmp_path: Path) -> None:
    release_at(tmp_path / "prefix", OLD)
    assert "router-of-older-release" in run()["msg"]
    found = run(accepted_rules=["router-of-older-release"])
    assert [finding["severity"] for finding in found["findings"]] == ["warning"]


def test_check_mode_plans_from_inventory_before_first_run(run: Run, tmp_path: Path, whole: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    found = run(models={"none": {}}, folder=nowhere, _ansible_check_mode=True)
    assert found["pending"] and ids(found) == ["none"]
    assert not found["plan"]["known"]
    metadata = metadata_of(header_of(LLAMA)).to_data()
    told = run(
        models={"a": {}},
        entries={"a": {"file": "a.gguf", "metadata": metadata}},
        folder=nowhere,
        _ansible_check_mode=True,
    )
    assert told["plan"]["known"] and told["plan"]["fits"]
    assert run(_ansible_check_mode=True, folder=nowhere)["pending"]
    assert run()["failed"]
