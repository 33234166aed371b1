# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask vLLM itself for a model's shape and for the bytes of its cache. Runs with the Python of vLLM's environment.

    python cache_rules.py <QUESTIONS >ANSWERS

QUESTIONS is JSON: C(cases), lists of layers with the settings of a cache, and C(configs), folders with a config.json.
Each layer is [kind, number, window, heads on a GPU, width, bytes of an element]. No model is loaded.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR", CUDA_VISIBLE_DEVICES="")

# Only vLLM's environment has them, so they have no types where this file is checked.
torch: Any = import_module("torch")
interface: Any = import_module("vllm.v1.kv_cache_interface")
kv_cache_utils: Any = import_module("vllm.v1.core.kv_cache_utils")
ModelConfig: Any = import_module("vllm.config").ModelConfig

TYPES = {1: torch.uint8, 2: torch.bfloat16, 4: torch.float32}


def specs(layers: list[list[Any]]) -> dict[str, Any]:
    """Describe each layer as vLLM's models do."""
    found: dict[str, Any] = {}
    for kind, number, window, heads, width, element in layers:
        common = {"num_kv_heads": heads, "head_size": width, "dtype": TYPES[element]}
        for _layer in range(number):
            if kind == "sliding":
                spec = interface.SlidingWindowSpec(block_size=16, sliding_window=window, **common)
            elif kind == "chunked":
                spec = interface.ChunkedLocalAttentionSpec(block_size=16, attention_chunk_size=window, **common)
            elif kind == "latent":
                spec = interface.MLAAttentionSpec(block_size=64, **{**common, "num_kv_heads": 1})
            else:
                spec = interface.FullAttentionSpec(block_size=16, **common)
            found[f"layers.{len(found)}"] = spec
    return found


def cache(case: dict[str, Any]) -> list[list[int]]:
    """Return the bytes of a request, and of a block of the pool, for each context."""
    config = SimpleNamespace(
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=not case["hybrid"]),
        parallel_config=SimpleNamespace(
            decode_context_parallel_size=1, tensor_parallel_size=1, pipeline_parallel_size=1
        ),
        model_config=SimpleNamespace(max_model_len=0),
        cache_config=SimpleNamespace(
            num_gpu_blocks_override=None,
            get_resolved_kv_cache_layout=lambda: SimpleNamespace(is_block_outermost=False),
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        max_in_flight_tokens=case["in_flight"],
    )
    groups = kv_cache_utils.get_kv_cache_groups(config, specs(case["layers"]))
    found = []
    for context in case["contexts"]:
        config.model_config.max_model_len = context
        needed = kv_cache_utils._max_memory_usage_bytes_from_groups(config, groups)
        found.append([needed, kv_cache_utils._pool_bytes_per_block(config, groups)])
    return found


def shape(folder: str) -> dict[str, Any]:
    """Return what vLLM reads from a config.json."""
    model = ModelConfig(model=folder, tokenizer=folder, skip_tokenizer_init=True, enforce_eager=True)
    heads = {}
    for parallel in (1, 2, 4, 8):
        size = SimpleNamespace(tensor_parallel_size=parallel, pipeline_parallel_size=1)
        heads[str(parallel)] = model.get_num_kv_heads(size)
    return {
        "context": model.max_model_len,
        "heads": heads,
        "width": model.get_head_size(),
        "layers": model.get_total_num_hidden_layers(),
        "latent": model.use_mla,
        "chunk": model.attention_chunk_size,
        "experts": model.get_num_experts(),
        "vocabulary": model.get_vocab_size(),
        "quantization": model.quantization,
    }


def main() -> None:
    questions = json.load(sys.stdin)
    json.dump(
        {
            "cases": [cache(case) for case in questions["cases"]],
            "configs": [shape(folder) for folder in questions["configs"]],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
