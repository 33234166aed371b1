# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attention without a kernel in CUDA, by the sources of both releases."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.command_line import CommandLine
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags import guard as flag_guard
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.attention_kernels import (
    AttentionShape,
    has_kernel,
    shapes_of,
)
from ansible_collections.herd.inference.plugins.module_utils.core.engine.flags.subject import EngineBuild, Subject
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import metadata_of
from tests.engine.generated.model import header_of
from tests.engine.models import models
from tests.unit.core.engine.flags.flag_lines import NEW


# For each shape: b7836 on a newer GPU, on a V100, and 0c1e57098 on both.
@pytest.mark.parametrize(
    ("key", "value", "ratio", "kernels"),
    [
        (128, 128, 8, (True, True, True, True)),
        (128, 128, 1, (True, True, True, True)),
        (256, 256, 3, (True, True, True, True)),
        (80, 80, 1, (True, True, True, True)),
        (72, 72, 1, (True, True, True, True)),
        (32, 32, 4, (False, False, False, False)),
        (160, 160, 4, (False, False, False, False)),
        (128, 64, 4, (False, False, False, False)),
        (192, 128, 1, (False, False, False, False)),
        (192, 128, 8, (False, False, True, True)),
        (192, 128, 16, (False, False, True, True)),
        (192, 128, 12, (False, False, False, False)),
        (320, 256, 32, (False, False, True, True)),
        (320, 256, 16, (False, False, False, False)),
        (512, 512, 1, (False, False, False, False)),
        (512, 512, 2, (False, False, True, False)),
        (512, 512, 6, (False, False, True, False)),
        (512, 512, 4, (False, False, True, True)),
        (512, 512, 8, (False, False, True, True)),
        (576, 512, 128, (True, True, True, True)),
        (576, 512, 20, (True, True, True, True)),
        (576, 512, 10, (True, False, True, False)),
        (576, 512, 1, (False, False, False, False)),
        (576, 576, 16, (False, False, False, False)),
    ],
)
def test_kernels_of_both_releases(key: int, value: int, ratio: int, kernels: tuple[bool, ...]) -> None:
    shape = AttentionShape(key, value, ratio)
    found = [has_kernel(shape, newer, volta) for newer in (False, True) for volta in (False, True)]
    assert tuple(found) == kernels


def test_shapes_follow_from_metadata() -> None:
    made = {model.name: shapes_of(metadata_of(header_of(model)).to_data()) for model in models()}
    assert made["llama"] == (AttentionShape(64, 64, 2),)
    compressed = [
        shapes
        for model in models()
        if (metadata_of(header_of(model)).latent or {}).get("compressed")
        for shapes in [made[model.name]]
    ]
    assert compressed and all(shape.key > shape.value for shapes in compressed for shape in shapes)
    assert shapes_of({}) == ()
    assert shapes_of({"architecture": "grok", "kinds": [{"heads": 4, "kv_heads": 2, "key": 100, "value": 100}]}) == ()


@pytest.mark.parametrize(
    ("words", "cuda", "severity"),
    [
        (["--rpc", "a:1", "--device", "RPC0"], True, "error"),
        (["--rpc", "a:1", "--device", "RPC0"], False, ""),
        (["--rpc", "a:1", "--device", "RPC0", "--flash-attn", "off"], True, ""),
        (["--flash-attn", "on"], True, "error"),
        (["--flash-attn", "auto"], True, "warning"),
    ],
)
def test_severity_depends_on_who_finds_out(words: list[str], cuda: bool, severity: str) -> None:
    line = CommandLine(["--port", "1", "--parallel", "1", "--fit", "off", "--cache-ram", "0", *words])
    subject = Subject("head", line, EngineBuild(NEW, cuda), attention=(AttentionShape(192, 128, 1),))
    found = [finding for finding in flag_guard.inspect(subject) if finding.rule == "attention-without-kernel"]
    assert {finding.severity for finding in found} == {severity} - {""}
