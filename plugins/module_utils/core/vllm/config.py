# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the configuration of vLLM's jobs: types, ranges, and the rules between its values.

All errors of a file are found at once, each with its line. What the configuration names and vLLM lacks is mapped, and a
notice says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInputError
from . import config_keys
from .config_document import reader, rules, tree
from .config_document.findings import Finding, Report


@dataclass(frozen=True)
class SlurmSettings:
    account: str
    partition: str
    qos: str
    constraint: str
    reservation: str
    time_default: str
    cpus_per_task: int
    mem_per_gpu: str


@dataclass(frozen=True)
class CacheSettings:
    xdg_cache_home: str
    triton_cache_dir: str
    huggingface_cache: str


@dataclass(frozen=True)
class PathSettings:
    venv_dir: str
    work_dir: str


@dataclass(frozen=True)
class EngineSettings:
    gpu_memory_utilization: float
    max_model_len_default: int
    max_num_seqs: int
    dtype: str
    seed: int | None
    extra_arguments: tuple[str, ...]


@dataclass(frozen=True)
class DistributedSettings:
    rdzv_backend: str
    rdzv_timeout: int
    master_port_base: int


@dataclass(frozen=True)
class NcclSettings:
    socket_ifname: str
    blocksize: int
    ib_timeout: int
    debug: str


@dataclass(frozen=True)
class ModelEntry:
    """A model as configured. C(Config) completes time, partition, context and name."""

    name: str
    huggingface_id: str
    path: str
    job_script: str
    port: int
    gpus: int
    nodes: int
    quantization: str
    vision: bool
    time: str
    partition: str
    max_model_len: int
    extra_arguments: tuple[str, ...]

    @property
    def gpus_per_node(self) -> int:
        """GPUs on each node."""
        return self.gpus // self.nodes

    @property
    def source(self) -> str:
        """What vLLM loads: the local directory, or else the repository."""
        return self.path or self.huggingface_id

    @property
    def engine_quantization(self) -> str:
        """The method for C(--quantization); empty for weights that are not quantized, or that name their method."""
        return "" if self.quantization in config_keys.UNQUANTIZED else self.quantization


@dataclass(frozen=True)
class Config:
    """The whole configuration, with all defaults.

    :param models: each with its own time, partition, context and name, or else the default.
    :param notices: sentences for the user about valid values.
    :param lines: line of each key that the file has, by path (C(models.glm-4.7.port)).
    """

    active_model: str
    slurm: SlurmSettings
    cache: CacheSettings
    paths: PathSettings
    vllm: EngineSettings
    distributed: DistributedSettings
    nccl: NcclSettings
    models: Mapping[str, ModelEntry]
    file: str
    notices: tuple[Finding, ...]
    lines: Mapping[str, int]

    def place(self, path: str) -> str:
        """Name file, line and key for an error that a later check finds: C(config.yaml:12: models.x.gpus)."""
        line = self.lines.get(path) or self.lines.get(path.rpartition(".")[0]) or 1
        return f"{self.file}:{line}: {path}"

    def model(self, key: str) -> ModelEntry:
        """Return a model by its key.

        :raises InvalidInputError: if the configuration has none, with the nearest key.
        """
        if key not in self.models:
            raise rules.unknown_model(key, self.models)
        return self.models[key]


_SECTIONS: dict[str, type[Any]] = {
    "slurm": SlurmSettings,
    "cache": CacheSettings,
    "paths": PathSettings,
    "vllm": EngineSettings,
    "distributed": DistributedSettings,
    "nccl": NcclSettings,
}


def parse(root: tree.Mapping, variables: Mapping[str, str] | None = None) -> Config:
    """Build the configuration from its document.

    :param variables: environment variables that paths may name; None leaves paths as they are written.
    :raises InvalidConfigError: with all errors of the document.
    """
    report = Report(root.file)
    document = reader.read(root, report, variables)
    rules.check(document, report)
    notices = report.finish()
    sections = {name: kind(**document.sections[name]) for name, kind in _SECTIONS.items()}
    return Config(
        active_model=document.sections[""]["active_model"],
        models={key: _model(key, values, sections) for key, values in document.models.items()},
        file=root.file,
        notices=notices,
        lines=document.lines,
        **sections,
    )


def _model(key: str, values: Mapping[str, Any], sections: Mapping[str, Any]) -> ModelEntry:
    entry = ModelEntry(**values)
    return dataclasses.replace(
        entry,
        name=entry.name or key,
        time=entry.time or sections["slurm"].time_default,
        partition=entry.partition or sections["slurm"].partition,
        max_model_len=entry.max_model_len or sections["vllm"].max_model_len_default,
    )


def check_tensor_parallel(config: Config, key: str, heads: int, kv_heads: int) -> None:
    """Check that a model's attention heads can be shared by its GPUs.

    :param heads: attention heads of the model.
    :param kv_heads: its key-value heads; vLLM copies them where there are fewer than GPUs.
    :raises InvalidInputError: with the line of the model's GPUs.
    """
    problem = rules.tensor_parallel_problem(config.models[key].gpus, heads, kv_heads)
    if problem:
        raise InvalidInputError.plain(f"{config.place(f'models.{key}.gpus')}: {problem[0]}", problem[1])
