# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the requests that have ended, and write the access log.

nginx sends a line for each request that has ended to a datagram socket. The gateway adds what only it knows of the
responses that it proxied: their tokens, when the first one came, and whether the response was complete.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.gateway.metrics import GatewayMetrics, log_entry, logged_request, parse_line
from ...core.gateway.response_stream import Tokens
from ..common.log import log

CHUNK = 64 * 1024
#: Seconds for which log lines are collected, so that writing them does not delay the next request.
COLLECT_S = 0.05
#: Most lines that are read at once.
MOST_LINES = 256
#: Bounded, so that entries whose log line never arrives are evicted.
MOST_COMPLETED = 4096
_COMPLETED = b'{"completed":'


@dataclass(frozen=True)
class CompletedResponse:
    """A response that the gateway has proxied.

    :ivar is_whole: whether it is complete, or an error of the gateway's own.
    :ivar ttft: seconds until the first token of a stream; None for none.
    """

    tier: str
    endpoint: str
    tokens: Tokens
    is_whole: bool
    ttft: float | None = None


def _parse_completed(data: Any) -> tuple[str, CompletedResponse]:
    """Read a completed response from another gateway process.

    :raises TypeError, KeyError: for anything else.
    """
    fields = {**data["response"], "tokens": Tokens(**data["response"]["tokens"])}
    return str(data["id"]), CompletedResponse(**fields)


class AccessLog:
    """The access log, and the completed responses whose log line has not come yet.

    :ivar successor: sends a message to the next gateway process; None until this one drains.
    """

    def __init__(self, path: str, metrics: GatewayMetrics) -> None:
        self._path, self._metrics = path, metrics
        self._completed: dict[str, CompletedResponse] = {}
        self._lines: list[str] = []
        self.successor: Callable[[bytes], None] | None = None

    def completed(self, identity: str, response: CompletedResponse) -> None:
        """Keep a completed response until nginx logs its request."""
        if self.successor:
            # The next process reads this before the log line: both come over the same socket.
            self.successor(json.dumps({"completed": {"id": identity, "response": asdict(response)}}).encode())
            return
        self._metrics.count_tokens(response.tier, response.tokens)
        if len(self._completed) >= MOST_COMPLETED:
            self._completed.pop(next(iter(self._completed)))
        self._completed[identity] = response

    def _ended(self, raw: bytes) -> None:
        """Count a request that has ended, or take a completed response from the former process."""
        data = parse_line(raw)
        if data is None:
            self._metrics.add(None)
            return
        if "completed" in data:
            with suppress(TypeError, KeyError):
                self.completed(*_parse_completed(data["completed"]))
            return
        response = self._completed.pop(str(data.get("id", "")), None)
        if response is not None:
            data["engine"] = response.endpoint
            # nginx only measured when the head or a keep-alive comment came.
            data["ttft"] = "-" if response.ttft is None else f"{response.ttft:.3f}"
            if not response.is_whole:
                data["complete"] = ""
        if data.get("refused"):
            # nginx refused it, so no engine received it.
            data["engine"] = ""
            self._metrics.refuse(str(data["refused"]))
        else:
            self._metrics.add(logged_request(data))
        self._lines.append(json.dumps(log_entry(data, response.tokens if response else Tokens())))

    def _write(self) -> None:
        """Write the collected lines. The file is opened each time, so that it can be rotated at any time."""
        lines, self._lines = self._lines, []
        if lines and self._path:
            try:
                with Path(self._path).open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))
            except OSError as error:
                log(f"{len(lines)} lines of the access log are lost: {error}")

    def read(self, source: socket.socket) -> None:
        """Count and write all requests whose log lines have come."""
        lines: list[bytes] = []
        with suppress(BlockingIOError):
            for _each in range(MOST_LINES):
                lines.append(source.recv(CHUNK))
        # Completed responses come first: nginx may have been faster than the former process.
        for line in sorted(lines, key=lambda each: not each.startswith(_COMPLETED)):
            self._ended(line)
        self._write()

    def follow(self, source: socket.socket) -> None:
        """Read the socket whenever log lines come, until the gateway drains."""
        loop = asyncio.get_running_loop()

        def arrived() -> None:
            loop.remove_reader(source.fileno())
            loop.call_later(COLLECT_S, read)

        def read() -> None:
            self.read(source)
            if not self.successor:
                loop.add_reader(source.fileno(), arrived)

        loop.add_reader(source.fileno(), arrived)
