# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a model over its OpenAI API, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ....core.engine import api_answers
from ....core.errors import HerdError, RemoteFailureError, reason_of
from ....core.text import plain

LARGEST = 8 << 20
CONNECT_TIMEOUT_S = 10.0
_SEE_STATUS = "see herdctl vllm status"


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers.

    :param key: the API key; empty without one.
    """

    host: str
    port: int
    key: str = ""

    @property
    def address(self) -> str:
        """Return host and port for a message."""
        return f"{self.host}:{self.port}"

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", **key}


@dataclass(frozen=True)
class Piece:
    """A piece of a streamed answer."""

    text: str = ""
    reasoning: str = ""
    finish: str = ""
    usage: dict[str, Any] | None = None


def _connect(endpoint: Endpoint, timeout_s: float) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=min(timeout_s, CONNECT_TIMEOUT_S))
    try:
        connection.connect()
    except socket.timeout:
        raise RemoteFailureError.plain(
            f"{endpoint.address} does not answer within {min(timeout_s, CONNECT_TIMEOUT_S):g} s",
            "perhaps no network leads there from here: run it on a node, with srun --jobid=JOB --overlap",
        ) from None
    except OSError as error:
        remedy = f"the model does not run there (any more); {_SEE_STATUS}"
        raise RemoteFailureError.plain(f"{endpoint.address}: {error.strerror or reason_of(error)}", remedy) from error
    if connection.sock is not None:
        connection.sock.settimeout(timeout_s)
    return connection


def _message(status: int, body: bytes) -> str:
    try:
        data = json.loads(body)
        error = data.get("error", data)
        text = error.get("message") or error.get("detail") or error if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        text = body[:300].decode("utf-8", "replace")
    return f"status {status}: {plain(str(text)).rstrip('. ') or 'no message'}"


def _refusal(endpoint: Endpoint, status: int, body: bytes) -> HerdError:
    said = f"{endpoint.address} answers with {_message(status, body)}"
    if status == 401:
        return RemoteFailureError.plain(said, "name the file with the job's API key: --key-file")
    if status == 404:
        return RemoteFailureError.plain(said, "name a model that it serves with --model (see /v1/models)")
    if status == 400:
        return RemoteFailureError.plain(said, "shorten the prompt, or lower --max-tokens")
    return RemoteFailureError.plain(said, _SEE_STATUS)


def get(endpoint: Endpoint, path: str, timeout_s: float) -> str:
    """Return the body of a GET request.

    :raises RemoteFailureError: without an answer, or with another status than 200.
    """
    connection = _connect(endpoint, timeout_s)
    try:
        connection.request("GET", path, None, endpoint.headers())
        answer = connection.getresponse()
        body = answer.read(LARGEST)
    except (OSError, http.client.HTTPException) as error:
        raise RemoteFailureError.plain(f"{endpoint.address}{path}: {reason_of(error)}", _SEE_STATUS) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise _refusal(endpoint, answer.status, body)
    return body.decode("utf-8", "replace")


def first_model(endpoint: Endpoint, timeout_s: float) -> str:
    """Return the name of the model that an API serves."""
    try:
        listed = json.loads(get(endpoint, "/v1/models", timeout_s))["data"]
        return str(listed[0]["id"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RemoteFailureError.plain(
            f"{endpoint.address} lists no model", "name one with --model, if this is an OpenAI API"
        ) from error


def _piece(event: dict[str, Any]) -> Piece:
    choice = next(iter(api_answers.choices(event)), {})
    reasoning, text = api_answers.piece(choice)
    usage = event.get("usage")
    finish = str(choice.get("finish_reason") or "")
    return Piece(text, reasoning, finish, usage if isinstance(usage, dict) else None)


def chat(endpoint: Endpoint, body: dict[str, Any], timeout_s: float) -> Iterator[Piece]:
    """Send a chat request and yield the pieces of the answer as they come.

    :raises RemoteFailureError: if it is refused, or if the answer is cut. vLLM sends an error within the stream when
        its engine dies, and ends the stream in order.
    """
    connection = _connect(endpoint, timeout_s)
    is_complete = False
    try:
        request = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        connection.request("POST", "/v1/chat/completions", request, endpoint.headers())
        answer = connection.getresponse()
        if answer.status != 200:
            raise _refusal(endpoint, answer.status, answer.read(LARGEST))
        for event in api_answers.events(iter(lambda: answer.readline(LARGEST), b"")):
            if "error" in event:
                raise RemoteFailureError.plain(
                    f"the answer was cut: {_message(500, json.dumps(event).encode())}", _SEE_STATUS
                )
            piece = _piece(event)
            is_complete = is_complete or bool(piece.finish)
            yield piece
    except socket.timeout:
        raise RemoteFailureError.plain(
            f"nothing came from {endpoint.address} for {timeout_s:g} s", _SEE_STATUS
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RemoteFailureError.plain(f"the answer was cut: {reason_of(error)}", _SEE_STATUS) from error
    finally:
        connection.close()
    if not is_complete:
        raise RemoteFailureError.plain("the answer was cut: the stream ended before its last event", _SEE_STATUS)


def reaches(host: str, port: int, timeout_s: float = 3.0) -> bool:
    """Return whether a TCP connection opens."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True
