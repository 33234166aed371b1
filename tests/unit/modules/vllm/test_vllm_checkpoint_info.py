# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vllm_checkpoint_info as Ansible runs it, on a folder and against a real web server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.modules import vllm_checkpoint_info
from tests.unit.agent.vllm.test_checkpoint_folder import write
from tests.unit.model_server import ModelServer, Served

SECRET = "hf_tokenOfATest"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            vllm_checkpoint_info.main()
        output = capsys.readouterr().out
        assert SECRET not in output
        result: dict[str, Any] = json.loads(output)
        return result

    return call


def test_facts_of_a_folder(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "m")
    found = run(path=str(tmp_path / "m"), _ansible_check_mode=True)
    assert (found["name"], found["files"], found["tensors"]) == (str(tmp_path / "m"), 1, 1)
    assert (found["weights"]["total"], found["weights"]["vocabulary"]) == (160, 160)
    assert (found["shape"]["layers"], found["shape"]["context"]) == (1, 64)
    assert "plan" not in found
    assert found["changed"] is False


def test_plan_of_a_folder(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "m")
    found = run(path=str(tmp_path / "m"), gpu="h100-80", gpus=2, max_model_len=64)
    assert found["plan"]["fits"] is True
    assert found["plan"]["tensor_parallel"] == 2
    assert found["sentence"].startswith("A context of 64 tokens fits on 2 x H100 80 GB")
    assert found["remedies"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"gpu": "h100-80", "gpus": 3}, "3 GPUs cannot share"),
        ({"gpu": "v100-32", "kv_cache_dtype": "fp8"}, "key-value cache in FP8"),
        ({"gpu": "h100-80", "gpu_memory_utilization": 2.0}, "gpu_memory_utilization from"),
        ({"gpu": "abacus"}, "value of gpu must be one of"),
    ],
)
def test_what_cannot_be_planned_fails_with_the_reason(
    run: Run, tmp_path: Path, arguments: dict[str, Any], says: str
) -> None:
    write(tmp_path / "m")
    found = run(path=str(tmp_path / "m"), **arguments)
    assert found["failed"] is True
    assert says in found["msg"]


def test_gated_model_needs_a_token(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "m")
    with ModelServer("127.0.0.1").running() as server:
        for path in (tmp_path / "m").iterdir():
            server.files[f"/o/n/resolve/v1/{path.name}"] = Served(path.read_bytes(), token=SECRET)
        options = {"huggingface_id": "o/n", "revision": "v1", "endpoint": server.url("")}
        refused = run(**options)
        assert refused["failed"] is True
        assert "accept the terms at https://huggingface.co/o/n" in refused["msg"]
        assert run(**options, token=SECRET)["weights"]["total"] == 160


def test_one_place_is_required(run: Run) -> None:
    assert "one of the following is required" in run()["msg"]
