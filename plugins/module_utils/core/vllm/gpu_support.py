# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that GPUs can serve a model with its data type and its quantisation.

C(environment) checks the release, the driver and Python. Sources, read in vLLM 0.33 and not run on each kind of GPU:
C(platforms/cuda.py) for data types, C(get_min_capability) of C(layers/quantization) for methods, C(config/model.py) for
the methods that vLLM accepts with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import HerdError, MismatchError
from .environment import capability as parse_capability
from .environment import dotted
from .planning.model_config import ModelShape

Capability = tuple[int, int]
_BFLOAT, _NATIVE_FP8, _NATIVE_FP4 = (8, 0), (8, 9), (10, 0)
#: Lowest compute capability of a quantisation.
QUANTIZATIONS: Mapping[str, Capability] = {
    "awq": (7, 5),
    "awq_marlin": (7, 5),
    "compressed-tensors": (7, 0),
    "fp4": (8, 0),
    "fp8": (8, 0),
    "gptq": (6, 0),
    "gptq_marlin": (8, 0),
    "int4": (7, 0),
    "int8": (7, 5),
    "modelopt": (8, 9),
    "modelopt_fp4": (8, 0),
    "mxfp4": (8, 0),
}
#: Values of a configuration that mean a checkpoint of 16 bits.
UNQUANTIZED = ("", "none", "bf16", "bfloat16", "fp16", "float16")
#: Names that a configuration may use for the formats of compressed-tensors.
_COMPRESSED = ("fp4", "fp8", "int4", "int8")


def check(shape: ModelShape, compute_capability: str, dtype: str = "auto", kv_cache_dtype: str = "auto") -> None:
    """Refuse GPUs that cannot serve a model.

    :param shape: with the quantisation in which vLLM serves the model.
    :raises MismatchError: with the first of the problems.
    """
    for problem in problems(shape, compute_capability, dtype, kv_cache_dtype):
        raise problem


def problems(
    shape: ModelShape, compute_capability: str, dtype: str = "auto", kv_cache_dtype: str = "auto"
) -> list[HerdError]:
    """List everything about the GPUs that prevents a start, each as an error of one sentence."""
    capability = parse_capability(compute_capability)
    wanted = []
    if dtype == "bfloat16":
        wanted.append((_BFLOAT, "bfloat16", "set dtype to float16"))
    if shape.quantization in QUANTIZATIONS:
        lowest = QUANTIZATIONS[shape.quantization]
        wanted.append((lowest, f"{shape.quantization} weights", "choose other GPUs, or an unquantised checkpoint"))
    if kv_cache_dtype.startswith("fp8"):
        wanted.append((_NATIVE_FP8, "a key-value cache in FP8", "set kv-cache-dtype to auto"))
    return [
        MismatchError(f"GPUs of compute capability {dotted(lowest)} or higher for {what}", compute_capability, remedy)
        for lowest, what, remedy in wanted
        if capability < lowest
    ]


def notes(shape: ModelShape, compute_capability: str, dtype: str = "auto") -> list[str]:
    """List in sentences what works otherwise than its name says."""
    capability = parse_capability(compute_capability)
    found = []
    if shape.quantization == "fp8" and capability < _NATIVE_FP8:
        found.append(
            f"Compute capability {compute_capability} has no FP8 units: vLLM's Marlin kernels keep the weights in FP8 "
            "and compute in 16 bits, which saves memory but no time."
        )
    if shape.quantization == "mxfp4" and capability < _NATIVE_FP4:
        found.append(
            f"Compute capability {compute_capability} has no FP4 units: vLLM keeps the weights in MXFP4 and computes "
            "in 16 bits."
        )
    if dtype == "auto" and shape.dtype == "bfloat16" and capability < _BFLOAT:
        found.append(
            f"Compute capability {compute_capability} has no bfloat16: vLLM serves the model in float16, whose smaller "
            "range can turn large activations into infinities."
        )
    return found


def quantization_argument(shape: ModelShape, configured: str) -> str | None:
    """Return the value of C(--quantization), or None where vLLM reads the method from the checkpoint.

    vLLM refuses a value that differs from the checkpoint's own name of its method. So a quantised checkpoint gets no
    argument; the configured method only has to be the one that the checkpoint has.

    :raises MismatchError: if the checkpoint has another method.
    """
    if configured in UNQUANTIZED:
        return None
    if not shape.quantization:
        return configured
    if configured == shape.quantization or (configured == "compressed-tensors" and shape.quantization in _COMPRESSED):
        return None
    raise MismatchError(
        f"the configured quantisation {configured}",
        f"{shape.quantization} in the checkpoint",
        "set quantization to that of the checkpoint, or leave it out",
    )
