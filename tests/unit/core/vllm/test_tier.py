# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tier that vLLM serves: the script and the specification of its job, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.filter.tier_plan import tier_plan
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import revision
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import tier

HOSTS = {
    f"c{number}": {
        "ansible_host": f"10.0.0.{number}",
        "herd_fabric_address": f"10.100.0.{number}",
        "herd_fabric_interface": "ib0",
        "herd_gpus": [{"name": "NVIDIA H100", "compute_capability": "9.0", "memory_mib": 81559}] * 4,
        "herd_memory_gib": 768,
    }
    for number in (1, 2, 3)
}
DOCUMENT: dict[str, Any] = {
    "active_model": "glm-4.7",
    "slurm": {"account": "ai", "cpus_per_task": 16, "mem_per_gpu": "64G"},
    "models": {
        "glm-4.7": {
            "name": "GLM-4.7",
            "huggingface_id": "zai-org/GLM-4.7-FP8",
            "port": 8006,
            "gpus": 8,
            "nodes": 2,
            "quantization": "fp8",
        }
    },
}
TIER = {
    "name": "large",
    "kind": "vllm",
    "gateway_port": 8082,
    "port": 8010,
    "job_name": "large",
    "script": "run-large.slurm",
    "models": ["glm-4.7"],
    "grace": 60,
    "time_limit": "1-00:00:00",
}
INSTALLED = {
    "work_dir": "/cluster/shared/ai/vllm",
    "venv": "/cluster/shared/ai/vllm/venv/0123456789ab",
    "release": "0.32.0",
}


def plan(changes: dict[str, Any] | None = None, document: dict[str, Any] | None = None) -> dict[str, Any]:
    return tier_plan(
        [{**TIER, **(changes or {})}],
        hosts=HOSTS,
        nodes=list(HOSTS),
        models={},
        release="0c1e57098",
        user="llama",
        worker_port=50052,
        paths={
            "prefix": "/opt/llama.cpp",
            "models": "/scratch/ai/models",
            "shared": "/cluster/shared",
            "key_file": "/etc/herd/tiers/api-keys",
            "guard": "/run/herd-guard/guard.sock",
            "cache": "/var/cache/herd/rpc",
        },
        account="",
        vllm=DOCUMENT if document is None else document,
        vllm_installation=INSTALLED,
    )


def test_job_of_a_tier_is_that_of_a_user_with_other_data() -> None:
    found = plan()
    assert found["problems"] == []
    large = found["tiers"]["large"]
    spec = json.loads(large["spec_text"])
    assert (spec["way"], spec["tier"], spec["registry"]) == ("operator", "large", "/cluster/shared/ai/endpoints")
    assert (spec["nodes"], spec["gpus_per_node"], spec["port"]) == (2, 4, 8010)
    assert spec["guard"] == "/run/herd-guard/guard.sock"
    assert (spec["key_file"], spec["user"]) == ("/etc/herd/tiers/api-keys", "llama")
    assert spec["hosts"]["c1"] == {"address": "10.0.0.1", "fabric": "10.100.0.1", "interface": "ib0"}
    assert (spec["timing"]["drain"], spec["timing"]["settle"]) == (50, 3)
    assert spec["is_renewed"]
    # The jobs' user has no home.
    assert spec["cache"]["xdg"] == "/cluster/shared/ai/vllm/cache"
    text = large["script_text"]
    for line in (
        "#SBATCH --job-name=large",
        "#SBATCH --partition=gpu_ai",
        "#SBATCH --qos=ai_opportunistic",
        "#SBATCH --account=ai",
        "#SBATCH --nodes=2",
        "#SBATCH --time=1-00:00:00",
    ):
        assert f"{line}\n" in text
    assert large["spec_path"] in text


def test_tier_manager_finds_the_fingerprint_in_the_comment() -> None:
    large = plan()["tiers"]["large"]
    comment = next(line for line in large["script_text"].splitlines() if line.startswith("#SBATCH --comment="))
    assert revision.fingerprint_in(comment.strip('"')) == large["fingerprint"] == large["tier"]["fingerprint"]
    other = plan({"environment": {"VLLM_LOGGING_LEVEL": "DEBUG"}})["tiers"]["large"]
    assert other["fingerprint"] != large["fingerprint"]


def test_hosts_of_the_tier_are_those_of_the_job() -> None:
    two = json.loads(plan({"hosts": ["c1", "c3"]})["tiers"]["large"]["spec_text"])
    assert (two["nodelist"], two["exclude"]) == (["c1", "c3"], [])
    three = json.loads(plan()["tiers"]["large"]["spec_text"])
    assert (three["nodelist"], three["exclude"]) == ([], [])


@pytest.mark.parametrize(
    ("changes", "document", "says"),
    [
        ({"job_name": "vllm"}, None, "expected the job_name large, found vllm"),
        ({"models": []}, None, "expected one model, found 0"),
        ({"models": ["glm-4.8"]}, None, "glm-4.7"),
        ({"hosts": ["c1"]}, None, "expected at least 2 hosts for the tier large, found 1"),
        ({}, {}, "expected the configuration of vLLM as herd_vllm, found none"),
        ({}, {**DOCUMENT, "distributed": {"master_port_base": 9000}}, "master_port_base from 10240, found 9000"),
        ({}, {**DOCUMENT, "slurm": {"account": "ai", "mem_per_gpu": "64GB"}}, "herd_vllm: slurm.mem_per_gpu: expected"),
    ],
)
def test_wrong_tier_is_explained(changes: dict[str, Any], document: dict[str, Any] | None, says: str) -> None:
    assert says in " ".join(plan(changes, document)["problems"])


def test_values_of_an_inventory_are_read_as_those_of_the_file() -> None:
    model = {**DOCUMENT["models"]["glm-4.7"], "vision": True}
    written = {"nccl": {"debug": "INFO", "socket_ifname": None}, "vllm": {"seed": 42}, "models": {"glm-4.7": model}}
    found = tier.settings({**DOCUMENT, **written})
    assert (found.vllm.seed, found.nccl.debug, found.nccl.socket_ifname) == (42, "INFO", "")
    assert found.models["glm-4.7"].vision
    with pytest.raises(HerdError, match="as herd_vllm, found none"):
        tier.settings({})
