# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, NotFoundError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import config, config_keys
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config import Config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.config_document import rules, schema
from tests.unit.core.vllm import config_texts

#: A value of each key that is not its default: as written, and as read.
WRITTEN: dict[str, tuple[str, Any]] = {
    "active_model": ("m", "m"),
    "slurm.account": ("p_scads_pathology", "p_scads_pathology"),
    "slurm.partition": ("capella,long", "capella,long"),
    "slurm.qos": ("high", "high"),
    "slurm.constraint": ("h100&ib", "h100&ib"),
    "slurm.reservation": ("course", "course"),
    "slurm.time_default": ('"1-12:00:00"', "1-12:00:00"),
    "slurm.cpus_per_task": ("8", 8),
    "slurm.mem_per_gpu": ("128g", "128G"),
    "cache.xdg_cache_home": ('"/data/horse/ws/$USER/cache"', "/data/horse/ws/jane/cache"),
    "cache.triton_cache_dir": ("${HOME}/triton", "/home/jane/triton"),
    "cache.huggingface_cache": ("/scratch/hf", "/scratch/hf"),
    "paths.venv_dir": ('"~/host_vllm/.venv"', "/home/jane/host_vllm/.venv"),
    "paths.work_dir": ("/data/work", "/data/work"),
    "vllm.gpu_memory_utilization": (".85", 0.85),
    "vllm.max_model_len_default": ("16384", 16384),
    "vllm.max_num_seqs": ("8", 8),
    "vllm.dtype": ("BFloat16", "bfloat16"),
    "vllm.seed": ("42", 42),
    "vllm.extra_arguments": ("[--enable-prefix-caching, --block-size, 16]",
                             ("--enable-prefix-caching", "--block-size", "16")),
    "distributed.rdzv_backend": ("c10d", "c10d"),
    "distributed.rdzv_timeout": ("1800", 1800),
    "distributed.master_port_base": ("31000", 31000),
    "nccl.socket_ifname": ("ib0", "ib0"),
    "nccl.blocksize": ("4194304", 4194304),
    "nccl.ib_timeout": ("20", 20),
    "nccl.debug": ("info", "INFO"),
    "models.*.name": ("Llama-4-Maverick-17B-128E-Instruct", "Llama-4-Maverick-17B-128E-Instruct"),
    "models.*.huggingface_id": ("meta-llama/Llama-4-Scout-17B-16E-Instruct",
                                "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
    "models.*.path": ("/data/models/scout", "/data/models/scout"),
    "models.*.job_script": ("jobs/llama4_maverick_2nodes_8gpus.sh", "jobs/llama4_maverick_2nodes_8gpus.sh"),
    "models.*.port": ("8006", 8006),
    "models.*.gpus": ("8", 8),
    "models.*.nodes": ("1", 1),
    "models.*.quantization": ("FP8", "fp8"),
    "models.*.vision": ("yes", True),
    "models.*.time": ("24:00:00", "24:00:00"),
    "models.*.partition": ("long", "long"),
    "models.*.max_model_len": ("131072", 131072),
    "models.*.extra_arguments": ("[--tool-call-parser=openai]", ("--tool-call-parser=openai",)),
}  # fmt: skip
SECTIONS = {
    "slurm": config.SlurmSettings,
    "cache": config.CacheSettings,
    "paths": config.PathSettings,
    "vllm": config.EngineSettings,
    "distributed": config.DistributedSettings,
    "nccl": config.NcclSettings,
    config_keys.MODEL: config.ModelEntry,
}


def value_of(found: Config, path: str) -> Any:
    section, _dot, name = path.rpartition(".")
    if section == config_keys.MODEL:
        return getattr(found.models["m"], name)
    return getattr(getattr(found, section) if section else found, name)


@pytest.mark.parametrize("path", [key.path for key in config_keys.KEYS])
def test_written_value_is_read(path: str) -> None:
    written, expected = WRITTEN[path]
    assert value_of(config_texts.parse(config_texts.with_value(path, written)), path) == expected


@pytest.mark.parametrize("key", config_keys.KEYS, ids=lambda key: key.path)
@pytest.mark.parametrize("written", ["", '""', "~", "null"])
def test_empty_value_is_the_default_or_an_error(key: config_keys.Key, written: str) -> None:
    document = config_texts.with_value(key.path, written)
    # A model needs one of the two, and completes the rest.
    if key.default == config_keys.REQUIRED or key.name == "huggingface_id":
        assert len(config_texts.errors(document)) == 1
    else:
        left_out = config_texts.parse(config_texts.text())
        assert value_of(config_texts.parse(document), key.path) == value_of(left_out, key.path)


def test_defaults_are_those_of_the_document() -> None:
    found = config_texts.parse(config_texts.text())
    assert found.slurm == config.SlurmSettings("a", "", "", "", "", "12:00:00", 16, "64G")
    assert found.cache == config.CacheSettings("", "", "")
    assert found.paths == config.PathSettings("", "")
    assert found.vllm == config.EngineSettings(0.9, 32768, 16, "auto", None, ())
    assert found.distributed == config.DistributedSettings("c10d", 1200, 29500)
    assert found.nccl == config.NcclSettings("", 1048576, 22, "WARN")
    assert found.models["m"] == config.ModelEntry(
        name="m", huggingface_id="o/n", path="", job_script="", port=8000, gpus=1, nodes=1, quantization="",
        vision=False, time="12:00:00", partition="", max_model_len=32768, extra_arguments=(),
    )  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_fields_of_each_section_are_its_keys(section: str) -> None:
    fields = [field.name for field in dataclasses.fields(SECTIONS[section])]
    assert fields == list(config_keys.in_section(section))


def test_model_takes_the_defaults_of_the_sections() -> None:
    found = config_texts.parse(
        config_texts.text(
            slurm="{account: a, partition: capella, time_default: 6:00:00}",
            vllm="{max_model_len_default: 4096}",
            models="{m: {huggingface_id: o/n, port: 8000, gpus: 8, nodes: 2}, "
            "n: {path: /w, huggingface_id: o/n, port: 8001, time: 1-0, partition: long, max_model_len: 64}}",
        )
    )
    model, other = found.models["m"], found.models["n"]
    assert (model.name, model.time, model.partition, model.max_model_len) == ("m", "6:00:00", "capella", 4096)
    assert (model.gpus_per_node, model.source) == (4, "o/n")
    assert (other.time, other.partition, other.max_model_len, other.source) == ("1-0", "long", 64, "/w")


@pytest.mark.parametrize("written", ["bf16", "FP16", "none", '""'])
def test_unquantized_weights_need_no_option(written: str) -> None:
    found = config_texts.parse(config_texts.with_value("models.*.quantization", written))
    assert found.models["m"].engine_quantization == ""


def test_sample_has_the_nine_models_and_every_key_of_the_document() -> None:
    found = config_texts.parse(config_texts.SAMPLE.read_text(encoding="utf-8"))
    assert found.active_model == "llama-4-scout"
    assert len(found.models) == 9
    maverick = found.models["llama-4-maverick"]
    assert (maverick.port, maverick.gpus, maverick.nodes, maverick.time) == (8006, 8, 2, "24:00:00")
    assert maverick.quantization == "fp8"
    assert maverick.vision
    names = {path.replace("llama-4-maverick", "*") for path in found.lines}
    document = {key.path for key in config_keys.KEYS if not key.is_own}
    # The document shows these two as comments and in another chapter.
    assert document - names == {"vllm.seed", "models.*.partition"}


def test_paths_of_the_sample_are_empty() -> None:
    found = config_texts.parse(config_texts.SAMPLE.read_text(encoding="utf-8"))
    assert {*dataclasses.astuple(found.cache), *dataclasses.astuple(found.paths)} == {""}


@pytest.mark.parametrize(
    ("path", "written", "notice"),
    [
        ("nccl.blocksize", "1048576", "NCCL has no block size; the value sets the size of its buffers "
         "(NCCL_BUFFSIZE)."),
        ("distributed.rdzv_backend", "c10d", "vLLM has no choice of rendezvous; its ranks always meet at a store that "
         "torch calls c10d."),
        ("distributed.rdzv_timeout", "1200", "vLLM calls it --distributed-timeout-seconds; the value is passed under "
         "that name."),
        ("models.*.job_script", "jobs/a.sh", "the file is not used; one template writes every job's script."),
        ("models.*.time", "24:00", "Slurm reads 24:00 as 24 minutes and 0 seconds; hours need HH:MM:SS."),
        ("paths.venv_dir", "/data/horse/ws/YOUR_USERNAME/.venv", "/data/horse/ws/YOUR_USERNAME/.venv is the "
         "placeholder of an example; write your own path, or leave it empty."),
    ],
)  # fmt: skip
def test_notice_says_what_becomes_of_a_value(path: str, written: str, notice: str) -> None:
    document = config_texts.with_value(path, written)
    name = path.rpartition(".")[2]
    line = next(at for at, words in enumerate(document.splitlines(), 1) if words.strip().startswith(name))
    (found,) = config_texts.parse(document).notices
    assert found.sentence("f") == f"f:{line}: {path.replace('*', 'm')}: {notice}"


@pytest.mark.parametrize(
    "written", ["10080", "90:00", "12:00:00", "6:00:00", "1-12", "1-12:30", "01-12:30:15", '"12:00:00"', "0-0:1"]
)
def test_every_time_format_of_slurm_is_accepted(written: str) -> None:
    found = config_texts.parse(config_texts.with_value("models.*.time", written))
    assert found.models["m"].time == written.strip('"')


def test_values_that_are_not_written_bring_no_notice() -> None:
    assert config_texts.parse(config_texts.text()).notices == ()


def test_many_job_scripts_bring_one_notice() -> None:
    found = config_texts.parse(
        config_texts.text(
            models="{m: {huggingface_id: o/n, port: 8000, job_script: a}, n: {path: /w, port: 8001, job_script: b}}"
        )
    )
    assert [notice.key for notice in found.notices] == ["job_script of 2 models"]


def test_later_checks_can_name_the_line() -> None:
    found = config_texts.parse(config_texts.with_value("models.*.gpus", "8"))
    assert found.place("models.m.gpus") == "config.yaml:7: models.m.gpus"
    assert found.place("models.m.nodes") == "config.yaml:4: models.m.nodes"
    assert found.place("nccl.debug") == "config.yaml:1: nccl.debug"


def test_unknown_model_names_the_nearest_one() -> None:
    found = config_texts.parse(config_texts.SAMPLE.read_text(encoding="utf-8"))
    with pytest.raises(NotFoundError, match="write llama-4-scout, the nearest one"):
        found.model("Llama-Scout")
    assert found.model("glm-4.7").nodes == 2


@pytest.mark.parametrize(
    ("gpus", "heads", "kv_heads", "remedy"),
    [
        (8, 64, 8, None),
        (1, 40, 8, None),
        # vLLM copies four key-value heads to eight GPUs.
        (8, 64, 4, None),
        (2, 20, 1, None),
        (3, 64, 8, "write 1, 2 or 4"),
        (6, 96, 8, "write 2, 4 or 8"),
        # The key-value heads cannot be shared by 8 GPUs: 8 is no multiple of 6, nor 6 of 8.
        (8, 96, 6, "write 3, 6 or 12"),
        (80, 40, 8, "write 8 or 40"),
        (2, 1, 1, "write 1"),
    ],
)
def test_gpus_must_share_the_heads(gpus: int, heads: int, kv_heads: int, remedy: str | None) -> None:
    problem = rules.tensor_parallel_problem(gpus, heads, kv_heads)
    assert (problem and problem[1]) == remedy


def test_gpus_that_cannot_share_the_heads_are_named_with_their_line() -> None:
    found = config_texts.parse(config_texts.with_value("models.*.gpus", "3"))
    with pytest.raises(InvalidInputError) as raised:
        config.check_tensor_parallel(found, "m", 64, 8)
    assert str(raised.value) == (
        "config.yaml:7: models.m.gpus: 3 GPUs cannot share 64 attention heads and 8 key-value heads equally: "
        "write 1, 2 or 4."
    )
    config.check_tensor_parallel(found, "m", 12, 3)


def test_schema_accepts_the_sample_and_every_written_value() -> None:
    validator = jsonschema.Draft202012Validator(schema.schema())
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    validator.validate(yaml.safe_load(config_texts.SAMPLE.read_text(encoding="utf-8")))
    for path, (written, _value) in WRITTEN.items():
        # Choices are the same in any case only for the parser, and PyYAML takes 24:00:00 for a number in base 60.
        if path not in ("vllm.dtype", "nccl.debug", "models.*.quantization"):
            validator.validate(yaml.safe_load(config_texts.with_value(path, written)))


@pytest.mark.parametrize(
    "document",
    [
        config_texts.text(slurm="{}"),
        config_texts.text(models="{}"),
        config_texts.text(nonsense="1"),
        config_texts.with_value("models.*.port", "80"),
        config_texts.with_value("models.*.gpu", "1"),
        config_texts.with_value("nccl.debug", "ERROR"),
        config_texts.with_value("slurm.mem_per_gpu", "64GB"),
        config_texts.with_value("slurm.time_default", "1 day"),
        config_texts.with_value("vllm.gpu_memory_utilization", "90"),
    ],
)
def test_schema_refuses_wrong_values(document: str) -> None:
    assert list(jsonschema.Draft202012Validator(schema.schema()).iter_errors(yaml.safe_load(document)))
    assert config_texts.errors(document)
