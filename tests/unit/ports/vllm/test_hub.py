# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkpoint is read from a server by ranges, within bounds, by the agent and by the modules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Union

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.vllm import hub as agent_hub
from ansible_collections.herd.inference.plugins.module_utils.core.errors import (
    AccessDeniedError,
    HerdError,
    InvalidInputError,
    MismatchError,
    NotFoundError,
    RemoteFailureError,
)
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.planning import checkpoint
from ansible_collections.herd.inference.plugins.module_utils.ports.vllm import hub as ports_hub
from tests.unit import safetensors_bytes as made
from tests.unit.model_server import ModelServer, Served

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 10,
}
BASE = "/o/n/resolve/main"
TOKEN = "hf_secret"
AnyFolder = Union[agent_hub.HubFolder, ports_hub.HubFolder]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as found:
        header = made.file(made.entries({"lm_head.weight": ("BF16", [10, 8])}))
        found.files[f"{BASE}/config.json"] = Served(json.dumps(CONFIG).encode())
        found.files[f"{BASE}/model.safetensors"] = Served(header.data + bytes(header.size - len(header.data)))
        yield found


@pytest.fixture(params=["agent", "ports"])
def client(request: pytest.FixtureRequest, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a folder of the server, for both clients."""
    if request.param == "ports":
        monkeypatch.setattr("time.sleep", lambda seconds: None)

    def folder(token: str | None = None, **options: Any) -> AnyFolder:
        endpoint = options.pop("endpoint", server.url(""))
        if request.param == "agent":
            return agent_hub.HubFolder("o/n", token=token, endpoint=endpoint, sleep=lambda seconds: None, **options)
        return ports_hub.HubFolder("o/n", token=token, endpoint=endpoint, **options)

    return folder


def test_header_is_read_without_the_weights(server: ModelServer, client: Any) -> None:
    served = server.files[f"{BASE}/model.safetensors"]
    header = made.file(made.entries({"lm_head.weight": ("BF16", [1000, 8000])}))
    served.data = header.data + bytes(16_000_000)
    found = checkpoint.read(client())
    assert found.weights.total == 16_000_000
    assert found.name == "o/n"
    assert served.sent < 1 << 20


def test_ranges_are_asked_for(server: ModelServer, client: Any) -> None:
    checkpoint.read(client())
    asked = [each.range for each in server.asked("GET", f"{BASE}/model.safetensors")]
    assert asked
    assert all(each is not None and each.startswith("bytes=0-") for each in asked)


def test_redirect_is_followed_and_the_token_stays_with_the_hub(server: ModelServer, client: Any) -> None:
    other = ModelServer("127.0.0.2")
    with other.running():
        other.files["/blob"] = Served(server.files[f"{BASE}/model.safetensors"].data)
        server.files[f"{BASE}/model.safetensors"] = Served(location=other.url("/blob"))
        for served in server.files.values():
            served.token = TOKEN
        checkpoint.read(client(TOKEN))
        assert other.requests
        assert {each.authorization for each in other.requests} == {None}
    assert {each.authorization for each in server.requests} == {f"Bearer {TOKEN}"}


def test_relative_redirect_on_the_hub_keeps_the_token(server: ModelServer, client: Any) -> None:
    server.files["/api/cache/config"] = Served(server.files[f"{BASE}/config.json"].data, token=TOKEN)
    server.files[f"{BASE}/config.json"] = Served(location="/api/cache/config", token=TOKEN)
    assert checkpoint.read(client(TOKEN)).shape.width == 8


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://x/",
        "javascript:alert(1)",
        "http://[::1",
        "http://[gg::1]/",
        "http://127.0.0.1:x/",
        "http://127.0.0.1:99999/",
        "http://a..b/",
    ],
)
def test_redirect_to_something_else_is_refused(server: ModelServer, client: Any, location: str) -> None:
    server.files[f"{BASE}/config.json"] = Served(location=location)
    with pytest.raises(RemoteFailureError):
        checkpoint.read(client())


def test_endless_redirect_is_refused(server: ModelServer, client: Any) -> None:
    server.files[f"{BASE}/config.json"] = Served(location=f"{BASE}/config.json")
    with pytest.raises(RemoteFailureError):
        checkpoint.read(client())


@pytest.mark.parametrize(
    ("token", "says"),
    [(None, "gated or private, or the id is wrong"), ("hf_other", "has not accepted the model's terms")],
)
def test_gated_model_is_explained(server: ModelServer, client: Any, token: str | None, says: str) -> None:
    server.files[f"{BASE}/config.json"].token = TOKEN
    with pytest.raises(AccessDeniedError, match=says) as raised:
        checkpoint.read(client(token))
    assert "accept the terms at https://huggingface.co/o/n" in str(raised.value)
    assert "hf_" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 403])
def test_refusal_of_a_single_file_is_explained(server: ModelServer, client: Any, status: int) -> None:
    server.files[f"{BASE}/model.safetensors"].failures = [(status, {})] * 9
    with pytest.raises(AccessDeniedError):
        checkpoint.read(client())


@pytest.mark.parametrize(
    ("status", "code", "token", "says"),
    [
        (401, "RepoNotFound", None, "there is no such repository, or it is private"),
        (404, "RepoNotFound", "hf_other", "there is no such repository, or it is private"),
        (403, "GatedRepo", "hf_other", "accept the terms at https://huggingface.co/o/n with that account"),
        (401, "GatedRepo", None, "accept the terms at https://huggingface.co/o/n, and give a token"),
        (404, "RevisionNotFound", None, "there is no such revision"),
    ],
)
def test_code_of_the_hub_is_explained(
    server: ModelServer, client: Any, status: int, code: str, token: str | None, says: str
) -> None:
    words = {"X-Error-Code": code, "X-Error-Message": "In the hub's words\x1b"}
    server.files[f"{BASE}/config.json"].failures = [(status, words)] * 9
    with pytest.raises(HerdError) as raised:
        checkpoint.read(client(token))
    message = str(raised.value)
    assert says in message and f"({code}: In the hub's words)" in message
    assert message.isprintable()


def test_limit_of_the_hub_is_waited_for(server: ModelServer, client: Any) -> None:
    served = server.files[f"{BASE}/config.json"]
    served.failures = [(429, {"RateLimit": '"api|resolvers";r=0;t=250'})] * 2
    assert checkpoint.read(client()).tensors == 1
    served.failures = [(429, {"RateLimit": '"api|resolvers";r=0;t=86400'})]
    with pytest.raises(RemoteFailureError, match="asks to come back in 86400 s"):
        checkpoint.read(client())


def test_token_that_no_header_can_hold_is_refused_and_not_shown(client: Any) -> None:
    with pytest.raises(InvalidInputError, match="a token of printable ASCII") as raised:
        client("hf_secret\r\nX: 1")
    assert "hf_" not in str(raised.value)


def test_unknown_repository_is_named(server: ModelServer, client: Any) -> None:
    server.files.clear()
    with pytest.raises(NotFoundError, match=r"config\.json"):
        checkpoint.read(client())


def test_failure_that_passes_is_retried(server: ModelServer, client: Any) -> None:
    server.files[f"{BASE}/config.json"].failures = [(503, {}), (429, {"Retry-After": "1"})]
    assert checkpoint.read(client()).tensors == 1


@pytest.mark.parametrize("after", ["²", "-1", "9" * 400, "soon", ""])
def test_pause_that_is_no_number_is_not_kept(server: ModelServer, client: Any, after: str) -> None:
    if not isinstance(client(), agent_hub.HubFolder):
        pytest.skip("the other client has tests of its own")
    server.files[f"{BASE}/config.json"].failures = [(503, {"Retry-After": after})]
    assert checkpoint.read(client()).tensors == 1


def test_failure_that_stays_is_reported(server: ModelServer, client: Any) -> None:
    server.files[f"{BASE}/config.json"].failures = [(500, {})] * 20
    with pytest.raises(RemoteFailureError, match="500"):
        checkpoint.read(client())


def test_file_that_exceeds_its_bound_is_refused(
    server: ModelServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_CONFIG", 1 << 20)
    served = server.files[f"{BASE}/config.json"]
    served.data = b" " * (40 << 20)
    with pytest.raises(MismatchError, match="at most 1 MiB"):
        checkpoint.read(client())
    assert served.sent <= 4 << 20


def test_server_without_ranges_is_refused_when_it_would_send_everything(server: ModelServer, client: Any) -> None:
    served = server.files[f"{BASE}/model.safetensors"]
    tensors = {f"model.layers.{layer}.{'x' * 60}": ("BF16", [2, 2]) for layer in range(4000)}
    header = made.file(made.entries(tensors))
    served.data = header.data + bytes(header.size - len(header.data))
    served.ranges = False
    with pytest.raises(RemoteFailureError, match="range"):
        checkpoint.read(client())


def test_response_that_ends_early_is_retried(server: ModelServer, client: Any) -> None:
    server.files[f"{BASE}/model.safetensors"].cuts = [10]
    assert checkpoint.read(client()).tensors == 1


def test_server_that_sends_a_byte_now_and_then_is_given_up(
    server: ModelServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_hub, "LONGEST", 0.3)
    if not isinstance(client(), agent_hub.HubFolder):
        pytest.skip("the client of the modules has no such limit")
    served = server.files[f"{BASE}/config.json"]
    served.piece, served.pause = 1, 0.02
    began = time.monotonic()
    with pytest.raises(RemoteFailureError, match="bytes in 0 s"):
        checkpoint.read(client())
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["o", "o/n/m", "../n", "o/..", "o/n?x", "o n/m", "", "o/" + "n" * 200, "http://o/n"])
def test_id_that_is_none_is_refused(name: str) -> None:
    for kind in (agent_hub.HubFolder, ports_hub.HubFolder):
        with pytest.raises(InvalidInputError, match="an id such as"):
            kind(name)


@pytest.mark.parametrize("options", [{"revision": "../x"}, {"revision": ""}, {"endpoint": "file:///x"}])
def test_wrong_revision_and_endpoint_are_refused(client: Any, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        client(**options)


def test_server_that_is_not_there_is_reported(client: Any) -> None:
    with pytest.raises(HerdError, match="127"):
        checkpoint.read(client(endpoint="http://127.0.0.1:9"))


def test_local_folder_of_the_ports(tmp_path: Any) -> None:
    header = made.file(made.entries({"lm_head.weight": ("BF16", [10, 8])}))
    (tmp_path / "model.safetensors").write_bytes(header.data + bytes(header.size - len(header.data)))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert checkpoint.read(ports_hub.LocalFolder(tmp_path)).weights.total == 160
    with pytest.raises(NotFoundError), ports_hub.LocalFolder(tmp_path).open("../x"):
        pass
