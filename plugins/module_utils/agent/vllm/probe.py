# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask vLLM's API on its own node: its health, a completion of one token, and its counters."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from ...core.engine import api_answers
from ...core.errors import reason_of
from ...core.text import plain
from ...core.vllm import metrics
from ...core.vllm.metrics import Counters

HEALTH_S = 2.0
_LARGEST = 4 << 20


@dataclass(frozen=True)
class VllmApi:
    """Where vLLM answers, and with which key and name of the model."""

    address: str
    port: int
    key: str = field(repr=False)
    model: str = ""

    def ask(self, method: str, path: str, timeout_s: float, body: object = None) -> tuple[int, bytes]:
        """Send a request and return the status and the body.

        :raises OSError: if there is no answer; C(http.client.HTTPException) if it is none of HTTP.
        """
        connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout_s)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", "Connection": "close"}
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST)
        finally:
            connection.close()


def is_up(api: VllmApi) -> bool:
    """Say whether the API answers at all. It refuses connections until vLLM has loaded."""
    with suppress(OSError, http.client.HTTPException):
        return api.ask("GET", "/health", HEALTH_S)[0] == HTTPStatus.OK
    return False


def complete(api: VllmApi, timeout_s: float) -> str:
    """Ask for one token; return why none came, or an empty text."""
    body = {"model": api.model, "prompt": "1", "max_tokens": 1, "temperature": 0}
    try:
        status, answer = api.ask("POST", "/v1/completions", timeout_s, body)
    except (OSError, http.client.HTTPException) as error:
        return f"no completion: {plain(reason_of(error))}"
    if status != HTTPStatus.OK:
        return f"a completion of one token ended with status {status}: {plain(answer[:200].decode(errors='replace'))}"
    if not api_answers.read(answer).has_token:
        return f"a completion has no token: {plain(answer[:200].decode(errors='replace'))}"
    return ""


def counters(api: VllmApi, timeout_s: float = HEALTH_S) -> Counters:
    """Read the counters."""
    try:
        status, answer = api.ask("GET", "/metrics", timeout_s)
    except (OSError, http.client.HTTPException):
        return Counters()
    return metrics.counters(answer.decode(errors="replace")) if status == HTTPStatus.OK else Counters()


class HealthPoller:
    """Asks for a token until one comes, and again and again afterwards, in its own thread.

    A busy engine may answer late. It counts as healthy while its counters of tokens rise.

    :param every_s: seconds between two completions of a serving engine.
    :param timeout_s: seconds for a completion.
    """

    FIRST_S = 180.0
    BUSY_EVERY_S, AGAIN_S = 1.0, 2.0

    def __init__(self, api: VllmApi, every_s: float, timeout_s: float, needs_count: Callable[[], bool]) -> None:
        self._api, self._every_s, self._timeout_s, self._needs_count = api, every_s, timeout_s, needs_count
        #: Whether vLLM has answered a completion; why the last one failed; the requests in the engine.
        self.is_ready, self.unhealthy, self.busy = False, "", Counters().busy
        self.counted_at = 0.0
        self._is_over = False

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._prove, daemon=True).start()
        threading.Thread(target=self._count, daemon=True).start()

    def end(self) -> None:
        """Ask no more: the engine ends."""
        self._is_over = True

    def _prove(self) -> None:
        while not self._is_over and not is_up(self._api):
            time.sleep(1.0)
        # The first completion may compile code.
        while not self._is_over and not self.is_ready:
            problem = complete(self._api, self.FIRST_S)
            self.is_ready = not problem
            self.unhealthy = problem
        while not self._is_over:
            time.sleep(self._every_s)
            problem = self._problem()
            if problem and not self._is_over:
                time.sleep(self.AGAIN_S)
                # One failure may have a passing cause.
                problem = self._problem()
            if not self._is_over:
                self.unhealthy = problem

    def _problem(self) -> str:
        """Say why the engine gives no token although it computes none; empty if it is well."""
        before = counters(self._api)
        problem = complete(self._api, self._timeout_s)
        if not problem:
            return ""
        after = counters(self._api)
        has_moved = None not in (before.tokens, after.tokens) and after.tokens != before.tokens
        return "" if has_moved else problem

    def _count(self) -> None:
        while not self._is_over:
            time.sleep(self.BUSY_EVERY_S)
            if self._needs_count():
                at = time.monotonic()
                self.busy, self.counted_at = counters(self._api).busy, at
