# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gguf_info as Ansible runs it, on files and against a real web server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports.models import gguf_source
from ansible_collections.herd.inference.plugins.modules import gguf_info
from tests.unit.gguf_bytes import File, Maker
from tests.unit.model_server import ModelServer, Served

MAKE = Maker()
SECRET = "hf_tokenOfATest"
# A vocabulary as large as real ones, and weights that must stay where they are.
MODEL = File(more=[MAKE.texts("more", ["token"] * 200_000)]).bytes() + bytes(20 << 20)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("127.0.0.1").running() as running:
        running.files["/m.gguf"] = Served(MODEL)
        yield running


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_source.RemoteSource.__init__, "__defaults__", (lambda seconds: None,))


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(**arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            gguf_info.main()
        output = capsys.readouterr().out
        assert SECRET not in output
        result: dict[str, Any] = json.loads(output)
        # Older versions of ansible-core repeat the arguments.
        result.pop("invocation", None)
        return result

    return call


def test_header_of_a_file_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    found = run(path=str(tmp_path / "m.gguf"), _ansible_check_mode=True)
    assert (found["architecture"], found["layers"], found["whole"], found["changed"]) == ("llama", 2, True, False)
    assert found["size"] == len(MODEL)
    assert found["read_bytes"] < 4 << 20


def test_only_the_header_of_a_remote_file_is_fetched(run: Run, server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(MODEL)
    here, there = run(path=str(tmp_path / "m.gguf")), run(url=server.url("/m.gguf"))
    assert there == here
    assert server.sent < 4 << 20
    # Not one request for each token.
    assert len(server.asked("GET")) < 10


def test_shards_are_found_beside_the_first(run: Run, server: ModelServer, tmp_path: Path) -> None:
    for number in (0, 1):
        fields = [MAKE.word("general.architecture", "llama"), MAKE.number("split.no", number)]
        fields += [MAKE.number("split.count", 2), MAKE.number("split.tensors.count", 2)]
        head = File(fields=fields, tensors=[MAKE.tensor(f"blk.{number}.a", (16,), 0, 0)]).head()
        name = f"m-0000{number + 1}-of-00002.gguf"
        (tmp_path / name).write_bytes(head + bytes(-len(head) % 32) + bytes(64))
        server.files[f"/x/{name}"] = Served((tmp_path / name).read_bytes())
    here = run(path=str(tmp_path / "m-00001-of-00002.gguf"))
    assert (here["shards"], here["layer_bytes"]) == (2, [64, 64])
    assert run(url=server.url("/x/m-00001-of-00002.gguf")) == here
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    assert "m-00002-of-00002.gguf, found no such file" in run(path=str(tmp_path / "m-00001-of-00002.gguf"))["msg"]
    assert "name m-00001-of-00002.gguf" in run(path=str(tmp_path / "m-00002-of-00002.gguf"))["msg"]


def test_token_is_sent_to_its_host_only(run: Run, server: ModelServer) -> None:
    with ModelServer("127.0.0.2").running() as other:
        other.files["/blob"] = Served(MODEL)
        server.files["/gated.gguf"] = Served(token=SECRET, location=other.url("/blob"))
        assert run(url=server.url("/gated.gguf"), token=SECRET)["layers"] == 2
        assert {request.authorization for request in server.requests} == {f"Bearer {SECRET}"}
        assert {request.authorization for request in other.requests} == {None}


def test_passing_failures_are_retried(run: Run, server: ModelServer) -> None:
    server.files["/m.gguf"] = Served(MODEL, failures=[(503, {})])
    assert run(url=server.url("/m.gguf"))["layers"] == 2


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Served(MODEL, ranges=False), "the server serves no ranges"),
        (Served(b"<html>sign in</html>" * 9), "a web page"),
        (Served(MODEL, token="other"), "401"),
    ],
)
def test_response_without_a_model_is_an_error(run: Run, server: ModelServer, served: Served, said: str) -> None:
    server.files["/m.gguf"] = served
    found = run(url=server.url("/m.gguf"))
    assert found["failed"] and said in found["msg"]
    # What the sockets' buffers take, but not the model.
    assert server.sent < len(MODEL) // 2


def test_path_without_a_file_is_an_error(run: Run, tmp_path: Path) -> None:
    assert "found no such file" in run(path=str(tmp_path / "m.gguf"))["msg"]
    assert "found something else there" in run(path=str(tmp_path))["msg"]
