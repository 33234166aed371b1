# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of models in the shapes of two APIs."""

from __future__ import annotations

import json

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.gateway import model_list
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.model_list import Description, Model

ENGINE = {
    "models": [{"model": "small", "capabilities": ["completion", "multimodal", 3]}],
    "data": [{"id": "small", "owned_by": "llamacpp", "created": 17, "meta": {"n_ctx_train": 4096}}],
}
SMALL = Model("small", "fast", "ready", Description("llamacpp", 17, 4096, ("completion", "multimodal")))


def test_an_engines_list_is_read() -> None:
    assert model_list.read(json.dumps(ENGINE).encode()) == {"small": SMALL.description}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": 3}', b'{"data": [3, {"id": 4}, {"id": ""}]}', b"[" * 100_000])
def test_an_invalid_list_is_empty(body: bytes) -> None:
    assert model_list.read(body) == {}


def test_invalid_values_are_left_out() -> None:
    data = {"data": [{"id": "a", "owned_by": "x\n", "created": "now", "meta": {"n_ctx_train": -1}, "capabilities": 7}]}
    assert model_list.read(json.dumps(data).encode()) == {"a": model_list.UNKNOWN}


@pytest.mark.parametrize(("created", "year"), [(10**15, "1970"), (253402300799, "9999"), (-1, "1970")])
def test_any_time_can_be_described(created: int, year: str) -> None:
    found = model_list.read(json.dumps({"data": [{"id": "a", "created": created}]}).encode())
    assert model_list.one(Model("a", "fast", "ready", found["a"]), is_anthropic=True)["created_at"].startswith(year)


def test_openais_shape() -> None:
    found = model_list.listed([SMALL], is_anthropic=False)
    assert (found["object"], found["data"][0]["owned_by"], found["data"][0]["created"]) == ("list", "llamacpp", 17)
    herd = {"tier": "fast", "state": "ready", "context": 4096, "capabilities": ["completion", "multimodal"]}
    assert found["data"][0]["herd"] == herd


def test_anthropics_shape() -> None:
    found = model_list.listed([SMALL, Model("large", "slow", "stopped")], is_anthropic=True)
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("small", "large", False)
    assert {"type", "id", "display_name", "created_at"} <= set(found["data"][0])
    assert model_list.listed([], is_anthropic=True)["first_id"] is None
