# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that the gateway opens."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import api_paths


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/responses",
        "/responses/input_tokens",
        "/rerank",
        "/reranking",
        "/chat/completions/input_tokens",
        "/audio/transcriptions",
        "/audio/translations",
        "/messages",
        "/messages/count_tokens",
        "/tokenize",
        "/detokenize",
        "/infill",
        "/apply-template",
    ],
)
def test_paths_work_with_and_without_v1(path: str) -> None:
    assert {path, f"/v1{path}"} <= set(api_paths.ENGINE_PATHS)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/tokenize", "/tokenize"),
        ("/messages", "/v1/messages"),
        ("/completions", "/completions"),
        ("/v1/completions", "/v1/completions"),
        ("/embeddings", "/embeddings"),
    ],
)
def test_engine_gets_a_path_that_it_knows(path: str, wanted: str) -> None:
    assert api_paths.ENGINE_PATHS[path] == wanted


@pytest.mark.parametrize(
    "path", ["/slots", "/props", "/models/load", "/v1/chat/completions/control", "/tools", "/metrics"]
)
def test_other_paths_are_closed(path: str) -> None:
    assert path not in api_paths.ENGINE_PATHS


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1//chat/completions", "/v1/chat/completions"),
        ("/v1/v1/v1", "/v1"),
        ("/", "/"),
        ("/v1/v1x", "/v1/v1x"),
    ],
)
def test_common_mistakes_are_corrected(path: str, wanted: str) -> None:
    assert api_paths.corrected(path) == wanted
