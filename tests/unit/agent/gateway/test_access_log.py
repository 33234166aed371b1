# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access log joins the gateway's data of a response with the line of nginx, also after a restart."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway import access_log
from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.access_log import (
    AccessLog,
    CompletedResponse,
)
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.metrics import GatewayMetrics
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.response_stream import Tokens

LINE = {
    "id": "r1",
    "tier": "fast",
    "status": "200",
    "stream": "1",
    "duration": "2.0",
    "sent": "99",
    "ttft": "0.001",
    "complete": "OK",
    "engine": "unix:/run/herd-gateway/gateway.sock",
}
RESPONSE = CompletedResponse("fast", "10.0.0.42:8080", Tokens(prompt=5, completion=20), True, 0.25)


class Log:
    """An access log in a file, and the sockets that lead to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.metrics = path, GatewayMetrics(["fast"])
        self.log = AccessLog(str(path), self.metrics)
        self.source, self.nginx = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.source.setblocking(False)

    def read(self, *lines: bytes) -> list[dict[str, Any]]:
        """Send lines as nginx does, and return the file's entries."""
        for line in lines:
            self.nginx.send(line)
        self.log.read(self.source)
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


def nginx_line(**more: str) -> bytes:
    return b"<190>herd: " + json.dumps({**LINE, **more}).encode()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "access.log")


def test_proxied_response_adds_engine_tokens_and_first_token(log: Log) -> None:
    log.log.completed("r1", RESPONSE)
    (entry,) = log.read(nginx_line())
    assert (entry["engine"], entry["ttft"], entry["complete"]) == ("10.0.0.42:8080", 0.25, True)
    assert (entry["prompt_tokens"], entry["completion_tokens"]) == (5, 20)


def test_cut_response_is_not_complete(log: Log) -> None:
    log.log.completed("r1", CompletedResponse("fast", "10.0.0.42:8080", Tokens(), False))
    (entry,) = log.read(nginx_line())
    assert entry["complete"] is False
    assert "ttft" not in entry


def test_next_process_logs_responses_of_the_former_one(log: Log, tmp_path: Path) -> None:
    former = AccessLog("", GatewayMetrics(["fast"]))
    sent: list[bytes] = []
    former.successor = sent.append
    former.completed("r1", RESPONSE)
    # nginx's line may arrive first.
    (entry,) = log.read(nginx_line(), *sent)
    assert (entry["engine"], entry["completion_tokens"]) == ("10.0.0.42:8080", 20)


def test_requests_refused_by_nginx_have_no_engine(log: Log) -> None:
    (entry,) = log.read(nginx_line(status="429", refused="concurrency_exceeded", engine="10.0.0.42:8080"))
    assert "engine" not in entry
    assert 'herd_gateway_refused_total{code="concurrency_exceeded"} 1' in log.metrics.text({})


def test_unreadable_lines_are_counted_and_not_logged(log: Log) -> None:
    log.path.touch()
    assert log.read(b"<190>herd: {") == []
    assert log.metrics.unread == 1


def test_responses_whose_log_line_never_arrives_are_evicted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MOST_COMPLETED", 2)
    for identity in ("r1", "r2", "r3"):
        log.log.completed(identity, RESPONSE)
    entries = log.read(nginx_line(), nginx_line(id="r3"))
    assert ["prompt_tokens" in entry for entry in entries] == [False, True]
