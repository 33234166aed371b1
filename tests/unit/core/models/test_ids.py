# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of models, as clients of a router and of a head send them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.filter.model_id import model_id
from ansible_collections.herd.inference.plugins.module_utils.core.models import ids


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("strand-rust-coder-14b-q8_0.gguf", "strand-rust-coder-14b-q8_0"),
        ("/m/deep/DeepSeek-V3-Q4_K_M-00001-of-00009.gguf", "DeepSeek-V3-Q4_K_M"),
        ("Qwen2.5-72B.Q4_K_M.gguf", "Qwen2.5-72B.Q4_K_M"),
    ],
)
def test_router_names_model_by_its_file(file: str, name: str) -> None:
    assert ids.file_id(file) == name


@pytest.mark.parametrize(
    ("kind", "model", "expected"),
    [
        ("router", {"name": "Strand", "file": "strand-rust-coder-14b-q8_0.gguf"}, "strand-rust-coder-14b-q8_0"),
        ("router", {"name": "V3", "file": "DeepSeek-V3-Q4_K_M-00001-of-00009.gguf"}, "DeepSeek-V3-Q4_K_M"),
        ("distributed", {"name": "OR1-Behemoth", "file": "OR1-Behemoth.Q4_K_M.gguf"}, "OR1-Behemoth"),
        ("distributed", {"file": "folder/x.gguf"}, "x"),
    ],
)
def test_id_depends_on_kind_of_tier(kind: str, model: dict[str, Any], expected: str) -> None:
    assert model_id(model, kind) == ids.api_id(kind, model) == expected
