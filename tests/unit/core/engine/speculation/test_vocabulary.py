# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vocabularies of a model and its draft differ as the engine says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine.speculation import vocabulary
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf
from ansible_collections.herd.inference.plugins.module_utils.ports.models import gguf_source
from tests.models import gguf_writer

TOKENS = [f"w{number}" for number in range(300)]


def header(place: Path, tokens: list[str] | None = None, **keys: Any) -> gguf.Header:
    fields = {"general.architecture": "llama", **{f"tokenizer.ggml.{key}": value for key, value in keys.items()}}
    if tokens is not None:
        fields[vocabulary.TOKENS] = tokens
    path = place / "model.gguf"
    path.write_bytes(gguf_writer.header([gguf_writer.field(key, value) for key, value in fields.items()], []))
    with gguf_source.open_file(path) as source:
        return gguf.read_header(source, (vocabulary.TOKENS,))


@pytest.mark.parametrize(
    ("tokens", "keys", "difference"),
    [
        (TOKENS, {}, ""),
        (["other"] * 5 + TOKENS[5:], {}, ""),
        (TOKENS[:172], {}, ""),
        (TOKENS[:171], {}, "300 tokens of the model and 171 of the draft"),
        ([*TOKENS[:5], "other", *TOKENS[6:]], {}, "token 5, 'w5' of the model and 'other' of the draft"),
        (TOKENS, {"model": "gpt2"}, "tokenizer.ggml.model 'llama' of the model and 'gpt2' of the draft"),
        (TOKENS, {"eos_token_id": 7}, "tokenizer.ggml.eos_token_id 2 of the model and 7 of the draft"),
        (TOKENS, {"bos_token_id": 7}, ""),
        (None, {}, "a vocabulary (tokenizer.ggml.tokens) in one of the files only"),
    ],
)
def test_difference_is_the_engines(
    tmp_path: Path, tokens: list[str] | None, keys: dict[str, Any], difference: str
) -> None:
    model = header(tmp_path, TOKENS, model="llama", eos_token_id=2)
    draft = header(tmp_path, tokens, **{"model": "llama", "eos_token_id": 2, **keys})
    assert vocabulary.difference(model, draft) == difference


def test_texts_are_kept_on_request_only(tmp_path: Path) -> None:
    kept = header(tmp_path, TOKENS)
    assert kept.metadata[vocabulary.TOKENS] == tuple(TOKENS)
    with gguf_source.open_file(tmp_path / "model.gguf") as source:
        assert gguf.read_header(source).metadata[vocabulary.TOKENS] == gguf.ArraySummary("string", 300)
