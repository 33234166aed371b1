# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the kind and the dimensions of each layer from a model's header, as the engine does.

The header has most of the numbers. The tables here hold the rest, from the engine's source: for each architecture, the
layers with a window (load_swa_pattern), the recurrent layers, and the blocks that are skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import InvalidInputError
from . import header_keys

# In each group of this many layers, all but one have a window: all but the last, or (dense first) the first.
_PATTERNS: Mapping[str, int] = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "llama4": 4, "cohere2": 4, "olmo2": 4, "exaone4": 4,
    "afmoe": 4, "plamo3": 8, "smallthinker": 4, "exaone-moe": 4, "cohere2moe": 4, "laguna": 4, "mellum": 4,
    "muse-glimmer": 4,
}  # fmt: skip
# The engine reads the layers with a window only from the files of these architectures and of those above.
_LISTED_WINDOWS = frozenset(("gemma4", "granite_swa", "dots3note", "maple", "mimo2", "spark2_5", "step35"))
# Every layer with attention has the window of the file. Releases up to b7836 ignore it (placement/kv_cache.py).
_ALL_WINDOWED = frozenset(("lfm2",))
_DENSE_FIRST = frozenset(("smallthinker", "cohere2moe", "laguna"))
# The engine uses the window only in models of this many layers.
_WINDOWED_DEPTHS: Mapping[str, int] = {"exaone4": 64}
# Layers from this one on attend to the caches of layers before it.
_FIRST_SHARING: Mapping[str, int] = {"gemma3n": 20}
_DEFAULT_WINDOWS: Mapping[str, int] = {"gemma2": 4096, "exaone4": 4096, "llama4": 8192, "smallthinker": 4096}
# The engine ignores the window in the file of these architectures, or uses another length.
_NO_WINDOW = frozenset(("phi3",))
_FIXED_WINDOWS: Mapping[str, int] = {"llama4": 8192, "smallthinker": 4096}
_RECURRENT = frozenset(("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"))
_HYBRID_BY_KV_HEADS = frozenset(("jamba", "granitehybrid", "lfm2", "lfm2moe", "plamo2"))


class Keys:
    """The keys of a header, without the name of the architecture. An array has one value for each layer."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.architecture = str(metadata.get("general.architecture", ""))
        if not self.architecture:
            raise InvalidInputError("a GGUF file with general.architecture", "none", "choose a language model's file")

    def get(self, key: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int | None = None, layer: int | None = None) -> int:
        """Read a number; of an array, the value of the layer, or the largest without a layer."""
        value = self.get(key)
        if value is None:
            if default is None:
                raise InvalidInputError(
                    f"{self.architecture}.{key} in the file's header", "none", "choose a language model's file"
                )
            return default
        if isinstance(value, tuple):
            numbers = [header_keys.whole_number(self.architecture, key, entry) for entry in value]
            if layer is None:
                return max(numbers, default=0)
            return numbers[layer] if layer < len(numbers) else 0
        return header_keys.whole_number(self.architecture, key, value)


def window_length(keys: Keys) -> int:
    """Return the length of the window in tokens; 0 for none."""
    name = keys.architecture
    if name in _NO_WINDOW or keys.number("block_count", 0) != _WINDOWED_DEPTHS.get(name, keys.number("block_count", 0)):
        return 0
    if name in _FIXED_WINDOWS and keys.get("attention.sliding_window") != 0:
        return _FIXED_WINDOWS[name]
    found = keys.number("attention.sliding_window", _DEFAULT_WINDOWS.get(name, 0))
    is_listed = name in _LISTED_WINDOWS and keys.get("attention.sliding_window_pattern") is not None
    if name in _PATTERNS or name in _ALL_WINDOWED or is_listed:
        return found
    # The engine may ignore the window of an architecture that is not in the table. No window is the upper bound.
    return 0


def _has_window(keys: Keys, layer: int, trunk: int) -> bool:
    if not window_length(keys) or layer >= trunk:
        return False
    if keys.architecture in _ALL_WINDOWED:
        return True
    pattern = keys.get("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return bool(pattern[layer]) if layer < len(pattern) else False
    every = int(pattern) if isinstance(pattern, int) and pattern else _PATTERNS.get(keys.architecture, 0)
    if not every:
        return False
    if keys.architecture in _DENSE_FIRST:
        return layer % every != 0
    return layer % every < every - 1


def latent(keys: Keys) -> Mapping[str, int] | None:
    """Read the dimensions of multi-head latent attention; None without it."""
    rank = keys.number("attention.kv_lora_rank", 0)
    if not rank:
        return None
    heads = keys.number("attention.head_count")
    compressed = keys.get("attention.key_length_mla") is not None
    default = None if compressed else _head_width(keys)
    key = keys.number("attention.key_length_mla" if compressed else "attention.key_length", default)
    value = keys.number("attention.value_length_mla" if compressed else "attention.value_length", default)
    rope = keys.number("rope.dimension_count", 0)
    return {
        "heads": heads, "rank": rank, "key": key, "value": value, "rope": rope, "compressed": int(compressed),
    }  # fmt: skip


def recurrent(keys: Keys) -> Mapping[str, int] | None:
    """Read the dimensions of the recurrence; None without it."""
    if keys.get("shortconv.l_cache") is not None and keys.get("ssm.inner_size") is None:
        return {"conv": keys.number("shortconv.l_cache"), "inner": keys.number("embedding_length")}
    if keys.get("ssm.inner_size") is None:
        return None
    return {
        "conv": keys.number("ssm.conv_kernel", 0),
        "inner": keys.number("ssm.inner_size"),
        "state": keys.number("ssm.state_size", 0),
        "groups": keys.number("ssm.group_count", 0),
        "rank": keys.number("ssm.time_step_rank", 0),
    }


def details(keys: Keys, names: Collection[str]) -> Mapping[str, int]:
    """Read further facts from which the engine builds the graph.

    :param names: of the layers' tensors, without C(blk.N.).
    """
    scale = keys.get("expert_weights_scale") or 0
    # 1 for a scale that changes nothing, 2 for another.
    rare = {
        "deepstack": keys.number("n_deepstack_layers", 0),
        "per_layer_input": keys.number(
            "embedding_length_per_layer_input", 256 if keys.architecture == "gemma3n" else 0
        ),
        "index_heads": keys.number("attention.indexer.head_count", 0),
        "streams": keys.number("hyper_connection.count", 4 if keys.architecture == "gemma3n" else 0),
        "residual_scale": int(bool(keys.get("residual_scale"))),
        "four_positions": int(
            keys.architecture in ("glm4", "glm4moe") and bool(keys.number("rope.dimension_sections", 0))
        ),
        "normed_heads": int(keys.architecture == "glm4moe" and "attn_q_norm.weight" in names),
        # Older files of this architecture have one matrix for both parts of the delta net.
        "joined_net": int(keys.architecture == "qwen3next" and "ssm_in.weight" in names),
        "expert_scale": int(scale != 0) + int(scale not in (0, 1)),
    }
    return {
        **{name: int(value) for name, value in rare.items() if value},
        "query_rank": keys.number("attention.q_lora_rank", 0) if "attn_q_a.weight" in names else 0,
        "expert_groups": keys.number("expert_group_count", 0),
        "embedding_scale": int(keys.get("embedding_scale") is not None),
        "normed_steps": int("ssm_dt_norm.weight" in names),
        "plain_scan": int("ssm_norm.weight" not in names),
    }


def state_floats(keys: Keys) -> int:
    """Compute the floats that a recurrent layer keeps for each slot."""
    if keys.get("wkv.head_size") is not None:
        width = keys.number("embedding_length")
        return width * (keys.number("token_shift_count", 2) + keys.number("wkv.head_size"))
    if keys.get("kda.head_dim") is not None:
        head, heads = keys.number("kda.head_dim"), keys.number("attention.head_count")
        return 3 * max(keys.number("ssm.conv_kernel", 4) - 1, 0) * heads * head + head * head * heads
    found = recurrent(keys)
    if not found:
        return 0
    if "state" not in found:
        return (found["conv"] - 1) * found["inner"]
    history = max(found["conv"] - 1, 0) * (found["inner"] + 2 * found["groups"] * found["state"])
    return history + found["state"] * found["inner"]


def _is_recurrent(keys: Keys, layer: int, tensors: Mapping[str, Any]) -> bool:
    name = keys.architecture
    if name in _RECURRENT or name == "falcon-h1":
        return True
    if name in _HYBRID_BY_KV_HEADS:
        return keys.number("attention.head_count_kv", 0, layer) == 0
    # A layer with tensors of a recurrence keeps a state.
    return any(key.startswith(("ssm_", "shortconv.", "time_mix")) for key in tensors)


def _attends(keys: Keys, layer: int, tensors: Mapping[str, Any], is_recurrent: bool) -> bool:
    name = keys.architecture
    if name in _RECURRENT:
        return False
    if name == "falcon-h1":
        return True
    if name.startswith("nemotron_h"):
        return any(key.startswith("attn_q") for key in tensors)
    return not is_recurrent


def _shares_cache(keys: Keys, layer: int) -> bool:
    """Return whether a layer attends to the cache of an earlier one, and has none of its own."""
    first = _FIRST_SHARING.get(keys.architecture, 0)
    if not first and keys.number("attention.shared_kv_layers", 0):
        first = keys.number("block_count") - keys.number("attention.shared_kv_layers")
    return 0 < first <= layer


def _indexer(keys: Keys, layer: int, trunk: int) -> tuple[int, int]:
    """Return the widths of the key and the value that an indexer keeps for each cell of a layer; 0 without one."""
    width = keys.number("attention.indexer.key_length", 0)
    if not width or layer >= trunk or (keys.architecture == "minimax-m3" and layer < _dense_lead(keys)):
        return 0, 0
    if keys.get("attention.indexer.types") is not None and not keys.number("attention.indexer.types", 1, layer):
        return 0, 0
    if keys.get("attention.key_length_mla") is not None:
        return width, 0
    return width, keys.number("attention.value_length", _head_width(keys))


def _dense_lead(keys: Keys) -> int:
    return keys.number("leading_dense_block_count", 0)


def _head_width(keys: Keys) -> int:
    heads = keys.number("attention.head_count", 0)
    return keys.number("embedding_length") // heads if heads else 0


def trunk_layers(keys: Keys) -> int:
    """Return the number of layers before the blocks that predict further tokens."""
    return keys.number("block_count") - keys.number("nextn_predict_layers", 0)


def layer_facts(
    keys: Keys, layer: int, tensors: Mapping[str, tuple[int, ...]], predicts: bool = False
) -> dict[str, Any]:
    """Compute the dimensions of one layer, as fields of a LayerMetadata.

    :param tensors: names without C(blk.N.), and dimensions.
    :param predicts: whether a block that predicts further tokens is loaded.
    """
    trunk = trunk_layers(keys)
    loaded = layer < trunk or predicts
    is_recurrent = _is_recurrent(keys, layer, tensors)
    attends = _attends(keys, layer, tensors, is_recurrent) and loaded
    heads = keys.number("attention.head_count", 0, layer)
    kv_heads = keys.number("attention.head_count_kv", heads, layer) if attends else 0
    default = _head_width(keys)
    indexer, indexer_value = _indexer(keys, layer, trunk) if attends else (0, 0)
    has_window = _has_window(keys, layer, trunk) and attends
    suffix = "_swa" if has_window and keys.get("attention.key_length_swa") is not None else ""
    compressed = keys.get("attention.key_length_mla") is not None
    return {
        "heads": heads if attends else 0,
        "kv_heads": kv_heads,
        "key": keys.number(f"attention.key_length{suffix}", default) if kv_heads else 0,
        # The latent cache holds no values.
        "value": keys.number(f"attention.value_length{suffix}", default) if kv_heads and not compressed else 0,
        "window": has_window,
        "state": state_floats(keys) if is_recurrent and loaded else 0,
        "inner": _outputs(tensors, "ffn_up.weight"),
        "expert_inner": _expert_inner(tensors),
        "shared_inner": _outputs(tensors, "ffn_up_shexp.weight"),
        "experts_used": keys.number("expert_used_count", 0, layer) if _expert_inner(tensors) else 0,
        "loaded": loaded,
        "shares_cache": attends and _shares_cache(keys, layer),
        "indexer": indexer,
        "indexer_value": indexer_value,
    }


def _outputs(tensors: Mapping[str, tuple[int, ...]], name: str) -> int:
    if name not in tensors or len(tensors[name]) < 2:
        return 0
    # Gate and up in one tensor are twice as wide as their output.
    down = tensors.get("ffn_down.weight")
    return down[0] if down else tensors[name][1]


def _expert_inner(tensors: Mapping[str, tuple[int, ...]]) -> int:
    down = tensors.get("ffn_down_exps.weight")
    return down[0] if down else 0
