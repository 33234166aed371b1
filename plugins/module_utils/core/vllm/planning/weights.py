# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add up a checkpoint's tensors by what tensor parallelism and quantisation do to them.

vLLM splits matrices over the GPUs, and keeps some tensors on each: norms, the experts' router, the compressed
projections of latent attention, and keys and values where there are more GPUs than key-value heads. Source: vLLM 0.33,
C(model_executor/models) and C(layers/linear.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from .model_config import ModelShape
from .safetensors import Tensor

_LAYER = re.compile(r"(?:^|\.)layers\.([0-9]{1,6})\.")
_VISION = re.compile(r"(?:^|\.)(?:visual|vision_model|vision_tower|multi_modal_projector|vision_adapter)\.")
_KEYS_VALUES = re.compile(r"\.[kv]_proj\.")
_DRAFT = re.compile(r"(?:^|\.)mtp\.")
_REPLICATED = re.compile(r"\.(?:router|gate|q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj|eh_proj)\.(?:weight|bias|e_)")
_EXPERTS = re.compile(r"\.experts\.")
_VOCABULARY = re.compile(r"(?:^|\.)(?:embed_tokens|lm_head|head)\.weight$")
#: Multiples to which vLLM's Marlin back end rounds up the width and the experts' width of MXFP4 models (vLLM 0.33,
#: C(fused_moe/oracle/mxfp4.py)); its other back ends on NVIDIA GPUs round up to the same or less.
_MXFP4_WIDTH, _MXFP4_INNER = 256, 128


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a checkpoint's tensors.

    :ivar linear: matrices that are split and that vLLM can quantise.
    :ivar keys_values: projections of keys and values, split over as many GPUs as there are heads.
    :ivar experts: matrices of experts, split.
    :ivar vision: the encoder of images, split where the GPUs divide its heads.
    :ivar vocabulary: embeddings and the output, split and never quantised.
    :ivar replicated: kept on each GPU.
    :ivar draft: layers for speculative decoding, not loaded.
    """

    linear: int = 0
    keys_values: int = 0
    experts: int = 0
    vision: int = 0
    vocabulary: int = 0
    replicated: int = 0
    draft: int = 0

    @property
    def total(self) -> int:
        """Bytes of the whole checkpoint, as on the disk."""
        return sum(getattr(self, each.name) for each in fields(self))

    @property
    def loaded(self) -> int:
        """Bytes that vLLM loads."""
        return self.total - self.draft

    def per_gpu(self, shape: ModelShape, tensor_parallel: int) -> int:
        """Compute the bytes on the GPU with the most."""
        experts = self.experts
        if shape.quantization == "mxfp4":
            experts = _padded(experts, shape.width, _MXFP4_WIDTH)
            experts = _padded(experts, max(1, shape.expert_inner // tensor_parallel), _MXFP4_INNER)
        vision_parts = tensor_parallel if shape.vision and shape.vision.heads % tensor_parallel == 0 else 1
        return (
            _part(self.linear + experts + self.vocabulary, tensor_parallel)
            + _part(self.keys_values, min(tensor_parallel, shape.kv_heads))
            + _part(self.vision, vision_parts)
            + self.replicated
        )

    def halved(self) -> WeightBytes:
        """Return the bytes after vLLM's own FP8 quantisation of a 16-bit checkpoint."""
        return replace(self, linear=self.linear // 2, keys_values=self.keys_values // 2, experts=self.experts // 2)


def of_tensors(tensors: Mapping[str, Tensor], shape: ModelShape) -> WeightBytes:
    """Sort the tensors of all files into the groups."""
    sizes = dict.fromkeys((each.name for each in fields(WeightBytes)), 0)
    for name, tensor in tensors.items():
        sizes[_group(name, tensor, shape)] += tensor.size
    return WeightBytes(**sizes)


def _group(name: str, tensor: Tensor, shape: ModelShape) -> str:
    if _VISION.search(name):
        return "vision"
    layer = _LAYER.search(name)
    if _DRAFT.search(name) or (layer and int(layer[1]) >= shape.layers):
        return "draft"
    if _EXPERTS.search(name):
        return "experts"
    if len(tensor.shape) < 2 or _REPLICATED.search(name):
        return "replicated"
    if _KEYS_VALUES.search(name):
        return "keys_values"
    return "vocabulary" if _VOCABULARY.search(name) else "linear"


def _part(size: int, parts: int) -> int:
    return -(-size // parts)


def _padded(size: int, width: int, multiple: int) -> int:
    return _part(size * _part(width, multiple) * multiple, width)
