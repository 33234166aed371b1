# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of a job: nodes, layers, command lines and ports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.device_order import engine_split
from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import job_spec

HOSTS = ["vasp-01", "vasp-02", "vasp-03"]
PORTS = {"vasp-02": 50052, "vasp-03": 50053}


def data(**changes: Any) -> dict[str, Any]:
    facts = {
        f"vasp-0{n}": {"address": f"10.0.0.4{n}", "fabric": f"10.100.0.4{n}", "interface": "ib0", "gpus": 1}
        for n in (1, 2, 3)
    }
    return {
        "schema": 1,
        "tier": "reasoning",
        "kind": "distributed",
        "user": "llama",
        "prefix": "/opt/llama.cpp",
        "registry": "/cluster/shared/ai/endpoints",
        "logs": "/cluster/shared/ai/logs",
        "key_file": "/etc/herd/tiers/api-keys",
        "port": 8081,
        "worker_port": 50052,
        "ports": 16,
        "models": [{"id": "OR1-Behemoth", "path": "/scratch/ai/models/m.gguf", "layers": 80, "size": 47369119648}],
        "settings": {"context": 131072, "batch": 512, "cache_type_k": "q4_0", "cache_type_v": "q4_0"},
        "split": {"vasp-01": 26, "vasp-02": 27, "vasp-03": 27},
        "nodes": facts,
        **changes,
    }


def job(**changes: Any) -> job_spec.JobSpec:
    return job_spec.read_job(json.dumps(data(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"kind": "vllm"},
        {"nodes": 5},
        {"models": [{"id": "x"}]},
        {"models": [{"id": "x", "path": "/x", "layers": 1, "size": 1, "attention": [[128, 128]]}]},
        {"models": [{"id": "x", "path": "/x", "layers": 1, "size": 1, "attention": 5}]},
        {"unheard_of": 1},
        {"timing": {"grace": "soon"}},
    ],
)
def test_invalid_specification_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidInputError, match=r"expected a job's data of schema 1, found .*: run playbooks/slurm.yml"
    ):
        job(**changes)


def test_empty_specification_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        job_spec.read_job("{")


def test_first_node_has_the_head() -> None:
    head, workers = job_spec.assign_nodes(job(), HOSTS)
    assert head.name == "vasp-01"
    assert [node.name for node in workers] == ["vasp-02", "vasp-03"]


def test_router_has_no_workers() -> None:
    assert job_spec.assign_nodes(job(kind="router"), ["vasp-02"])[1] == ()


@pytest.mark.parametrize("hosts", [["vasp-04"], []])
def test_unknown_node_is_reported(hosts: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="slurm_nodes"):
        job_spec.assign_nodes(job(), hosts)


def test_split_by_host_name_becomes_the_engines_order() -> None:
    tier = job()
    head, workers = job_spec.assign_nodes(tier, HOSTS)
    placed = job_spec.devices(tier, head, workers, PORTS)
    assert [(device.name, device.host, device.endpoint, device.layers) for device in placed] == [
        ("RPC0", "vasp-02", "10.100.0.42:50052", 27),
        ("RPC1", "vasp-03", "10.100.0.43:50053", 27),
        ("CUDA0", "vasp-01", "", 26),
    ]
    # Local devices come last, and hold the output layer, too.
    assert engine_split(placed) == [27, 27, 27]


def test_layers_are_spread_evenly_on_other_nodes() -> None:
    tier = job(split={"vasp-01": 40, "vasp-09": 40})
    head, workers = job_spec.assign_nodes(tier, HOSTS)
    assert [device.layers for device in job_spec.devices(tier, head, workers, PORTS)] == [27, 27, 26]


def test_command_line_of_the_head() -> None:
    tier = job()
    head, workers = job_spec.assign_nodes(tier, HOSTS)
    placed = job_spec.devices(tier, head, workers, PORTS)
    argv = job_spec.head_argv(tier, "/x/llama-server", ["--load-mode", "--fit"], placed, head.address)
    assert argv[0] == "/x/llama-server"
    assert job_spec.with_port(argv, 8083)[argv.index("--port") + 1] == "8083"
    assert argv[argv.index("--host") + 1] == "10.0.0.41"
    assert argv[argv.index("--api-key-file") + 1] == "/etc/herd/tiers/api-keys"
    assert argv[argv.index("--rpc") + 1] == "10.100.0.42:50052,10.100.0.43:50053"
    assert argv[argv.index("--device") + 1] == "RPC0,RPC1,CUDA0"


def test_command_line_of_a_worker() -> None:
    argv = job_spec.worker_argv("/x/ggml-rpc-server", "10.100.0.42", 20, has_cache=True)
    assert job_spec.with_port(argv, 50055) == [
        "/x/ggml-rpc-server", "-H", "10.100.0.42", "-p", "50055", "-t", "20", "-c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("read", "sent", "remote", "percent"),
    [(0, 0, 0, 0), (50, 0, 0, 50), (100, 0, 0, 99), (500, 0, 0, 99), (100, 0, 100, 50), (100, 43, 100, 71)],
)
def test_loaded_percentage(read: int, sent: int, remote: int, percent: int) -> None:
    assert job_spec.percent(read, 100, sent, remote) == percent


def test_model_without_a_size_has_a_percentage() -> None:
    assert job_spec.percent(5, 0, 0, 0) == 99


MANIFEST = {
    "flags": {
        "llama-server": [
            "--load-mode", "--fit", "--cache-ram", "--model", "--alias", "--host", "--port", "--api-key-file", "--rpc",
            "--device", "--tensor-split", "--split-mode", "--n-gpu-layers", "--ctx-size", "--parallel", "--threads",
            "--batch-size", "--ubatch-size", "--cache-type-k", "--cache-type-v", "--flash-attn", "--timeout",
            "--metrics",
            "--log-verbosity", "--models-preset", "--models-max", "--sleep-idle-seconds",
        ],
    },
    "cuda": {"architectures": ["70"]},
}  # fmt: skip


def line_of(**changes: Any) -> job_spec.EngineCommand:
    tier = job(**changes)
    head, workers = job_spec.assign_nodes(tier, HOSTS)
    placed = job_spec.devices(tier, head, workers, PORTS)
    return job_spec.head_line(tier, "/x/bin/llama-server", MANIFEST, placed, head)


def test_head_command_passes_the_flag_guard() -> None:
    line = line_of()
    assert line.argv[0] == "/x/bin/llama-server"
    assert job_spec.PORT in line.argv


@pytest.mark.parametrize(
    "settings", [{"flash_attention": "off", "cache_type_v": "q4_0"}, {"extra_arguments": ["--no-such-flag"]}]
)
def test_head_command_with_a_fatal_flag_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="this build of /x/bin/llama-server takes and survives"):
        line_of(settings=settings)


def test_router_command_has_presets_for_its_models() -> None:
    tier = job(kind="router", models_max=2, sleep_idle_seconds=600)
    head, _workers = job_spec.assign_nodes(tier, ["vasp-02"])
    line = job_spec.router_line(tier, "/x/bin/llama-server", MANIFEST, head, "/x/models.ini")
    assert job_spec.PORT in line.argv
    assert line.argv[line.argv.index("--models-preset") + 1] == "/x/models.ini"
    assert "[OR1-Behemoth]" in line.presets
    assert "sleep-idle-seconds = 600" in line.presets
    assert line.environment["LLAMA_ARG_API_KEY_FILE"] == "/etc/herd/tiers/api-keys"


WIDE = {"id": "wide", "path": "/x/wide.gguf", "layers": 80, "size": 1, "attention": [[512, 512, 2]]}
V100 = {name: {**facts, "capabilities": ["7.0"]} for name, facts in data()["nodes"].items()}


def test_head_without_an_attention_kernel_does_not_start() -> None:
    with pytest.raises(InvalidInputError, match="attention-without-kernel"):
        line_of(models=[WIDE], nodes=V100)
    # Other GPUs have the kernel.
    assert line_of(models=[WIDE]).warnings == line_of().warnings


def test_router_without_an_attention_kernel_does_not_start() -> None:
    on = job(kind="router", models=[{**WIDE, "settings": {"flash_attention": "on"}}], nodes=V100)
    head, _workers = job_spec.assign_nodes(on, ["vasp-02"])
    with pytest.raises(InvalidInputError, match="attention-without-kernel"):
        job_spec.router_line(on, "/x/bin/llama-server", MANIFEST, head, "/x/models.ini")
    auto = job(kind="router", models=[WIDE], nodes=V100)
    warnings = job_spec.router_line(auto, "/x/bin/llama-server", MANIFEST, head, "/x/models.ini").warnings
    assert any("attention-without-kernel" in warning for warning in warnings)
