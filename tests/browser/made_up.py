# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status page with made-up figures, which no gateway of a test could have: an hour of requests and several GPUs."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.agent.gateway.status_page.assets import read_assets
from ansible_collections.herd.inference.plugins.module_utils.core.gateway import tiers
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status import page, report
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.status.history import MINUTES, TierHistory
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.task_routing import Choice, TaskTable
from ansible_collections.herd.inference.plugins.module_utils.core.gateway.tiers import Tier
from ansible_collections.herd.inference.plugins.module_utils.core.slurm import tier_status

FAST, REASONING = "strand-rust-coder-14b-q8_0", "or1-behemoth-q4_k_m"
TIERS = {
    "fast": Tier("fast", (FAST, "qwen3-coder-30b-a3b-q6_k"), True, "", 8080),
    "reasoning": Tier("reasoning", (REASONING,), False, "fast", 8081),
}
TASKS = TaskTable(
    {"fix": Choice("fast", FAST, "It is quick."), "borrowing": Choice("reasoning", REASONING, "It thinks.")}, None
)
V100 = "Tesla V100S-PCIE-32GB"


def gpu(host: str, used_mib: int) -> dict[str, Any]:
    return {"host": host, "name": V100, "used_mib": used_mib, "total_mib": 32768}


def endpoint(wall: float, *gpus: dict[str, Any]) -> dict[str, Any]:
    """Return the registry entry that the fast tier's job writes."""
    return {
        "schema": 1,
        "tier": "fast",
        "job_id": "4711",
        "host": "vasp-02",
        "address": "10.0.0.42",
        "port": 8080,
        "models": [],
        "state": "ready",
        "percent": 100,
        "context": 32768,
        "slots": 4,
        "release": "0c1e57098",
        "started": wall - 7200,
        "heartbeat": wall,
        "load": {
            "processing": 3,
            "waiting": 0,
            "tokens_per_s": 38.2,
            "prompt_tokens_per_s": 512.0,
            "gpus": list(gpus),
        },
    }


def history(wall: float, minutes: int = MINUTES, factor: float = 1.0) -> dict[str, Any]:
    """Return the history of a tier with requests in each of the last minutes."""
    now = 1e6
    made = TierHistory(now - 60 * (MINUTES - 10))
    for minute in range(minutes, 0, -1):
        load = factor * (2 + math.sin(minute / 7) + math.cos(minute / 3))
        for each in range(round(load)):
            made.add(now - 60 * minute + each, round(700 * load), 20.0, 0.3 + 0.2 * load if minute % 9 else None)
    return made.as_data(now, wall)


def status(*gpus: dict[str, Any], counts: int = 1) -> dict[str, Any]:
    """Return the status of a ready and a preempted tier.

    :param counts: factor of all counters.
    """
    wall = time.time()
    ready = {"enabled": True, "state": "ready", "reason": "ready", "endpoints": [endpoint(wall, *gpus)]}
    preempted = {
        "enabled": True,
        "state": "preempted",
        "reason": "preempted by VASP job 88, pending: Priority",
        "retry_after_s": 30,
        "expected": wall + 1500,
        "endpoints": [],
    }
    text = json.dumps({"schema": 1, "written": wall, "tiers": {"fast": ready, "reasoning": preempted}})
    seen = tier_status.read(text).tiers
    measured = {"requests": 1234 * counts, "errors": 49 * counts, "ttft_p50_s": 0.41, "ttft_p95_s": 1.3}
    measurements = report.Measurements(
        {
            "fast": {**measured, "history": history(wall, factor=min(counts, 10))},
            "reasoning": {"requests": 310, "errors": 2, "history": history(wall, 12)},
        },
        {"fast": [FAST]},
    )
    present = {name: tiers.status_of(tier) for name, tier in seen.items()}
    found = report.collect(TIERS, present, seen, measurements, wall, TASKS)
    # As the page gets it from /status.json.
    copied: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return copied


@contextmanager
def served(shown: dict[str, Any]) -> Iterator[str]:
    """Serve the page of a status with the gateway's headers, and yield its URL."""
    assets = read_assets()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.render(shown, assets, "http://10.0.0.5:8080")
            self.send_response(200)
            for name, value in {"Content-Type": "text/html; charset=utf-8", **page.headers(assets)}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/status"
        finally:
            server.shutdown()
