# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value of each key arrives where the key table of docs/reference/vllm.md says: in Slurm, vLLM or NCCL."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config_keys
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import builder, command, script
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.run import RankPlace, Run
from tests.unit.core.vllm import config_texts
from tools import reference

SITE = builder.Site(user="jane", work_dir="/work", herdctl="/work/bin/herdctl", venv_dir="/venv")
#: A value of each key, and a line of what a job gets: options of sbatch, arguments and variables of rank 0.
ARRIVES = {
    "slurm.account": ("p_scads_pathology", "--account=p_scads_pathology"),
    "slurm.partition": ("capella", "--partition=capella"),
    "slurm.qos": ("high", "--qos=high"),
    "slurm.constraint": ("h100&ib", "--constraint=h100&ib"),
    "slurm.reservation": ("course", "--reservation=course"),
    "slurm.time_default": ("6:00:00", "--time=6:00:00"),
    "slurm.cpus_per_task": ("8", "--cpus-per-task=8"),
    "slurm.mem_per_gpu": ("128G", "--mem=128G"),
    "cache.xdg_cache_home": ("/data/cache", "XDG_CACHE_HOME=/data/cache"),
    "cache.triton_cache_dir": ("/data/triton", "TRITON_CACHE_DIR=/data/triton/node1"),
    "cache.huggingface_cache": ("/data/hf", "HF_HOME=/data/hf"),
    "vllm.gpu_memory_utilization": ("0.85", "--gpu-memory-utilization 0.85"),
    "vllm.max_model_len_default": ("16384", "--max-model-len 16384"),
    "vllm.max_num_seqs": ("8", "--max-num-seqs 8"),
    "vllm.dtype": ("bfloat16", "--dtype bfloat16"),
    "vllm.seed": ("42", "--seed 42"),
    "vllm.extra_arguments": ("[--enable-prefix-caching]", "--enable-prefix-caching"),
    "distributed.rdzv_timeout": ("1800", "--distributed-timeout-seconds 1800"),
    "nccl.blocksize": ("4194304", "NCCL_BUFFSIZE=4194304"),
    "nccl.ib_timeout": ("20", "NCCL_IB_TIMEOUT=20"),
    "nccl.debug": ("INFO", "NCCL_DEBUG=INFO"),
    "models.*.name": ("Scout", "--served-model-name Scout"),
    "models.*.huggingface_id": ("meta-llama/Scout", "serve meta-llama/Scout"),
    "models.*.path": ("/data/models/scout", "serve /data/models/scout"),
    "models.*.port": ("8006", "--port 8006"),
    "models.*.gpus": ("4", "--gpus-per-node=4"),
    "models.*.nodes": ("1", "--nodes=1"),
    "models.*.quantization": ("fp8", "--quantization fp8"),
    "models.*.time": ("24:00:00", "--time=24:00:00"),
    "models.*.partition": ("long", "--partition=long"),
    "models.*.max_model_len": ("131072", "--max-model-len 131072"),
    "models.*.extra_arguments": ("[--tool-call-parser=openai]", "--tool-call-parser=openai"),
}


def places(path: str, written: str) -> str:
    """Return everything that a job of the least configuration with one more key gets, a value a line."""
    return received(config_texts.with_value(path, written))


def received(document: str) -> str:
    spec = builder.build(config_texts.parse(document), "m", SITE)
    ranks = tuple(RankPlace(f"node{at}", f"10.0.0.{at}", "ib0", f"10.1.0.{at}") for at in (1, 2))
    run = Run("7", 0, ranks, 29514, 29515, spec.port, "0" * 64)
    arguments = command.rank_command(spec, run, 0, "/engine.yaml")
    variables = command.rank_environment(spec, run, 0, {"HOME": "/home/jane"}, "/tmp", "/key", "/lib")
    return "\n".join(
        [script.render(spec), " ".join(arguments), *(f"{name}={value}" for name, value in variables.items())]
    )


def test_every_key_has_a_test_that_exists() -> None:
    """The page of the reference names a test for each key."""
    others = reference.OTHER_TESTS
    assert {*ARRIVES, *others} == {key.path for key in config_keys.KEYS}
    assert not set(ARRIVES) & set(others)
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_config*.py"))
    assert [name for name in others.values() if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("path", ARRIVES)
def test_value_arrives(path: str) -> None:
    written, expected = ARRIVES[path]
    assert any(expected in f"{line} " for line in places(path, written).splitlines())


def test_gpus_of_all_nodes_are_the_tensor_parallel_size() -> None:
    assert "--tensor-parallel-size 4 " in places("models.*.gpus", "4")


def test_memory_and_cpus_are_those_of_all_gpus_of_a_node() -> None:
    found = places("models.*.gpus", "4")
    assert "--mem=256G" in found
    assert "--cpus-per-task=64" in found


@pytest.mark.parametrize("method", ["bf16", "fp16", "none", "mxfp4"])
def test_method_that_the_weights_name_needs_no_option(method: str) -> None:
    assert "--quantization" not in places("models.*.quantization", method)


def test_model_without_vision_reads_no_pictures() -> None:
    keys = "huggingface_id: meta-llama/Llama-4-Scout-17B-16E-Instruct, port: 8000"
    blind, seeing = (
        received(config_texts.text(models=f"{{m: {{{keys}, vision: {vision}}}}}")) for vision in ("false", "true")
    )
    assert "--limit-mm-per-prompt" in blind
    assert "--limit-mm-per-prompt" not in seeing


def test_job_script_of_the_document_is_not_used() -> None:
    assert "other.sh" not in places("models.*.job_script", "jobs/other.sh")


def test_interface_reaches_the_job() -> None:
    document = config_texts.with_value("nccl.socket_ifname", "ib1")
    assert builder.build(config_texts.parse(document), "m", SITE).interface == "ib1"


def test_master_port_is_above_its_base() -> None:
    document = config_texts.with_value("distributed.master_port_base", "31000")
    assert builder.build(config_texts.parse(document), "m", SITE).master_port_base == 31000
