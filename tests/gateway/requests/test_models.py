# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of models: as each API wants it, only what a key opens, and with what the engine says of its model."""

from __future__ import annotations

import json
import socket
from urllib.parse import quote

import pytest

from tests.gateway.conftest import Client, chat
from tests.gateway.harness import FAST_MODEL, REASONING_MODEL, Engine, Gateway
from tests.gateway.wire import double, json_answer

ODD = "org/modèle 漢:7b+q4"


@pytest.fixture
def odd(made: Gateway, engines: dict[str, Engine]) -> None:
    """Report a model whose name has what a path may not have."""
    made.ready("fast", engines["fast"].port, [FAST_MODEL, ODD])


@pytest.mark.parametrize("written", [quote(ODD, safe=""), quote(ODD)], ids=["all", "but slashes"])
@pytest.mark.parametrize("start", ["/v1/models/", "/models/", "/fast/v1/models/"])
def test_a_models_name_in_a_path_is_decoded(client: Client, odd: None, start: str, written: str) -> None:
    answer = client.ask(path=start + written)
    assert (answer.status, answer.data["id"]) == (200, ODD)


@pytest.mark.parametrize("name", ["%ff%fe", "%", "%zz", "none%00", "..%2f..%2fslots", "a" * 3000])
def test_a_path_that_names_no_model_is_refused(client: Client, odd: None, name: str) -> None:
    answer = client.ask(path=f"/v1/models/{name}")
    assert answer.status in (400, 404), answer.body
    assert answer.error["code"] in ("model_not_found", "not_found", "bad_request")


def test_a_models_name_reaches_the_engine_as_it_is(client: Client, made: Gateway, engines: dict[str, Engine]) -> None:
    bodies: list[bytes] = []

    def answer(wire: socket.socket) -> None:
        wire.sendall(json_answer({"choices": []}))

    with double(answer, bodies.append) as port:
        made.ready("fast", port, [ODD])
        for is_ascii in (True, False):
            body = json.dumps({"messages": [], "model": ODD}, ensure_ascii=is_ascii)
            found = client.ask(body.encode(), method="POST")
            assert found.status == 200
            assert bodies[-1].decode().endswith(body)
            # A header can have no such letters.
            assert found.headers["x-herd-model"].isascii()


def test_a_key_sees_only_the_models_of_its_tiers(client: Client, engines: dict[str, Engine]) -> None:
    listed = client.ask(path="/v1/models", key="herd-key-of-fay").data
    assert [entry["id"] for entry in listed["data"]] == [FAST_MODEL, "small-two"]
    answer = client.ask(path=f"/v1/models/{REASONING_MODEL}", key="herd-key-of-fay")
    assert answer.status in (403, 404)
    unknown = client.ask(chat(model="none"), key="herd-key-of-fay")
    assert REASONING_MODEL not in unknown.error["message"]


def test_a_model_has_the_facts_of_its_engine(client: Client, engines: dict[str, Engine]) -> None:
    model = client.ask(path=f"/v1/models/{REASONING_MODEL}").data
    assert (model["object"], model["herd"]["tier"], model["herd"]["state"]) == ("model", "reasoning", "ready")
    assert model["owned_by"]
    assert model["created"] >= 0
    assert 8192 in (model.get("context_length"), model.get("max_model_len"), model["herd"].get("context"))


def test_the_list_has_anthropics_shape_for_its_clients(client: Client, engines: dict[str, Engine]) -> None:
    headers = {"anthropic-version": "2023-06-01", "x-api-key": "herd-key-of-ann"}
    listed = client.ask(path="/v1/models", key=None, headers=headers).data
    names = [entry["id"] for entry in listed["data"]]
    assert names == [FAST_MODEL, "small-two", REASONING_MODEL]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (names[0], names[-1], False)
    for entry in listed["data"]:
        assert entry["type"] == "model"
        assert entry["display_name"]
        assert entry["created_at"].endswith("Z")
    one = client.ask(path=f"/v1/models/{FAST_MODEL}", key=None, headers=headers).data
    assert (one["id"], one["type"]) == (FAST_MODEL, "model")
    none = client.ask(path="/v1/models/none", key=None, headers=headers)
    assert (none.status, none.data["type"], none.data["error"]["type"]) == (404, "error", "not_found_error")
