# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line and the environment of vLLM on each rank."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .run import Run
from .spec import CPU, JobSpec

#: The ASGI class that asks for the key on every path (C(agent/vllm/key_guard.py)), and the variable of its key file.
GUARD, GUARD_VARIABLE = "herd.agent.vllm.key_guard.KeyGuard", "HERD_KEY_FILE"
#: Variables of the caller's environment that vLLM keeps. All others are dropped: proxies, PYTHONPATH, keys, modules.
_KEPT = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "PATH"})
_KEPT_PREFIXES = ("SLURM_", "CUDA_VISIBLE_", "NVIDIA_VISIBLE_", "ROCR_VISIBLE_", "GPU_DEVICE_")
#: Seconds that vLLM needs beside a drain.
STOP_S = 10


def _without(missing: tuple[str, ...], option: str, value: str) -> list[str]:
    return [] if option in missing else [option, value]


def rank_command(spec: JobSpec, run: Run, rank: int, engine_config: str) -> list[str]:
    """Build the command line of vLLM on a rank. Rank 0 has the API, the others are headless.

    :param engine_config: file of mode 0600 with the API key, in the form of C(--config).
    """
    shared = ["--tensor-parallel-size", str(spec.gpus), *spec.arguments]
    nodes = len(run.ranks)
    if nodes > 1:
        shared += [
            *("--distributed-executor-backend", "mp"),
            *("--nnodes", str(nodes), "--node-rank", str(rank)),
            *("--master-addr", run.ranks[0].address, "--master-port", str(run.master_port)),
            *_without(spec.missing, "--distributed-timeout-seconds", str(spec.timing.rendezvous)),
        ]
    if rank:
        return [spec.vllm, "serve", spec.source, *shared, "--headless"]
    own = [
        *("--config", engine_config),
        *("--served-model-name", *spec.names),
        *("--host", run.ranks[0].client, "--port", str(run.port)),
        *("--middleware", GUARD, "--disable-fastapi-docs"),
        *_without(spec.missing, "--shutdown-timeout", str(spec.timing.drain)),
    ]
    return [spec.vllm, "serve", spec.source, *own, *shared]


def engine_config(key: str) -> str:
    """Write the engine's configuration, which keeps the key off the command line and the environment."""
    # JSON text is valid YAML, also with quotes or a colon in the key.
    return f"api-key: {json.dumps(key)}\n"


def cache_folders(spec: JobSpec, home: str, host: str) -> dict[str, str]:
    """Return the folders of caches by environment variable: compiled code by node, files of models shared.

    :param home: the user's home directory.
    """
    cache = spec.cache.completed(home)
    return {
        "XDG_CACHE_HOME": cache.xdg,
        "HF_HOME": cache.huggingface,
        "TRITON_CACHE_DIR": f"{cache.triton}/{host}",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache.xdg}/torchinductor/{host}",
        "VLLM_CACHE_ROOT": f"{cache.xdg}/vllm/{host}",
    }


def _fabric(spec: JobSpec, run: Run, rank: int) -> dict[str, str]:
    here = run.ranks[rank]
    found = {"VLLM_HOST_IP": here.address}
    if here.interface:
        found["GLOO_SOCKET_IFNAME"] = here.interface
    if spec.device == CPU:
        return found
    if here.interface:
        # NCCL takes a name without C(=) as a prefix.
        found["NCCL_SOCKET_IFNAME"] = f"={here.interface}"
    if len(run.ranks) > 1:
        found.update({"NCCL_IB_HCA": f"={','.join(here.adapters)}"} if here.adapters else {"NCCL_IB_DISABLE": "1"})
    return found


def rank_environment(
    spec: JobSpec, run: Run, rank: int, inherited: Mapping[str, str], scratch: str, key_file: str, library: str
) -> dict[str, str]:
    """Build the whole environment of vLLM on a rank.

    :param inherited: environment of the job's step.
    :param scratch: short path of a folder on the node, for sockets and temporary files.
    :param key_file: the key file that the guard reads.
    :param library: folder of the package that the guard is imported from.
    """
    home = inherited.get("HOME", spec.work_dir)
    kept = {n: v for n, v in inherited.items() if n in _KEPT or n.startswith(_KEPT_PREFIXES)}
    found = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **kept,
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": library,
        GUARD_VARIABLE: key_file,
        "TMPDIR": scratch,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # The default of 300 s is the time for which clients of a stopped rank wait.
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(spec.timing.step),
        # Each connection looks up its peer's name. Where no server answers, that takes 10 s without these limits.
        "RES_OPTIONS": "timeout:1 attempts:1",
        **cache_folders(spec, home, run.ranks[rank].host),
        **_fabric(spec, run, rank),
        **({"TORCH_COMPILE_DISABLE": "1"} if spec.device == CPU else {}),
        **spec.environment,
    }
    venv = spec.vllm.rpartition("/")[0]
    return {**found, "PATH": f"{venv}:{found['PATH']}"}
