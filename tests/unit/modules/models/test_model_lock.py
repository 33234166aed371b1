# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""model_lock as Ansible runs it, with a fake hub: a server with the hub's headers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.core.models.lock import merge, problems
from ansible_collections.herd.inference.plugins.module_utils.core.models.metadata import from_data
from ansible_collections.herd.inference.plugins.modules import model_lock
from tests.engine.generated.attention import llama
from tests.engine.generated.model import Dense
from tests.unit.model_server import ModelServer, Served

COMMIT, NEXT = "c0ffee" + "0" * 34, "decade" + "1" * 34
MODEL = llama("tiny", Dense(layers=3, width=256, heads=4, kv_heads=2, inner=512, vocabulary=1000))
REPOSITORY = "o/tiny-GGUF"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return MODEL.write(tmp_path_factory.mktemp("model") / "tiny.gguf").read_bytes()


class Hub:
    """The files of a repository, each behind a redirect as on the hub."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server

    def publish(self, name: str, data: bytes, commit: str = COMMIT, revisions: tuple[str, ...] = ("main",)) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.server.files[f"/cdn/{digest}"] = Served(data)
        headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": commit}
        for revision in {*revisions, commit}:
            path = f"/{REPOSITORY}/resolve/{revision}/{name}"
            self.server.files[path] = Served(location=self.server.url(f"/cdn/{digest}"), headers=headers)


@pytest.fixture
def hub(weights: bytes) -> Iterator[Hub]:
    with ModelServer("127.0.0.1").running() as server:
        found = Hub(server)
        found.publish("tiny.gguf", weights)
        cut = len(weights) // 3
        found.publish("parts/tiny.gguf.part1of2", weights[:5000])
        found.publish("parts/tiny.gguf.part2of2", weights[5000:])
        found.publish("not.gguf", b"<html>" + bytes(cut))
        yield found


ENTRIES: dict[str, Any] = {
    "one": {
        "name": "tiny",
        "file": "tiny.gguf",
        "layers": 3,
        "repository": REPOSITORY,
        "files": [{"file": "tiny.gguf"}],
    },
    "parts": {
        "name": "tiny",
        "file": "tiny-joined.gguf",
        "repository": REPOSITORY,
        "files": [{"file": f"parts/tiny.gguf.part{n}of2"} for n in (1, 2)],
    },
    "elsewhere": {"name": "x", "file": "x.gguf", "source": {"url": "http://x/x.gguf"}},
}


def run(capsys: pytest.CaptureFixture[str], hub: Hub, path: Path, **arguments: Any) -> dict[str, Any]:
    capsys.readouterr()
    given = {"path": str(path), "models": ENTRIES, "hub": hub.server.url(""), **arguments}
    with patch_module_args(given), pytest.raises(SystemExit):
        model_lock.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def locks(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["herd_models_lock"]
    return found


def test_lock_is_written_once(hub: Hub, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models_lock.json"
    foreseen = run(capsys, hub, path, _ansible_check_mode=True, _ansible_diff=True)
    assert foreseen["changed"]
    assert not path.exists()

    done = run(capsys, hub, path)
    assert done["changed"]
    assert done["asked"] == ["one", "parts"]
    assert path.read_text(encoding="utf-8") == foreseen["diff"]["after"]

    found = locks(path)
    assert sorted(found) == ["one", "parts"]
    assert found["one"]["revision"] == COMMIT
    assert found["one"]["files"] == [
        {"file": "tiny.gguf", "size": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    ]
    assert found["parts"]["size"] == len(weights)
    assert found["one"]["metadata"] == found["parts"]["metadata"]
    metadata = from_data(found["one"]["metadata"])
    assert (metadata.architecture, len(metadata.layers), metadata.file_size) == ("llama", 3, len(weights))
    merged = merge(ENTRIES, found)
    assert [problems(key, entry) for key, entry in merged.items()] == [[], [], []]

    asked = len(hub.server.requests)
    again = run(capsys, hub, path)
    assert (again["changed"], again["asked"], len(hub.server.requests)) == (False, [], asked)


def test_only_a_part_of_the_file_is_fetched_for_its_header(
    hub: Hub, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, hub, tmp_path / "lock.json", only=["one"])
    assert hub.server.sent < len(weights) // 4


def test_moved_branch_is_followed_with_update_only(
    hub: Hub, weights: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock.json"
    run(capsys, hub, path, only=["one"])
    hub.publish("tiny.gguf", weights + bytes(32), NEXT)
    assert not run(capsys, hub, path, only=["one"])["changed"]
    assert locks(path)["one"]["revision"] == COMMIT
    assert run(capsys, hub, path, only=["one"], update=True)["changed"]
    assert locks(path)["one"]["revision"] == NEXT


def test_lock_of_a_removed_entry_is_removed(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock.json"
    run(capsys, hub, path)
    kept = {key: entry for key, entry in ENTRIES.items() if key != "parts"}
    assert run(capsys, hub, path, models=kept)["changed"]
    assert sorted(locks(path)) == ["one"]


def test_token_is_sent_to_the_hub_only(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, served in hub.server.files.items():
        if not path.startswith("/cdn/"):
            served.token = "secret"
            served.location = (served.location or "").replace("127.0.0.1", "localhost")
    lock = tmp_path / "lock.json"
    assert "needed" in run(capsys, hub, lock, only=["one"])["msg"]
    assert run(capsys, hub, lock, only=["one"], token="secret")["changed"]
    assert {asked.authorization for asked in hub.server.requests if asked.path.startswith("/cdn/")} == {None}
    assert "secret" not in lock.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"files": [{"file": "gone.gguf"}]}, "status 404"),
        ({"files": [{"file": "not.gguf"}]}, "a web page"),
        ({"layers": 80}, "layers: 3 in the entry"),
        ({"size": 7}, "the size of tiny.gguf in the entry, 7"),
        ({"revision": "main"}, "a name that may move"),
    ],
)
def test_missing_file_or_fact_of_the_hub_is_an_error(
    hub: Hub, change: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock.json"
    failed = run(capsys, hub, path, models={"k": {**ENTRIES["one"], **change}})
    assert failed["failed"]
    assert "model k" in failed["msg"]
    assert says in failed["msg"]
    assert not path.exists()


def test_foreign_file_is_not_overwritten(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock.json"
    path.write_text("mine: 1\n", encoding="utf-8")
    assert "delete it, and run again" in run(capsys, hub, path)["msg"]
    assert path.read_text(encoding="utf-8") == "mine: 1\n"
    assert "correct only" in run(capsys, hub, tmp_path / "other.json", only=["typo"])["msg"]
