# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""herdctl models as it is installed, with a double of a router. The double replays responses of release 0c1e57098 and
loads models on request. The scenario router tests a real one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.conftest import run_herdctl

ANSWER = Path(__file__).parents[3] / "fixtures" / "router" / "0c1e57098-models.json"
DOUBLE = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
answer = json.load(open(sys.argv[1]))
class Double(BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def reply(self, status, data):
        body = json.dumps(data).encode()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def allowed(self):
        if self.headers.get("Authorization") == "Bearer secret": return True
        self.reply(401, {"error": {"message": "Invalid API Key"}})
    def do_GET(self):
        if self.allowed(): self.reply(200, answer)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.allowed():
            for model in answer["data"]:
                if model["id"] == body["model"] and model["id"] != "broken":
                    model["status"] = {"value": "loaded", "args": []}
            self.reply(200, {"success": True})
server = HTTPServer(("127.0.0.1", 0), Double)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Start a router on this machine; its key is in a file."""
    keys = tmp_path / "keys"
    keys.write_text("secret\n", encoding="utf-8")
    # The double listens, and another process has a router's command line, from which herdctl reads the port.
    double = subprocess.Popen(
        [sys.executable, "-c", DOUBLE, str(ANSWER)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert double.stdout is not None
    number = int(double.stdout.readline())
    words = ["--models-preset", "p.ini", "--host", "127.0.0.1", "--port", str(number), "--api-key-file", str(keys)]
    named = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", *words])
    yield number
    for process in (named, double):
        process.kill()
        process.wait()


def test_missing_router_is_reported(herdctl: Path) -> None:
    told = run_herdctl(herdctl, "models", "--port", "1")
    assert told.returncode == 2
    assert "expected a router of models that runs on this node, found none" in told.stderr


def test_models_are_listed_with_their_states(herdctl: Path, port: int) -> None:
    told = run_herdctl(herdctl, "models", "--json", "--port", str(port))
    found = json.loads(told.stdout)[f"127.0.0.1:{port}"]
    assert [(model["id"], model["state"]) for model in found] == [
        ("a", "sleeping"),
        ("b", "loaded"),
        ("broken", "unloaded"),
    ]
    assert told.returncode == 1
    text = run_herdctl(herdctl, "models", "--port", str(port)).stdout
    assert f"router at 127.0.0.1:{port}" in text
    assert "first-model, task:borrowing" in text
    assert "its process ended with status 1: it could not be loaded" in text


def test_model_is_loaded_on_request(herdctl: Path, port: int) -> None:
    for name in ("b", "task:borrowing"):
        told = run_herdctl(herdctl, "models", "--port", str(port), "--load", name)
        assert told.returncode == 0
        assert f"{name} is in memory after " in told.stdout
    failed = run_herdctl(herdctl, "models", "--port", str(port), "--load", "broken")
    assert failed.returncode == 2
    assert "found unloaded, its process ended with status 1" in failed.stderr
    unknown = run_herdctl(herdctl, "models", "--port", str(port), "--load", "c")
    assert "expected a model among a, b, broken, found c" in unknown.stderr
