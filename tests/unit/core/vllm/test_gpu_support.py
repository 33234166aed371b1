# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs that lack a data type or a quantisation are refused in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.errors import InvalidInputError, MismatchError
from ansible_collections.herd.inference.plugins.module_utils.core.vllm import catalogue, gpu_support
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning.model_config import ModelShape


def shape(quantization: str = "") -> ModelShape:
    return replace(catalogue.MODELS["glm-4.7"].shape, quantization=quantization)


@pytest.mark.parametrize(
    ("quantization", "dtype", "cache", "capability", "refused"),
    [
        ("", "auto", "auto", "7.0", ""),
        ("", "bfloat16", "auto", "7.0", "8.0 or higher for bfloat16"),
        ("", "bfloat16", "auto", "7.5", "8.0 or higher for bfloat16"),
        ("", "bfloat16", "auto", "8.0", ""),
        ("", "float16", "auto", "7.0", ""),
        ("fp8", "auto", "auto", "7.0", "8.0 or higher for fp8 weights"),
        ("fp8", "auto", "auto", "8.0", ""),
        ("fp8", "auto", "auto", "9.0", ""),
        ("mxfp4", "auto", "auto", "7.5", "8.0 or higher for mxfp4 weights"),
        ("mxfp4", "auto", "auto", "9.0", ""),
        ("awq", "auto", "auto", "7.0", "7.5 or higher for awq weights"),
        ("gptq", "auto", "auto", "7.0", ""),
        ("", "auto", "fp8", "8.0", "8.9 or higher for a key-value cache in FP8"),
        ("", "auto", "fp8_e4m3", "8.6", "8.9 or higher for a key-value cache in FP8"),
        ("", "auto", "fp8", "8.9", ""),
        ("newest-method", "auto", "auto", "7.0", ""),
        ("", "bfloat16", "auto", "12.0", ""),
    ],
)
def test_gpus_are_checked(quantization: str, dtype: str, cache: str, capability: str, refused: str) -> None:
    if not refused:
        gpu_support.check(shape(quantization), capability, dtype, cache)
        return
    with pytest.raises(MismatchError, match=refused) as raised:
        gpu_support.check(shape(quantization), capability, dtype, cache)
    assert f"found {capability}" in str(raised.value)


def test_all_problems_are_listed() -> None:
    found = gpu_support.problems(shape("fp8"), "7.0", "bfloat16", "fp8")
    assert len(found) == 3


@pytest.mark.parametrize("capability", ["", "sm_90", "9", "9.0.0", "-1.0"])
def test_capability_that_nvidia_smi_does_not_print_is_refused(capability: str) -> None:
    with pytest.raises(InvalidInputError):
        gpu_support.check(shape(), capability)


@pytest.mark.parametrize(
    ("quantization", "capability", "says"),
    [
        ("fp8", "8.0", "saves memory but no time"),
        ("mxfp4", "9.0", "keeps the weights in MXFP4"),
        ("", "7.0", "serves the model in float16"),
    ],
)
def test_notes_say_what_works_otherwise(quantization: str, capability: str, says: str) -> None:
    assert any(says in note for note in gpu_support.notes(shape(quantization), capability))


@pytest.mark.parametrize(("quantization", "capability"), [("fp8", "8.9"), ("mxfp4", "10.0"), ("", "8.0")])
def test_no_note_where_the_gpu_has_it(quantization: str, capability: str) -> None:
    assert gpu_support.notes(shape(quantization), capability) == []


@pytest.mark.parametrize(
    ("checkpoint", "configured", "argument"),
    [
        ("", "", None),
        ("", "bf16", None),
        ("", "fp8", "fp8"),
        ("fp8", "", None),
        ("fp8", "fp8", None),
        ("fp8", "compressed-tensors", None),
        ("mxfp4", "mxfp4", None),
        ("int4", "compressed-tensors", None),
    ],
)
def test_quantised_checkpoint_gets_no_argument(checkpoint: str, configured: str, argument: str | None) -> None:
    assert gpu_support.quantization_argument(shape(checkpoint), configured) == argument


@pytest.mark.parametrize(
    ("checkpoint", "configured"), [("mxfp4", "fp8"), ("fp8", "awq"), ("awq", "compressed-tensors")]
)
def test_another_method_than_the_checkpoints_is_refused(checkpoint: str, configured: str) -> None:
    with pytest.raises(MismatchError, match=f"{checkpoint} in the checkpoint"):
        gpu_support.quantization_argument(shape(checkpoint), configured)
