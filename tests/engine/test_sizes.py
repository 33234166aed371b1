# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The predicted sizes of quantised models equal those of published files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.builds import binaries
from tests.engine.flag_runs import NEW
from tests.engine.sizes import CASES, quantised
from tests.models.gguf_writer import data_size

MODELS = {case.name: case for case in CASES}

# Sizes as publishers list them: bytes, or GB with a number of digits.
FIGURES = [
    pytest.param("OR1-Behemoth", "Q4_K_S", 43.8e9, 0.05e9, id="behemoth-q4_k_s"),
    pytest.param("OR1-Behemoth", "Q4_K_M", 47369119648, 0, id="behemoth-q4_k_m"),
    pytest.param("OR1-Behemoth", "Q5_K_S", 51.4e9, 0.05e9, id="behemoth-q5_k_s"),
    pytest.param("OR1-Behemoth", "Q6_K", 64.3e9, 0.05e9, id="behemoth-q6_k"),
    pytest.param("OR1-Behemoth", "Q8_0", 77.3e9, 0.05e9, id="behemoth-q8_0"),
    pytest.param("Llama-3.1-70B", "Q4_K_M", 42.52e9, 0.005e9, id="llama-q4_k_m"),
    pytest.param("Llama-3.1-70B", "Q8_0", 74.98e9, 0.005e9, id="llama-q8_0"),
]


@pytest.fixture(scope="module")
def quantiser() -> Path:
    """Return llama-quantize of the newer release."""
    return binaries(NEW) / "llama-quantize"


@pytest.mark.parametrize(("name", "kind", "published", "rounding"), FIGURES)
def test_size(name: str, kind: str, published: float, rounding: float, quantiser: Path, tmp_path: Path) -> None:
    (case,) = [case for key, case in MODELS.items() if key.startswith(name)]
    model = case.model()
    found = quantised(str(quantiser), model.write(tmp_path / "model.gguf"), model, kind)
    assert abs(data_size(found.tensors) + case.header - published) <= rounding
