# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a model is read from config.json as published, and a hostile one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import model_config
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.model_config import AttentionLayers
from tests.unit import safetensors_bytes as made

DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def attention(**changes: Any) -> list[tuple[str, int, int]]:
    shape = model_config.parse({**DENSE, **changes})
    return [(layers.kind, layers.count, layers.window) for layers in shape.attention]


def test_dense_model_with_grouped_queries() -> None:
    shape = model_config.parse(DENSE)
    assert shape.attention == (AttentionLayers("full", 32),)
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.latent) == (32, 8, 128, 0)
    assert (shape.experts, shape.experts_per_token, shape.expert_inner) == (0, 0, 0)
    assert (shape.context, shape.dtype, shape.quantization, shape.vision) == (131072, "bfloat16", "", None)


def test_model_without_grouped_queries_has_as_many_key_value_heads_as_heads() -> None:
    for value in ({}, {"num_key_value_heads": None}):
        config = {key: entry for key, entry in DENSE.items() if key != "num_key_value_heads"}
        assert model_config.parse({**config, **value}).kv_heads == 32


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("gpt-oss-20b", [("full", 12, 0), ("sliding", 12, 128)]),
        ("gpt-oss-120b", [("full", 18, 0), ("sliding", 18, 128)]),
        ("glm-4.7-flash", [("latent", 47, 0)]),
        ("glm-4.6v", [("full", 46, 0)]),
        ("glm-4.6v-fp8", [("full", 46, 0)]),
        ("llama-4-scout", [("full", 12, 0), ("chunked", 36, 8192)]),
        ("llama-4-maverick", [("full", 12, 0), ("chunked", 36, 8192)]),
        ("glm-4.7", [("full", 92, 0)]),
        ("qwen3-vl-235b", [("full", 94, 0)]),
    ],
)
def test_layers_of_published_models(key: str, expected: list[tuple[str, int, int]]) -> None:
    shape = model_config.parse(made.published(key)["config"])
    assert [(layers.kind, layers.count, layers.window) for layers in shape.attention] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sliding_window": 4096}, [("full", 32, 0)]),
        ({"sliding_window": 4096, "use_sliding_window": False}, [("full", 32, 0)]),
        ({"sliding_window": 128, "model_type": "gpt_oss"}, [("full", 16, 0), ("sliding", 16, 128)]),
        (
            {"sliding_window": 1024, "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 27},
            [("full", 27, 0), ("sliding", 5, 1024)],
        ),
        ({"attention_chunk_size": 8192}, [("full", 8, 0), ("chunked", 24, 8192)]),
        ({"attention_chunk_size": 8192, "no_rope_layers": []}, [("full", 8, 0), ("chunked", 24, 8192)]),
        (
            {"attention_chunk_size": 8192, "no_rope_layers": [1] * 30 + [0] * 2},
            [("full", 2, 0), ("chunked", 30, 8192)],
        ),
        ({"attention_chunk_size": 8192, "no_rope_layer_interval": 2}, [("full", 16, 0), ("chunked", 16, 8192)]),
        ({"attention_chunk_size": 64, "layer_types": ["chunked_attention"] * 32}, [("chunked", 32, 64)]),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, [("latent", 32, 0)]),
    ],
)
def test_kinds_of_layers(changes: dict[str, Any], expected: list[tuple[str, int, int]]) -> None:
    assert attention(**changes) == expected


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 131072),
        ({"rope_type": "llama3", "factor": 16.0, "original_max_position_embeddings": 8192}, 131072),
        ({"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}, 131072),
        ({"rope_type": "yarn", "factor": 4.0}, 524288),
        ({"type": "linear", "factor": 2}, 262144),
        ({"rope_type": "default", "mrope_section": [8, 12, 12]}, 131072),
        ({"rope_type": "linear", "factor": "2"}, 131072),
        ({"rope_type": "linear", "factor": 1e308}, 131072),
        ({"rope_type": "linear", "factor": float("nan")}, 131072),
        ("linear", 131072),
    ],
)
def test_context_follows_the_scaling_of_rope(scaling: Any, context: int) -> None:
    assert model_config.parse({**DENSE, "rope_scaling": scaling}).context == context


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        (None, ""),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8}}},
            },
            "fp8",
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4}}}},
            "int4",
        ),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "compressed-tensors", "config_groups": [1]}, "compressed-tensors"),
    ],
)
def test_quantisation_is_named_by_type_and_bits(settings: Any, method: str) -> None:
    assert model_config.parse({**DENSE, "quantization_config": settings}).quantization == method


def test_vision_model_nests_the_language_model() -> None:
    shape = model_config.parse(made.published("qwen3-vl-235b")["config"])
    assert (shape.width, shape.kv_heads, shape.experts, shape.expert_inner) == (4096, 4, 128, 1536)
    assert shape.vision is not None
    assert (shape.vision.width, shape.vision.inner, shape.vision.heads, shape.vision.merge) == (1152, 4304, 16, 4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": -1}, "hidden_size"),
        ({"hidden_size": 4096.0}, "hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": 10**30}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_key_value_heads": 0}, "num_key_value_heads"),
        ({"head_dim": -128}, "head_dim"),
        ({"vocab_size": 1 << 40}, "vocab_size"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
        ({"layer_types": "full_attention"}, "32 entries of layer_types"),
        ({"layer_types": ["full_attention"] * 31}, "32 entries of layer_types"),
        ({"layer_types": [None] * 32}, "as layer_types"),
        ({"layer_types": ["linear_attention"] * 32}, "as layer_types"),
        ({"layer_types": ["sliding_attention"] * 32}, "window of sliding layers"),
        ({"attention_chunk_size": 8192, "no_rope_layers": [2] * 32}, "no_rope_layers"),
        ({"attention_chunk_size": 8192, "no_rope_layers": [1]}, "no_rope_layers"),
        ({"kv_lora_rank": 512}, "qk_rope_head_dim"),
        ({"mamba_d_state": 128}, "mamba_d_state"),
        ({"index_topk": 2048}, "index_topk"),
        ({"sliding_windows": [128, 256]}, "sliding_windows"),
        ({"architectures": None}, "architectures"),
        ({"architectures": [1]}, "architectures"),
        ({"architectures": ["x" * 300]}, "architectures"),
        ({"quantization_config": {"quant_method": None}}, "quant_method"),
        ({"num_experts": -1}, "num_experts"),
        ({"vision_config": {"hidden_size": 0}}, "hidden_size"),
    ],
)
def test_hostile_configuration_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as raised:
        model_config.parse({**DENSE, **changes})
    assert len(str(raised.value)) < 400
