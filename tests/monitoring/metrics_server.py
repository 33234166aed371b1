# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of an agent, an engine and a gateway: it serves every metric of the tables. It refuses a wrong key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ansible_collections.herd.inference.plugins.module_utils.core.supervision import metric_names

VALUES = {"state": "watching", "unit": "llama-head", "tier": "reasoning", "status": "503", "kind": "symbol_error"}
#: What both engines write, as far as the dashboards read it.
ENGINES = (
    "llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total", "llamacpp:tokens_predicted_total",
    "llamacpp:requests_processing", "llamacpp:requests_deferred", "llamacpp:spec_decode_num_draft_tokens_total",
    "llamacpp:spec_decode_num_accepted_tokens_total", "vllm:num_requests_running", "vllm:num_requests_waiting",
    "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:kv_cache_usage_perc",
)  # fmt: skip


def _value(name: str, kind: str) -> float:
    return time.monotonic() * 100 if kind != metric_names.GAUGE or name.endswith("_total") else 1.0


def agent_and_gateway() -> str:
    """Write each metric of the table once."""
    lines = []
    for name, metric in metric_names.METRICS.items():
        labels = ",".join(f'{label}="{VALUES.get(label, "0")}"' for label in metric.labels)
        value = _value(name, metric.kind)
        if metric.kind != metric_names.HISTOGRAM:
            lines.append(f"{name}{{{labels}}} {value}")
            continue
        bounds = ("1", "10", "+Inf")
        lines += [f'{name}_bucket{{{labels},le="{bound}"}} {value}' for bound in bounds]
        lines += [f"{name}_sum{{{labels}}} {value}", f"{name}_count{{{labels}}} {value}"]
    return "\n".join(lines) + "\n"


def engine() -> str:
    """Write each metric of the engines once."""
    return "".join(f"{name} {_value(name, metric_names.GAUGE)}\n" for name in ENGINES)


class _Handler(BaseHTTPRequestHandler):
    key = ""

    def do_GET(self) -> None:
        """Answer a scrape."""
        given = self.headers.get("Authorization", "")
        is_engine = bool(self.key)
        is_right = not is_engine or given == f"Bearer {self.key}"
        body = (engine() if is_engine else agent_and_gateway()).encode() if is_right else b""
        self.send_response(200 if is_right else 401)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def serving(key: str = "") -> Iterator[int]:
    """Serve metrics on a free port of the loopback interface, and return it.

    :param key: the key of an engine; an agent and a gateway have none.
    """
    handler = type("Handler", (_Handler,), {"key": key})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
