# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the specification of a vLLM job from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...errors import InvalidInputError
from ...text import bytes_of
from .. import catalogue, config, gpu_support
from . import spec as job_spec


@dataclass(frozen=True)
class Site:
    """Where and for whom a job is built: everything that is no matter of the configuration.

    :param venv_dir: the environment with vLLM, as a path without symbolic links.
    :param nodes: facts of nodes by their names in Slurm.
    """

    user: str
    work_dir: str
    herdctl: str
    venv_dir: str
    way: str = job_spec.USER
    key_file: str = ""
    vllm_release: str = ""
    missing: tuple[str, ...] = ()
    nodes: Mapping[str, job_spec.HostFacts] = field(default_factory=dict)
    device: str = job_spec.CUDA
    qos: str = ""
    gres: str = ""
    constraint: str = ""
    reservation: str = ""
    nodelist: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timing: job_spec.JobTiming = field(default_factory=job_spec.JobTiming)
    ports: int = 8
    requeues: int = 3
    is_renewed: bool = False
    tier: str = ""
    registry: str = ""
    guard: str = ""


#: The pictures and videos of a request that a model without C(vision) reads.
_NO_PICTURES = '{"image": 0, "video": 0}'


def _quantization(entry: config.ModelEntry, published: catalogue.PublishedModel | None) -> str:
    """Return the method for C(--quantization), which vLLM refuses for weights that name another one."""
    method = entry.engine_quantization
    if published is not None:
        return gpu_support.quantization_argument(published.shape, method) or ""
    # MXFP4 exists in checkpoints only. FP8 has several formats in checkpoints, whose names tell of it.
    is_in_checkpoint = method == "mxfp4" or (method == "fp8" and "fp8" in entry.source.lower())
    return "" if is_in_checkpoint else method


def _arguments(settings: config.Config, entry: config.ModelEntry) -> tuple[str, ...]:
    """Build the arguments that all ranks share. vLLM compares few of them between ranks, so none may differ."""
    engine = settings.vllm
    published = catalogue.by_id(entry.huggingface_id)
    found = [
        *("--max-model-len", str(entry.max_model_len)),
        *("--max-num-seqs", str(engine.max_num_seqs)),
        *("--gpu-memory-utilization", f"{engine.gpu_memory_utilization:g}"),
        *("--dtype", engine.dtype),
    ]
    if engine.seed is not None:
        found += ["--seed", str(engine.seed)]
    if method := _quantization(entry, published):
        found += ["--quantization", method]
    if published is not None and published.vision and not entry.vision:
        found += ["--limit-mm-per-prompt", _NO_PICTURES]
    return (*found, *engine.extra_arguments, *entry.extra_arguments)


def _nccl(settings: config.Config) -> dict[str, str]:
    nccl = settings.nccl
    return {
        "NCCL_BUFFSIZE": str(nccl.blocksize),
        "NCCL_IB_TIMEOUT": str(nccl.ib_timeout),
        "NCCL_DEBUG": nccl.debug.upper(),
    }


def _memory(per_gpu: str, gpus: int) -> str:
    """Multiply a size of Slurm, such as 64G; Slurm takes a number without a unit as MiB."""
    size = per_gpu if per_gpu[-1:].isalpha() else f"{per_gpu}M"
    count = bytes_of(size)
    if not count:
        raise InvalidInputError("a size of memory such as 64G", per_gpu, "correct slurm.mem_per_gpu")
    return f"{max(1, count * gpus >> 20)}M" if count * gpus % (1 << 30) else f"{count * gpus >> 30}G"


def cache_folders(settings: config.Config) -> job_spec.CacheFolders:
    """Return the configured folders of caches."""
    cache = settings.cache
    return job_spec.CacheFolders(cache.xdg_cache_home, cache.triton_cache_dir, cache.huggingface_cache)


def build(settings: config.Config, key: str, site: Site) -> job_spec.JobSpec:
    """Build the specification of the job of a model.

    :raises InvalidInputError: if a value has no place in a script, on a command line or in Slurm.
    """
    entry = settings.model(key)
    per_node = entry.gpus_per_node
    work = site.work_dir
    found = job_spec.JobSpec(
        way=site.way,
        user=site.user,
        model=key,
        names=tuple(dict.fromkeys(name for name in (entry.name, key, entry.huggingface_id) if name)),
        source=entry.source,
        work_dir=work,
        script=f"{work}/jobs/{key}.sh",
        herdctl=site.herdctl,
        python=f"{site.venv_dir}/bin/python",
        vllm=f"{site.venv_dir}/bin/vllm",
        vllm_release=site.vllm_release,
        missing=site.missing,
        key_file=site.key_file or f"{work}/api-key",
        nodes=entry.nodes,
        gpus_per_node=per_node,
        cpus_per_node=settings.slurm.cpus_per_task * per_node,
        memory=_memory(settings.slurm.mem_per_gpu, per_node),
        time_limit=entry.time,
        port=entry.port,
        ports=site.ports,
        account=settings.slurm.account,
        partition=entry.partition,
        qos=site.qos or settings.slurm.qos,
        gres=site.gres,
        constraint=site.constraint or settings.slurm.constraint,
        reservation=site.reservation or settings.slurm.reservation,
        nodelist=site.nodelist,
        exclude=site.exclude,
        master_port_base=settings.distributed.master_port_base,
        interface=settings.nccl.socket_ifname,
        hosts=site.nodes,
        device=site.device,
        arguments=_arguments(settings, entry),
        environment={**(_nccl(settings) if site.device == job_spec.CUDA else {}), **site.environment},
        cache=cache_folders(settings),
        context=entry.max_model_len,
        slots=settings.vllm.max_num_seqs,
        timing=replace(site.timing, rendezvous=settings.distributed.rdzv_timeout),
        requeues=site.requeues,
        is_renewed=site.is_renewed,
        tier=site.tier,
        registry=site.registry,
        guard=site.guard,
    )
    job_spec.check(found)
    return found
