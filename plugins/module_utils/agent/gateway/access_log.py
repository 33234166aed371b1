# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the access log: one line of JSON for each request, without prompts, responses and keys."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..common.log import log
from .exchange import Exchange

#: Seconds for which lines are collected, so that writing them does not delay the next request.
COLLECT_S = 0.05


def entry(exchange: Exchange) -> dict[str, Any]:
    """Return the line for a request that has ended, without empty values."""
    tokens = exchange.tokens
    found = {
        "time": datetime.fromtimestamp(exchange.began_wall + exchange.seconds, timezone.utc).isoformat("T", "seconds"),
        "id": exchange.id,
        "key": exchange.key,
        "tier": exchange.tier,
        "task": exchange.task,
        "model": exchange.model,
        "stream": exchange.is_stream,
        "fallback_from": exchange.fallback_from,
        "status": exchange.status,
        "ttft": None if exchange.ttft is None else round(exchange.ttft, 3),
        "duration": round(exchange.seconds, 3),
        "sent": exchange.sent,
        "received": exchange.received,
        "complete": exchange.is_complete,
        "engine": exchange.engine,
        "client": exchange.client,
        "method": exchange.request.method,
        "path": exchange.logged_path,
        "refused": exchange.refused,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
    }
    return {name: value for name, value in found.items() if value not in ("", None)}


class AccessLog:
    """The access log. The file is opened for each write, so that it can be rotated at any time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: list[str] = []
        self._is_scheduled = False

    def add(self, exchange: Exchange) -> None:
        """Log a request that has ended."""
        if not self._path:
            return
        self._lines.append(json.dumps(entry(exchange)) + "\n")
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(COLLECT_S, self.flush)

    def flush(self) -> None:
        """Write the collected lines."""
        self._is_scheduled = False
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            with Path(self._path).open("a", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as error:
            log(f"{len(lines)} lines of the access log are lost: {error.strerror}")
