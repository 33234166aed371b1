# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of an engine's OpenAI-compatible API (requests)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...core.engine import api_answers
from ...core.errors import MismatchError, RemoteFailureError
from . import pinned_tls

try:
    import requests
    import requests.exceptions

    REQUESTS_ERROR: str | None = None
except ImportError as error:
    REQUESTS_ERROR = str(error)

if TYPE_CHECKING:
    from requests import Response

_OK = 200
_LOG = "look at the engine's log (journalctl -u llama-head, or -u llama-router)"
# Over less than these seconds, a rate measures the buffers of the network.
_SHORTEST_S = 0.001


@dataclass(frozen=True)
class Completion:
    """A chat completion. Times are in seconds.

    :ivar first_token_s: when the first text came; known only if the answer was streamed and has text.
    :ivar tokens: as the engine counts them; 0 if it does not.
    :ivar has_token: whether the engine made a token.
    """

    text: str
    tokens: int
    seconds: float
    first_token_s: float | None
    tokens_per_second: float | None
    # The part that the model sent as reasoning_content.
    reasoning: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    # By the client's clock, from the first token to the last.
    arrived_per_second: float | None = None
    has_token: bool = False


class Api:
    """The API of one engine.

    :param key: API key, empty for none.
    :param timeout_s: longest silence in an answer.
    :param certificate: the only trusted certificate, in PEM; empty without TLS.
    """

    def __init__(self, url: str, key: str, timeout_s: float, certificate: str = "") -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._certificate = certificate
        self._headers = _headers(key)

    def health(self) -> str:
        """Return the state: C(refused), C(silent), C(loading), C(ready), C(status N) or C(insecure (reason))."""
        try:
            answer = self._open("GET", "/health", timeout=min(5.0, self._timeout_s))
        except requests.exceptions.SSLError as error:
            return f"insecure ({pinned_tls.reason(error)})"
        except requests.exceptions.ConnectionError:
            return "refused"
        except requests.exceptions.Timeout:
            return "silent"
        state = api_answers.health(answer.status_code)
        return "ready" if state == api_answers.OK else state

    def models(self) -> list[str]:
        """Request the ids of the models."""
        answer = self._send("GET", "/v1/models")
        return [str(model["id"]) for model in answer.json()["data"]]

    def router_models(self) -> dict[str, Any]:
        """Request a router's models and their states. This loads no model."""
        answer: dict[str, Any] = self._send("GET", "/models").json()
        return answer

    def refuses(self, key: str) -> bool:
        """Return whether a request with this key, or without one, is rejected."""
        answer = self._request("POST", "/v1/chat/completions", _headers(key), {"messages": []})
        return answer.status_code == api_answers.UNAUTHORISED

    def slots(self) -> api_answers.SlotCounts:
        """Request the slots. All counts are unknown if the head runs with --no-slots."""
        answer = self._request("GET", "/slots", self._headers)
        listed = api_answers.slots(answer.json()) if answer.status_code == _OK else None
        return api_answers.SlotCounts() if listed is None else api_answers.slot_counts(listed)

    def chat(self, model: str, prompt: str, tokens: int) -> Completion:
        """Request a chat completion in one piece."""
        begin = time.monotonic()
        answer = api_answers.read(self._send("POST", "/v1/chat/completions", self._body(model, prompt, tokens)).content)
        return _completion(answer, time.monotonic() - begin)

    def chat_streamed(self, model: str, prompt: str, tokens: int) -> Completion:
        """Request a streamed chat completion, and measure the time to its first token."""
        body = {**self._body(model, prompt, tokens), "stream": True, "stream_options": {"include_usage": True}}
        begin = time.monotonic()
        first: float | None = None
        last = 0.0
        answer = api_answers.Answer()
        for event in self._events(self._send("POST", "/v1/chat/completions", body, stream=True)):
            if answer.feed(event):
                last = time.monotonic() - begin
                first = round(last, 4) if first is None else first
        took = last - (first or 0.0)
        # A single token, or several in one piece, give no rate.
        has_rate = answer.tokens > 1 and took >= _SHORTEST_S
        return replace(
            _completion(answer, time.monotonic() - begin),
            first_token_s=first,
            arrived_per_second=round((answer.tokens - 1) / took, 2) if has_rate else None,
        )

    @staticmethod
    def _body(model: str, prompt: str, tokens: int) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens}

    def _events(self, answer: Response) -> Iterator[dict[str, Any]]:
        try:
            yield from api_answers.events(answer.iter_lines())
        except (requests.exceptions.RequestException, ValueError) as error:
            raise self._cut(error) from error

    def _cut(self, error: Exception) -> RemoteFailureError:
        return RemoteFailureError(
            f"a whole answer from {self._url}",
            f"{type(error).__name__}: {error}",
            f"{_LOG}; a head ends when it loses a worker",
        )

    def _open(self, method: str, path: str, **given: Any) -> Response:
        """Send a request on a connection of its own.

        An engine closes an idle connection after some seconds. A request on it would fail, as if the engine had ended.
        """
        with requests.Session() as session:
            if self._certificate:
                session.mount("https://", pinned_tls.Pinned(self._certificate))
            # Ignore proxies of the environment: the service is on this host or its network.
            session.trust_env = False
            return session.request(method, self._url + path, **given)

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None = None, stream: bool = False
    ) -> Response:
        try:
            return self._open(method, path, json=body, headers=headers, timeout=self._timeout_s, stream=stream)
        except requests.exceptions.RequestException as error:
            raise self._cut(error) from error

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None, stream: bool = False) -> Response:
        answer = self._request(method, path, self._headers, body, stream)
        if answer.status_code == api_answers.UNAUTHORISED:
            raise MismatchError(
                f"{self._url} to accept the first key of the key file",
                "status 401",
                "restart llama-head, which reads the file only when it starts",
            )
        if answer.status_code != _OK:
            raise RemoteFailureError(
                f"status 200 from {method} {path}",
                f"{answer.status_code}, {answer.text[:300]}",
                _LOG,
            )
        return answer


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _completion(answer: api_answers.Answer, seconds: float) -> Completion:
    return Completion(
        text=answer.reasoning + answer.content,
        tokens=answer.tokens,
        seconds=round(seconds, 4),
        first_token_s=None,
        tokens_per_second=answer.tokens_per_second,
        reasoning=answer.reasoning,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        has_token=answer.has_token,
    )
