# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C(herdctl vllm) query and metrics against a double of vLLM's API, with the events and names of vLLM 0.32.0."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest

from tests.unit.agent.vllm.conftest import MODEL, WorkSpace
from tests.unit.agent.vllm.slurm_double import line

RUNNING = line("4711", f"vllm-{MODEL}", "RUNNING", StartTime=1795266500, NodeList="c1")
KEY = "s3cret-key"
DIED = (
    'data: {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.", '
    '"type": "InternalServerError", "code": 500}}\n\ndata: [DONE]\n\n'
)
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:generation_tokens_total{engine="0",model_name="m"} 5000.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 7.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5",model_name="m"} 8.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 8.0
vllm:generation_tokens_created{engine="0"} nan
"""


def event(text: str = "", finish: str | None = None, **delta: str) -> str:
    content = {"content": text} if text else {}
    choice = {"index": 0, "delta": {**content, **delta}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'x', 'model': MODEL, 'choices': [choice]})}\n\n"


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}\n\ndata: [DONE]\n\n'
ANSWER = event(role="assistant") + event("Hel") + event("lo") + event(finish="stop") + USAGE


@dataclass
class ApiDouble:
    """What the double of vLLM's API answers, and what it was asked."""

    port: int = 0
    stream: str = ANSWER
    asked: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def api() -> Iterator[ApiDouble]:
    double = ApiDouble()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            """Print nothing."""

        def _send(self, status: int, body: str, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def _is_refused(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {KEY}":
                return False
            self._send(401, '{"error": "Unauthorized"}')
            return True

        def do_GET(self) -> None:
            if self._is_refused():
                return
            listed = json.dumps({"data": [{"id": MODEL, "max_model_len": 1024}]})
            self._send(200, METRICS if self.path == "/metrics" else listed)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._is_refused():
                return
            double.asked.append(body)
            if body["model"] != MODEL:
                message = f"The model `{body['model']}` does not exist."
                self._send(404, json.dumps({"error": {"message": message, "type": "NotFoundError", "code": 404}}))
                return
            self._send(200, double.stream, "text/event-stream")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield double
    server.shutdown()
    server.server_close()


@pytest.fixture
def ready(work: WorkSpace, api: ApiDouble) -> WorkSpace:
    """A work space whose model answers."""
    (work.path / "api-key").write_text(f"{KEY}\n", encoding="ascii")
    (work.path / "api-key").chmod(0o600)
    work.slurm.picture(RUNNING, status=work.status("ready", percent=100, port=api.port))
    return work


def test_query_streams_the_answer(ready: WorkSpace, api: ApiDouble) -> None:
    status, out, err = ready.run("query", "--prompt", "Hi", "--temperature", "0")
    assert (status, out) == (0, "Hello\n")
    assert "[3 tokens, the first after" in err
    asked = api.asked[0]
    assert (asked["model"], asked["stream"], asked["temperature"]) == (MODEL, True, 0.0)
    assert asked["messages"] == [{"role": "user", "content": "Hi"}]


def test_query_as_the_document_writes_it(ready: WorkSpace, api: ApiDouble) -> None:
    status, out, _err = ready.run("query", "--host", "127.0.0.1", "--port", str(api.port), "--prompt", "Explain")
    assert (status, out) == (0, "Hello\n")
    assert ready.run("query", "--host", "127.0.0.1", "--prompt", "x")[0] == 2
    assert ready.run("query", "--host", "127.0.0.1", "--port", "99999", "--prompt", "x")[0] == 2


def test_other_address_needs_no_configuration(ready: WorkSpace, api: ApiDouble) -> None:
    (ready.path / "config.yaml").unlink()
    host = ("--host", "127.0.0.1", "--port", str(api.port), "--prompt", "Explain")
    status, _out, err = ready.run("query", *host)
    assert status == 1
    assert "status 401: Unauthorized: name the file with the job's API key" in err
    assert ready.run("query", *host, "--key-file", "api-key")[:2] == (0, "Hello\n")


def test_query_for_a_script(ready: WorkSpace) -> None:
    status, data = ready.json("query", "--prompt", "Hi")
    assert (status, data["text"], data["finish"], data["usage"]["completion_tokens"]) == (0, "Hello", "stop", 3)


def test_prompt_from_standard_input(ready: WorkSpace, api: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("a long prompt"))
    assert ready.run("query", "--prompt", "-")[0] == 0
    assert api.asked[0]["messages"][0]["content"] == "a long prompt"


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (event("Hel") + DIED, "the answer was cut: status 500: EngineCore encountered an issue"),
        (event("Hel"), "the answer was cut: the stream ended before its last event"),
        ("data: {not json\n\n", "the answer was cut"),
        ("data: 5\n\n", "the answer was cut: an event is a int"),
        ("data: [1]\n\n", "the answer was cut: an event is a list"),
    ],
)
def test_cut_answer_is_a_failure(ready: WorkSpace, api: ApiDouble, stream: str, words: str) -> None:
    api.stream = stream
    status, _out, err = ready.run("query", "--prompt", "Hi")
    assert status == 1
    assert words in err
    status, data = ready.json("query", "--prompt", "Hi")
    assert (status, data["exit_status"]) == (1, 1)
    assert words in data["error"]


def test_answer_cannot_control_the_terminal(ready: WorkSpace, api: ApiDouble) -> None:
    api.stream = event("a\x1b]0;title\x07\r\x9b2J\tb\nc") + event(finish="stop") + USAGE
    assert ready.run("query", "--prompt", "Hi")[1] == "a ]0;title   2J\tb\nc\n"
    # JSON escapes them.
    assert ready.json("query", "--prompt", "Hi")[1]["text"] == "a\x1b]0;title\x07\r\x9b2J\tb\nc"


def test_usage_that_is_no_number_is_not_counted(ready: WorkSpace, api: ApiDouble) -> None:
    api.stream = (
        event("Hello") + event(finish="stop") + 'data: {"choices": [], "usage": {"completion_tokens": "3"}}\n\n'
    )
    status, out, err = ready.run("query", "--prompt", "Hi")
    assert (status, out) == (0, "Hello\n")
    assert "[0 tokens" in err


def test_model_that_only_reasons_is_told(ready: WorkSpace, api: ApiDouble) -> None:
    api.stream = event(reasoning="hm") + event(finish="length") + USAGE
    status, _out, err = ready.run("query", "--prompt", "Hi")
    assert status == 0
    assert "--max-tokens" in err


def test_key_comes_from_a_file_that_only_its_owner_reads(ready: WorkSpace, api: ApiDouble) -> None:
    (ready.path / "api-key").chmod(0o640)
    status, _out, err = ready.run("query", "--prompt", "Hi")
    assert status == 2
    assert "to be readable for its owner only, found mode 640: run chmod 600" in err
    (ready.path / "other").write_text("wrong\n", encoding="ascii")
    (ready.path / "other").chmod(0o600)
    status, _out, err = ready.run("query", "--prompt", "Hi", "--key-file", "other")
    assert status == 1
    assert "status 401: Unauthorized: name the file with the job's API key: --key-file" in err
    assert ready.run("query", "--prompt", "Hi", "--key-file", "missing")[0] == 2
    assert api.asked == []


def test_unknown_model_of_the_api_is_named(ready: WorkSpace, api: ApiDouble) -> None:
    host = ("--host", "127.0.0.1", "--port", str(api.port))
    status, _out, err = ready.run("query", *host, "--model", "nosuch", "--prompt", "Hi")
    assert status == 1
    assert "The model nosuch does not exist" in err.replace("`", "")
    assert "/v1/models" in err


def test_model_that_is_not_ready_is_not_asked(work: WorkSpace) -> None:
    work.slurm.picture(line("4711", f"vllm-{MODEL}", "PENDING", "Priority"))
    status, data = work.json("query", "--prompt", "Hi")
    assert (status, data["exit_status"]) == (3, 3)
    assert "jobs of higher priority come first" in data["error"]
    assert work.run("metrics")[0] == 3


def test_address_without_a_server_is_named(ready: WorkSpace) -> None:
    status, _out, err = ready.run("query", "--host", "127.0.0.1", "--port", "1", "--prompt", "Hi")
    assert status == 1
    assert "127.0.0.1:1: Connection refused" in err
    assert "herdctl vllm status" in err


def test_metrics_are_shown(ready: WorkSpace) -> None:
    status, data = ready.json("metrics", "--interval", "0")
    assert status == 0
    assert (data["running"], data["waiting"], data["cache_use"]) == (3, 1, 0.25)
    assert data["finished"] == {"stop": 7, "length": 2}
    assert data["first_token_s"] == {"p50": 0.2333, "p95": 0.4733}
    status, out, _err = ready.run("metrics", "--interval", "0.01")
    assert status == 0
    assert "requests          3 running, 1 waiting" in out
    assert "0 tokens a second now" in out
