# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Type and range of each number of a model's header that a plan is computed from.

A header is untrusted, so a value is checked where it is read. Types are those that the engine accepts
(src/llama-model-loader.cpp), limits are the engine's (src/llama-hparams.h), or far above published models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidInputError

#: Most layers and experts of a model (LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS of release 0c1e57098).
MAX_LAYERS = 512
MAX_EXPERTS = 1024
_DIMENSION = 1 << 20
_SHOWN = 60
REMEDY = "choose a file that the engine can read, or convert the model again"


@dataclass(frozen=True)
class KeyRange:
    """The values of a key.

    :param by_layer: whether the key may be an array with one value for each layer.
    :param flags: whether the values of such an array may be booleans.
    """

    least: int = 0
    most: int = _DIMENSION
    by_layer: bool = False
    flags: bool = False

    def holds(self, value: object) -> bool:
        """Return whether a value is a whole number in this range."""
        if not isinstance(value, int) or (isinstance(value, bool) and not self.flags):
            return False
        return self.least <= value <= self.most

    def error(self, name: str, short: str, value: object, remedy: str) -> InvalidInputError:
        """Return the error of a value that is not in this range."""
        text = repr(value)
        return InvalidInputError(
            f"{name} as a whole number from {self.least} to {self.most}",
            f"{short} of {text if len(text) < _SHOWN else text[:_SHOWN] + '…'}",
            remedy,
        )


TOKENS = KeyRange(0, (1 << 31) - 1)
_LAYERS = KeyRange(0, MAX_LAYERS)
_HEADS = KeyRange(0, 1 << 16, by_layer=True)
_WIDTH = KeyRange(0, 1 << 24, by_layer=True)
_OF_HEAD = KeyRange(0, 1 << 16)
_EXPERTS = KeyRange(0, MAX_EXPERTS)
#: Keys without the architecture's name. A number that is not listed has the range of KeyRange().
KEYS: Mapping[str, KeyRange] = {
    "block_count": KeyRange(1, MAX_LAYERS),
    "context_length": TOKENS,
    "embedding_length": KeyRange(1),
    "feed_forward_length": _WIDTH,
    "features_length": KeyRange(1),
    "leading_dense_block_count": _LAYERS,
    "decoder_block_count": _LAYERS,
    "hrm.layers_per_stack": KeyRange(1, MAX_LAYERS),
    "hrm.h_cycles": KeyRange(1, MAX_LAYERS),
    "hrm.l_cycles": KeyRange(1, MAX_LAYERS),
    "nextn_predict_layers": _LAYERS,
    "n_deepstack_layers": _LAYERS,
    "attention.head_count": _HEADS,
    "attention.head_count_kv": _HEADS,
    "attention.key_length": _OF_HEAD,
    "attention.value_length": _OF_HEAD,
    "attention.key_length_mla": _OF_HEAD,
    "attention.value_length_mla": _OF_HEAD,
    "attention.key_length_swa": _OF_HEAD,
    "attention.value_length_swa": _OF_HEAD,
    "attention.kv_lora_rank": _OF_HEAD,
    "attention.q_lora_rank": _OF_HEAD,
    "attention.sliding_window": TOKENS,
    "attention.sliding_window_pattern": KeyRange(0, MAX_LAYERS, by_layer=True, flags=True),
    "attention.shared_kv_layers": _LAYERS,
    "attention.indexer.head_count": KeyRange(0, 1 << 16),
    "attention.indexer.key_length": _OF_HEAD,
    "attention.indexer.top_k": TOKENS,
    "rope.dimension_count": _OF_HEAD,
    "expert_count": _EXPERTS,
    "expert_used_count": KeyRange(0, MAX_EXPERTS, by_layer=True),
    "expert_group_count": _EXPERTS,
    "expert_shared_count": _EXPERTS,
    "expert_feed_forward_length": _WIDTH,
    "shortconv.l_cache": KeyRange(1, 1 << 12),
    "ssm.conv_kernel": KeyRange(0, 1 << 12),
    "ssm.inner_size": KeyRange(1, 1 << 24),
    "ssm.state_size": KeyRange(0, 1 << 16),
    "ssm.group_count": KeyRange(0, 1 << 16),
    "ssm.time_step_rank": KeyRange(0, 1 << 20),
    "wkv.head_size": KeyRange(1, 1 << 16),
    "token_shift_count": KeyRange(0, 1 << 12),
    "kda.head_dim": KeyRange(1, 1 << 16),
}
#: Keys with a fraction.
FRACTIONS = ("expert_weights_scale", "embedding_scale")


def whole_number(architecture: str, key: str, value: object) -> int:
    """Return a value if it is a whole number in the range of its key."""
    limits = KEYS.get(key, KeyRange())
    if not isinstance(value, int) or not limits.holds(value):
        raise refused(architecture, key, value)
    return int(value)


def refused(architecture: str, key: str, value: object) -> InvalidInputError:
    """Return the error of a value that is not in the range of its key."""
    limits = KEYS.get(key, KeyRange())
    return limits.error(f"{architecture}.{key} in the file's header", key, value, REMEDY)


def check(architecture: str, key: str, value: object, layers: int, kind: str = "") -> None:
    """Check the type and the range of a value, and that an array has a value for each layer.

    :param layers: the block_count.
    :param kind: name of the type in the file; empty if it is unknown.
    :raises InvalidInputError: if the engine would refuse the value, or no plan can be computed from it.
    """
    name = f"{architecture}.{key} in the file's header"
    if key in FRACTIONS:
        if not isinstance(value, float) or not math.isfinite(value):
            raise InvalidInputError(f"{name} as a finite number of type float32", f"{key} of {value!r}", REMEDY)
        return
    limits = KEYS.get(key, KeyRange())
    if not isinstance(value, tuple) or not limits.by_layer:
        whole_number(architecture, key, value)
        if kind and kind != "uint32":
            raise InvalidInputError(f"{name} as a number of type uint32", f"{key} of type {kind}", REMEDY)
        return
    if len(value) != layers:
        raise InvalidInputError(
            f"{name} with one value for each of {layers} layers (block_count)",
            f"{key} with {len(value)} values",
            REMEDY,
        )
    for entry in value:
        whole_number(architecture, key, entry)
