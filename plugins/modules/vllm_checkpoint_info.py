#!/usr/bin/python
# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_checkpoint_info
short_description: Read the facts about a model for vLLM, and plan its memory
version_added: 0.1.0
description:
  - Reads C(config.json) and the headers of all safetensors files of a checkpoint, on the host or on Hugging Face.
    Of remote files, only the headers are fetched, in ranges, some ten megabytes for 400 GB of weights.
  - With O(gpu), plans the memory of vLLM on so many GPUs, and says which context fits.
  - Files are untrusted. A file that the safetensors library would refuse gives one error, in bounded time and memory.
author: herd.inference contributors (@herd-inference)
extends_documentation_fragment: [herd.inference.attributes.info_module, herd.inference.download_options]
options:
  path:
    description: Folder of the checkpoint on the host.
    type: path
  huggingface_id:
    description: Id of the model on the Hub.
    type: str
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  endpoint:
    description: Address of the Hub, or of a mirror with the same paths.
    type: str
    default: https://huggingface.co
  gpu:
    description: Kind of the GPUs.
    type: str
    choices: [v100-16, v100-32, a100-40, a100-80, l40s-48, h100-80, h100-94, h200-141]
  gpus:
    description: Number of GPUs on all nodes together.
    type: int
    default: 1
  max_model_len:
    description: Context of a request in tokens; the model's own by default.
    type: int
  max_num_seqs:
    description: Requests at a time.
    type: int
    default: 16
  gpu_memory_utilization:
    description: Share of the GPU's memory that vLLM takes.
    type: float
    default: 0.9
  kv_cache_dtype:
    description: Type of the key-value cache, V(auto) or V(fp8).
    type: str
    default: auto
  quantization:
    description: V(fp8) if vLLM quantises a checkpoint of 16 bits.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: See which context fits on eight GPUs
  herd.inference.vllm_checkpoint_info:
    huggingface_id: zai-org/GLM-4.7-FP8
    gpu: h100-80
    gpus: 8
    max_model_len: 131072
  register: model
"""

RETURN = r"""
name:
  description: The folder, or the id.
  returned: success
  type: str
shape:
  description: The model's shape, such as C(layers), C(heads), C(kv_heads), C(context) and C(quantization).
  returned: success
  type: dict
weights:
  description: Bytes of the tensors by group, and in C(total) of all of them.
  returned: success
  type: dict
files:
  description: Number of files.
  returned: success
  type: int
tensors:
  description: Number of tensors.
  returned: success
  type: int
plan:
  description: Bytes on a GPU by part, whether the context C(fits), and the C(largest_context).
  returned: with O(gpu)
  type: dict
sentence:
  description: What fits, or why the context does not.
  returned: with O(gpu)
  type: str
remedies:
  description: Changes with which the context fits, or a shorter one; empty if it fits.
  returned: with O(gpu)
  type: list
  elements: str
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.vllm import gpu_support, memory_plan
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint, remedies
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.checkpoint import Checkpoint
from ansible_collections.herd.inference.plugins.module_utils.herd_module import DOWNLOAD_OPTIONS, HerdModule
from ansible_collections.herd.inference.plugins.module_utils.ports.download.http_client import REQUESTS_ERROR
from ansible_collections.herd.inference.plugins.module_utils.ports.vllm.hub import HubFolder, LocalFolder

SETTINGS = ("max_model_len", "max_num_seqs", "gpu_memory_utilization", "kv_cache_dtype")


def planned(found: Checkpoint, params: dict[str, Any]) -> dict[str, Any]:
    """Plan the memory on the given GPUs; nothing without them."""
    if params["gpu"] is None:
        return {}
    gpus, count = memory_plan.GPU_KINDS[params["gpu"]], params["gpus"]
    method = gpu_support.quantization_argument(found.shape, params["quantization"]) or ""
    settings = memory_plan.EngineMemorySettings(**{name: params[name] for name in SETTINGS}, quantization=method)
    gpu_support.check(found.shape, gpus.compute_capability, kv_cache_dtype=settings.kv_cache_dtype)
    plan = memory_plan.plan(found.shape, found.weights, gpus, count, settings)
    return {
        "plan": plan.as_dict(),
        "sentence": plan.sentence(),
        "remedies": remedies.find(found.shape, found.weights, gpus, count, settings),
    }


def result(module: HerdModule) -> dict[str, Any]:
    """Read the checkpoint, and return the module's result."""
    params = module.params
    if params["path"]:
        found = checkpoint.read(LocalFolder(Path(params["path"])))
    else:
        if REQUESTS_ERROR:
            module.fail_without_requests(REQUESTS_ERROR)
        found = checkpoint.read(
            HubFolder(
                params["huggingface_id"], params["revision"], params["token"], params["endpoint"], params["timeout"]
            )
        )
    return {
        "name": found.name,
        "shape": {**asdict(found.shape), "layers": found.shape.layers},
        "weights": {**asdict(found.weights), "total": found.weights.total},
        "files": len(found.files),
        "tensors": found.tensors,
        **planned(found, params),
    }


def main() -> None:
    options = {
        "path": {"type": "path"},
        "huggingface_id": {"type": "str"},
        "revision": {"type": "str", "default": "main"},
        "endpoint": {"type": "str", "default": "https://huggingface.co"},
        "gpu": {"type": "str", "choices": list(memory_plan.GPU_KINDS)},
        "gpus": {"type": "int", "default": 1},
        "max_model_len": {"type": "int"},
        "max_num_seqs": {"type": "int", "default": 16},
        "gpu_memory_utilization": {"type": "float", "default": 0.9},
        "kv_cache_dtype": {"type": "str", "default": "auto"},
        "quantization": {"type": "str", "default": ""},
        **DOWNLOAD_OPTIONS,
    }
    alternatives = ["path", "huggingface_id"]
    HerdModule(options, required_one_of=[alternatives], mutually_exclusive=[alternatives]).run(result)


if __name__ == "__main__":
    main()
