"""A model in three parts from a server that fails once on each, and its copies on all nodes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.scenarios.testing import ETHERNET, HEAD, NODES

On = Callable[[str], Host]
MODEL = "/opt/models/lab-llama.gguf"
SIZE = 343123424
SHA256 = "2c099818e2a54cb73bfffa8f9cd5728062d5d299413994e38d795bbd0bf63126"


@pytest.fixture(scope="module")
def requests_seen(on: On) -> list[dict[str, object]]:
    """The server's log: one entry for each request that it answered or refused."""
    return [json.loads(line) for line in on("mirror").file("/run/unreliable-hub.jsonl").content_string.splitlines()]


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_the_right_bytes(on: On, name: str) -> None:
    model = on(name).file(MODEL)
    assert (model.size, model.sha256sum) == (SIZE, SHA256)
    assert (model.user, model.group, model.mode) == ("llama", "llama", 0o640)


@pytest.mark.parametrize("name", NODES)
def test_no_partial_file_or_share_is_left(on: On, name: str) -> None:
    names = set(on(name).check_output("ls -A /opt/models").splitlines())
    assert names == {"lab-llama.gguf", *(f".lab-llama.gguf.{ours}" for ours in ("lock", "progress", "verified"))}
    assert not on(name).service("herd-share").is_running
    assert on(name).check_output("ss -Hltn 'sport = :50062'") == ""


def test_each_part_fails_once(requests_seen: list[dict[str, object]]) -> None:
    failures = sorted((entry["part"], entry["failure"]) for entry in requests_seen if entry["failure"])
    assert failures == [(1, "cut in the middle"), (2, "come again in a second"), (3, "shorter than it says")]


def test_only_one_node_asks_the_server(requests_seen: list[dict[str, object]]) -> None:
    assert {entry["client"] for entry in requests_seen if entry["sent"]} == {ETHERNET[HEAD]}


def test_received_bytes_are_not_fetched_again(requests_seen: list[dict[str, object]]) -> None:
    sent = sum(int(str(entry["sent"])) for entry in requests_seen)
    assert SIZE <= sent <= 1.2 * SIZE


def test_the_model_answers(on: On) -> None:
    """site.yml has tested a completion; the head runs with the joined file."""
    head = on(HEAD)
    pid = head.check_output("systemctl show -p MainPID --value llama-head")
    assert MODEL in head.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")
