# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's quantiser agrees with what publishers say of their files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.engine.quantised_sizes import bytes_of, published, quantised
from tests.lab.gguf_writer import header

MODELS = {entry.key: entry.model for entry in published()}

# The publishers' figures; those in GB are rounded to the last digit. A header with the whole vocabulary has less
# than 10 MB.
FIGURES = [
    pytest.param("or1-behemoth", "Q4_K_M", 47369119648, 0, id="behemoth-q4_k_m"),
    pytest.param("or1-behemoth", "Q4_K_S", 43.8e9, 0.05e9, id="behemoth-q4_k_s"),
    pytest.param("or1-behemoth", "Q5_K_S", 51.4e9, 0.05e9, id="behemoth-q5_k_s"),
    pytest.param("or1-behemoth", "Q6_K", 64.3e9, 0.05e9, id="behemoth-q6_k"),
    pytest.param("or1-behemoth", "Q8_0", 77.3e9, 0.05e9, id="behemoth-q8_0"),
    pytest.param("llama-3.1-70b-instruct", "Q4_K_M", 42.52e9, 0.005e9, id="llama-q4_k_m"),
    pytest.param("llama-3.1-70b-instruct", "Q8_0", 74.98e9, 0.005e9, id="llama-q8_0"),
]


@pytest.fixture(scope="module")
def quantiser() -> Path:
    """llama-quantize of a build, which HERD_QUANTISER names."""
    given = os.environ.get("HERD_QUANTISER")
    if not given:
        pytest.skip("HERD_QUANTISER names no llama-quantize")
    return Path(given)


@pytest.mark.parametrize(("key", "kind", "size", "rounding"), FIGURES)
def test_size(key: str, kind: str, size: float, rounding: float, quantiser: Path, tmp_path: Path) -> None:
    path = MODELS[key].write(tmp_path / "model.gguf")
    tensors = quantised(quantiser, path, kind)
    assert len(tensors) == len(MODELS[key].tensors)
    without_vocabulary = len(header([], MODELS[key].tensors))
    assert without_vocabulary <= size + rounding - bytes_of(tensors) and size - rounding - bytes_of(tensors) < 10e6
