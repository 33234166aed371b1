# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the shape of a model from its config.json: what its weights and its key-value cache need.

The keys are those of the Transformers library. A model for images nests the language model under C(text_config). A kind
of layer that this file does not know is refused, since a plan that leaves it out would promise too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...values import invalid

FULL, SLIDING, CHUNKED, LATENT = "full", "sliding", "chunked", "latent"
_KINDS = {"full_attention": FULL, "sliding_attention": SLIDING, "chunked_attention": CHUNKED}
#: Keys of layers that keep another state than keys and values of each token.
_UNKNOWN = (
    "attn_layer_period",
    "full_attention_interval",
    "hybrid_override_pattern",
    "index_topk",
    "linear_num_key_heads",
    "mamba_d_state",
    "mamba_num_heads",
    "sliding_windows",
    "ssm_cfg",
)
_TEXT = ("text_config", "llm_config", "language_config")
#: RoPE types that do not multiply the published context, as in vLLM's C(_get_and_verify_max_len).
_UNSCALED = ("default", "llama3", "longrope", "mrope", "su")
_REMEDY = "compare config.json with the publisher's, or start vLLM without a plan"
_LAYERS, _WIDTH, _HEADS, _VOCABULARY, _CONTEXT, _EXPERTS = 1 << 10, 1 << 20, 1 << 12, 1 << 24, 1 << 31, 1 << 16


@dataclass(frozen=True)
class AttentionLayers:
    """Layers of one kind.

    :ivar window: tokens that a sliding or chunked layer keeps; 0 for the others.
    """

    kind: str
    count: int
    window: int = 0


@dataclass(frozen=True)
class VisionShape:
    """The encoder of images. C(merge) is the number of patches that become one token."""

    width: int
    inner: int
    heads: int
    merge: int


@dataclass(frozen=True)
class ModelShape:
    """What a plan needs to know of a model.

    :ivar latent: width of the compressed keys and values of a token; 0 without latent attention (MLA).
    :ivar inner: width of the dense feed-forward layers; C(expert_inner) that of one expert.
    :ivar context: longest context that vLLM accepts without an override.
    :ivar dtype: C(bfloat16), C(float16) or C(float32).
    :ivar quantization: C(fp8), C(mxfp4), another method, or nothing.
    :ivar draft_layers: layers behind the model for speculative decoding, which vLLM does not load without it.
    """

    architecture: str
    attention: tuple[AttentionLayers, ...]
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int
    vocabulary: int
    inner: int
    experts: int
    experts_per_token: int
    expert_inner: int
    context: int
    dtype: str
    quantization: str
    draft_layers: int
    vision: VisionShape | None

    @property
    def layers(self) -> int:
        """Number of layers with a key-value cache."""
        return sum(layers.count for layers in self.attention)

    @property
    def split_heads(self) -> int:
        """Key-value heads that limit tensor parallelism: latent attention has one vector for all of them."""
        return 1 if self.latent else self.kv_heads


def parse(config: Mapping[str, Any]) -> ModelShape:
    """Read the shape from a parsed config.json."""
    text = next((config[key] for key in _TEXT if isinstance(config.get(key), Mapping)), config)
    for key in _UNKNOWN:
        if text.get(key) not in (None, False, 0, [], {}):
            raise invalid("layers with plain, sliding, chunked or latent attention", f"{key} in config.json", _REMEDY)
    width = _whole(text, "hidden_size", 1, _WIDTH)
    heads = _whole(text, "num_attention_heads", 1, _HEADS)
    experts = _first(text, ("num_local_experts", "n_routed_experts", "num_experts"), _EXPERTS)
    inner = _whole(text, "intermediate_size", 1, _WIDTH, 4 * width)
    return ModelShape(
        architecture=_architecture(config),
        attention=_attention(text),
        width=width,
        heads=heads,
        kv_heads=_whole(text, "num_key_value_heads", 1, _HEADS, heads),
        head_dim=_whole(text, "head_dim", 1, _WIDTH, max(1, width // heads)),
        latent=_latent(text),
        vocabulary=_whole(text, "vocab_size", 1, _VOCABULARY),
        inner=_whole(text, "intermediate_size_mlp", 1, _WIDTH, inner),
        experts=experts,
        experts_per_token=_first(text, ("num_experts_per_tok", "experts_per_token"), _EXPERTS) if experts else 0,
        expert_inner=_whole(text, "moe_intermediate_size", 1, _WIDTH, inner) if experts else 0,
        context=_context(text),
        dtype=_dtype(config, text),
        quantization=_quantization(config, text),
        draft_layers=_whole(text, "num_nextn_predict_layers", 0, _LAYERS, 0),
        vision=_vision(config),
    )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str) or len(names[0]) > 200:
        raise invalid("the name of a class as architectures of config.json", names, _REMEDY)
    return names[0]


def _attention(text: Mapping[str, Any]) -> tuple[AttentionLayers, ...]:
    """Count the layers of each kind."""
    layers = _whole(text, "num_hidden_layers", 1, _LAYERS)
    if _latent(text):
        return (AttentionLayers(LATENT, layers),)
    chunk = _whole(text, "attention_chunk_size", 1, _CONTEXT, 0)
    window = _whole(text, "sliding_window", 1, _CONTEXT, 0) if text.get("use_sliding_window") is not False else 0
    types = text.get("layer_types")
    if types is not None:
        kinds = _listed(types, layers)
    elif chunk:
        kinds = _chunked(text, layers)
    elif window and text.get("model_type") == "gpt_oss":
        kinds = [SLIDING if layer % 2 == 0 else FULL for layer in range(layers)]
    else:
        # A window without a list of layers is counted as full attention: a bound that is never too small.
        kinds = [FULL] * layers
    counts = Counter(kinds)
    sizes = {FULL: 0, SLIDING: window, CHUNKED: chunk}
    for kind in counts:
        if kind != FULL and not sizes[kind]:
            raise invalid(f"the window of {kind} layers in config.json", None, _REMEDY)
    return tuple(AttentionLayers(kind, counts[kind], sizes[kind]) for kind in sizes if counts[kind])


def _listed(types: Any, layers: int) -> list[str]:
    if not isinstance(types, list) or len(types) != layers:
        raise invalid(f"{layers} entries of layer_types", types, _REMEDY)
    for kind in types:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise invalid(f"{', '.join(_KINDS)} as layer_types", kind, _REMEDY)
    return [_KINDS[kind] for kind in types]


def _chunked(text: Mapping[str, Any], layers: int) -> list[str]:
    """Find Llama 4's global layers: those without RoPE, by default every fourth one."""
    listed = text.get("no_rope_layers")
    if listed in (None, []):
        interval = _whole(text, "no_rope_layer_interval", 1, _LAYERS, 4)
        listed = [0 if (layer + 1) % interval == 0 else 1 for layer in range(layers)]
    if not isinstance(listed, list) or len(listed) != layers or not all(entry in (0, 1) for entry in listed):
        raise invalid(f"{layers} entries of 0 or 1 as no_rope_layers", listed, _REMEDY)
    return [CHUNKED if rope else FULL for rope in listed]


def _latent(text: Mapping[str, Any]) -> int:
    rank = _whole(text, "kv_lora_rank", 1, _WIDTH, 0)
    return rank + _whole(text, "qk_rope_head_dim", 1, _WIDTH) if rank else 0


def _context(text: Mapping[str, Any]) -> int:
    """Derive the longest context as vLLM does: the published one, multiplied where RoPE is scaled."""
    context = _whole(text, "max_position_embeddings", 1, _CONTEXT)
    scaling = text.get("rope_scaling") or text.get("rope_parameters")
    if not isinstance(scaling, Mapping):
        return context
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    factor = scaling.get("factor", 1)
    if kind in _UNSCALED or not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 1 <= factor <= 4096:
        return context
    if kind == "yarn":
        context = _whole(scaling, "original_max_position_embeddings", 1, _CONTEXT, context)
    return min(int(context * factor), _CONTEXT)


def _dtype(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """Read the type of unquantised weights. vLLM reads it from the weights where config.json has none."""
    for where in (text, config):
        for key in ("dtype", "torch_dtype"):
            if where.get(key) in ("bfloat16", "float16", "float32"):
                return str(where[key])
    return "bfloat16"


def _quantization(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    """Name the quantisation. The general formats are named by type and bits, such as C(fp8) and C(int4)."""
    settings = config.get("quantization_config") or text.get("quantization_config")
    if not isinstance(settings, Mapping):
        return ""
    method = settings.get("quant_method")
    if not isinstance(method, str) or not 0 < len(method) <= 40:
        raise invalid("a method as quant_method of config.json", method, _REMEDY)
    if method != "compressed-tensors":
        return method
    groups = settings.get("config_groups")
    weights = [
        group["weights"]
        for group in (groups.values() if isinstance(groups, Mapping) else ())
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping)
    ]
    names = sorted({f"{'fp' if entry.get('type') == 'float' else 'int'}{entry.get('num_bits')}" for entry in weights})
    return names[0] if len(names) == 1 and len(names[0]) <= 5 else method


def _vision(config: Mapping[str, Any]) -> VisionShape | None:
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return None
    width = _whole(vision, "hidden_size", 1, _WIDTH)
    merge = _whole(vision, "spatial_merge_size", 1, 16, 2)
    heads = _first(vision, ("num_heads", "num_attention_heads"), _HEADS) or 1
    return VisionShape(width, _whole(vision, "intermediate_size", 1, _WIDTH, 4 * width), heads, merge * merge)


def _first(data: Mapping[str, Any], keys: tuple[str, ...], most: int) -> int:
    """Read the first of several names of a number; 0 without any."""
    return next((_whole(data, key, 0, most) for key in keys if data.get(key) is not None), 0)


def _whole(data: Mapping[str, Any], key: str, least: int, most: int, default: int | None = None) -> int:
    value = data.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"a whole number from {least} to {most} as {key} of config.json", value, _REMEDY)
    return value
