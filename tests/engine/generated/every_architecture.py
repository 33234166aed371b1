# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models of all architectures that the newest release knows, from the list that skeletons.py writes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests.engine.generated.model import Model
from tests.engine.generated.skeletons import RESULT
from tests.models.gguf_writer import TensorSpec

# Matrices whose rows are shorter are never quantised.
_SHORTEST = 32
# Their headers have arrays of 64-bit numbers, which the writer lacks.
_UNWRITTEN = ("qwen4exp",)
_SINGLE = ("ffn_gate_inp", "norm", "time_mix", "ssm_", "shortconv.conv", "exp_probs", "altup", "pooler", "hc_")


def _type(name: str, dims: tuple[int, ...]) -> str:
    is_matrix = len(dims) > 1 and min(dims) >= _SHORTEST and name.endswith(".weight")
    return "f16" if is_matrix and not any(word in name for word in _SINGLE) else "f32"


def _tensor(text: str, layer: int | None = None) -> TensorSpec:
    name, *rest = text.split()
    dims = tuple(map(int, rest))
    return TensorSpec(name if layer is None else f"blk.{layer}.{name}", dims, _type(name, dims))


@cache
def _listed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text())
    return found


def every_architecture() -> list[Model]:
    """Make a model of each architecture, dense, with experts, or both."""
    return [_model(name, data) for name, data in _listed().items() if name not in _UNWRITTEN]


def _model(name: str, data: dict[str, Any]) -> Model:
    tensors = [_tensor(text) for text in data["rest"]]
    for layer, kind in enumerate(data["layers"]):
        tensors += [_tensor(text, layer) for text in data["kinds"][kind]]
    embeddings = next((each for each in tensors if each.name == "token_embd.weight"), None)
    vocabulary = embeddings.dims[1] if embeddings else 32000
    return Model(name, data["architecture"], data["keys"], tensors, vocabulary)
