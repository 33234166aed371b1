# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""router_info against a double of a router, which replays what 0c1e57098 answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.herd.inference.plugins.module_utils.ports import systemd
from ansible_collections.herd.inference.plugins.module_utils.ports.host import processes
from ansible_collections.herd.inference.plugins.module_utils.ports.systemd import UnitState
from ansible_collections.herd.inference.plugins.modules import router_info

ANSWER = (Path(__file__).parents[3] / "fixtures/router/0c1e57098-models.json").read_bytes()
Run = Callable[..., dict[str, Any]]


class Double(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        allowed = self.path == "/health" or self.headers.get("Authorization") == "Bearer secret"
        body = (b'{"status":"ok"}' if self.path == "/health" else ANSWER) if allowed else b'{"error":{}}'
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Double.asked.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path) -> Run:
    key = tmp_path / "keys"
    key.write_text("# made once\nsecret\n", encoding="utf-8")

    def call(**arguments: Any) -> dict[str, Any]:
        with patch_module_args({"url": url, "api_key_file": str(key), **arguments}), pytest.raises(SystemExit):
            router_info.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_offered_models_and_states_are_reported(run: Run) -> None:
    found = run(expected=["a", "b", "broken"], _ansible_check_mode=True)
    assert not found["changed"]
    assert found["in_memory"] == ["a", "b"]
    assert found["ask"] == "b"
    assert found["models"][0]["aliases"] == ["first-model", "task:borrowing"]
    assert found["models"][2] == {"id": "broken", "aliases": [], "state": "unloaded", "exit_code": 1}
    # Nothing that would load a model or wake one.
    assert set(Double.asked) == {"/health", "/models"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"expected": ["a", "b", "c"]}, "found missing: c; not planned: broken"),
        ({"api_key_file": "/no/where"}, "expected the file /no/where"),
        ({"api_key_file": None}, "status 401"),
        ({"url": "http://127.0.0.1:9", "timeout": 0}, "found refused: look at journalctl -u llama-router"),
    ],
)
def test_wrong_router_is_an_error(run: Run, arguments: dict[str, Any], expected: str) -> None:
    assert expected in run(**arguments)["msg"]


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> dict[str, Any]:
    """A unit, as systemd would show it, and the command line of its process."""
    key = tmp_path / "unit-keys"
    key.write_text("secret\n", encoding="utf-8")
    port = url.rpartition(":")[2]
    binary = "/opt/llama.cpp/releases/0c1e57098-cpu-1a2b3c4d/bin/llama-server"
    has: dict[str, Any] = {
        "state": UnitState("active", "running", True, 77, 1, since="Sat 2026-11-21 02:26:35 UTC"),
        "arguments": [binary, "--host", "0.0.0.0", "--port", port, "--api-key-file", str(key)],
    }
    monkeypatch.setattr(systemd, "show", lambda name: has["state"])
    monkeypatch.setattr(processes, "arguments_of", lambda pid: has["arguments"])
    return has


def test_endpoint_comes_from_command_line_of_unit(run: Run, unit: dict[str, Any]) -> None:
    found = run(url=None, api_key_file=None, timeout=2)
    assert (found["problem"], found["in_memory"]) == ("", ["a", "b"])
    assert (found["active_state"], found["restarts"], found["pid"]) == ("active", 1, 77)
    assert (found["release"], found["endpoint"].partition(":")[0]) == ("0c1e57098-cpu-1a2b3c4d", "0.0.0.0")
    assert Double.asked == ["/models"]


def test_problem_of_unit_does_not_fail_module(run: Run, unit: dict[str, Any]) -> None:
    unit["arguments"] = [*unit["arguments"][:4], "9"]
    found = run(url=None, api_key_file=None, timeout=2)
    assert "failed" not in found
    assert "127.0.0.1:9" in found["problem"]
    unit["state"] = UnitState("failed", "failed")
    found = run(url=None, api_key_file=None, timeout=2)
    assert (found["active_state"], found["models"], found["problem"]) == ("failed", [], "it does not run")
