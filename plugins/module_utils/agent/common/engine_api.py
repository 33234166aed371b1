# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an engine's API from its own host, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.engine import api_answers, api_keys
from ...core.engine.command_line import value_of
from ...core.errors import HerdError, NotFoundError, RemoteFailureError, reason_of
from ...core.host import certificate
from ...core.supervision.observations import ProbeResult
from ...core.text import plain
from .regular_files import read_regular

HEALTH_TIMEOUT_S = 2.0
SLOTS_TIMEOUT_S = 5.0
LARGEST = 4 * 2**20
#: Bytes of the largest file of keys.
LARGEST_KEYS = 2**20
CORRECT_KEYS = "correct head_server_api_keys and run site.yml, or rotate_key.yml where they are made"
LOOK_AT_HEAD = "look at herdctl status and herdctl logs on the head"


@dataclass(frozen=True)
class Api:
    """Address of an engine's API.

    :param certificate: file of the engine's own certificate; empty without TLS.
    """

    address: str
    port: int
    key_file: str
    model: str
    certificate: str = ""

    @property
    def endpoint(self) -> str:
        """Return its address and port as C(address:port)."""
        return f"{self.address}:{self.port}"

    def headers(self) -> dict[str, str]:
        """Return the headers of a request. The key is read each time, because it may be rotated."""
        found = {"Content-Type": "application/json"}
        if self.key_file:
            try:
                text = read_regular(Path(self.key_file), LARGEST_KEYS).decode("latin-1")
            except OSError as error:
                raise NotFoundError(
                    f"the keys that the head was started with, in {self.key_file}",
                    error.strerror or str(error),
                    "run site.yml, which puts them there",
                ) from error
            if key := api_keys.in_use(text, self.key_file, CORRECT_KEYS):
                found["Authorization"] = f"Bearer {key}"
        return found


def why_without_key(api: Api) -> str:
    """Return what is wrong with the key file; empty if it can be used."""
    try:
        api.headers()
    except HerdError as error:
        return str(error)
    return ""


def of(arguments: Sequence[str]) -> Api | None:
    """Read the address of an engine's API from its command line; None without a port."""
    port = value_of(arguments, "--port")
    if not port.isdigit():
        return None
    address = value_of(arguments, "--host") or "127.0.0.1"
    return Api(
        "127.0.0.1" if address == "0.0.0.0" else address,
        int(port),
        value_of(arguments, "--api-key-file"),
        value_of(arguments, "--alias", "-a"),
        value_of(arguments, "--ssl-cert-file"),
    )


def connect(api: Api, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection, which opens when it is first used.

    With TLS only the engine's own certificate is trusted, even when it has expired: the module api_health reports that,
    and a head that serves is not restarted because of a date.
    """
    if not api.certificate:
        return http.client.HTTPConnection(api.address, api.port, timeout=timeout_s)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=certificate.first(Path(api.certificate).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"the certificate that the head was started with, in {api.certificate}",
            str(error.strerror if isinstance(error, OSError) else error),
            "run the role head_server, which puts it there",
        ) from error
    context.verify_flags |= certificate.PARTIAL_CHAIN | certificate.NO_CHECK_TIME
    return http.client.HTTPSConnection(api.address, api.port, timeout=timeout_s, context=context)


def ask(
    api: Api, method: str, path: str, timeout_s: float, body: Any = None, with_key: bool = True
) -> tuple[int, bytes]:
    """Send one request and return the status and the body."""
    headers = api.headers() if with_key else {}
    connection = connect(api, timeout_s)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST)
    finally:
        connection.close()


def health(api: Api) -> str:
    """Return the health: C(ok), C(loading), C(refused) or C(silent); empty if this host cannot ask."""
    try:
        # Without the key: the engine does not require it here, and a bad key file is not the engine's fault.
        status, _body = ask(api, "GET", "/health", HEALTH_TIMEOUT_S, with_key=False)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, http.client.HTTPException):
        return "silent"
    except HerdError:
        return ""
    found = api_answers.health(status)
    return found if found in (api_answers.OK, api_answers.LOADING) else "silent"


@dataclass(frozen=True)
class Slots:
    """The state of the slots.

    :param known: None if they did not answer in time, False if the engine does not show them.
    """

    known: bool | None = False
    total: int = -1
    busy: int = -1
    progress: str = ""


def slots(api: Api) -> Slots:
    """Request the slots, which the engine's main loop answers between two steps of its work."""
    try:
        status, body = ask(api, "GET", "/slots", SLOTS_TIMEOUT_S)
        listed = api_answers.slots(json.loads(body)) if status == 200 else None
    except socket.timeout:
        return Slots(None)
    except (OSError, ValueError, HerdError, http.client.HTTPException):
        return Slots()
    if listed is None:
        return Slots()
    counts = api_answers.slot_counts(listed)
    return Slots(True, counts.total or 0, counts.busy or 0, api_answers.slot_progress(listed))


def metrics(api: Api) -> dict[str, float]:
    """Return the counters by name, without the engine's prefix; empty if it shows none."""
    try:
        status, body = ask(api, "GET", "/metrics", SLOTS_TIMEOUT_S)
    except (OSError, HerdError, http.client.HTTPException):
        return {}
    return api_answers.counters(body.decode(errors="replace")) if status == 200 else {}


def is_idle(api: Api, slots: Slots) -> bool:
    """Return whether no request runs or waits; an engine that does not show its slots counts as busy."""
    return slots.known is True and slots.busy <= 0 and metrics(api).get("requests_deferred", 0) <= 0


def probe(question: Callable[[], str]) -> ProbeResult:
    """Run a question to the engine and return its result."""
    try:
        return ProbeResult(True, question())
    except RemoteFailureError as error:
        return ProbeResult(False, error.found)
    except Exception as error:
        # An unusable key or certificate, or an error of this program, is not the engine's silence.
        return ProbeResult(False, reason_of(error), asked=False)


def _refusal(status: int, answer: bytes) -> str:
    return f"status {status}: {answer[:200].decode(errors='replace')}"


def answer_of(
    api: Api, method: str, path: str, timeout_s: float, body: Any, expected: str, remedy: str = LOOK_AT_HEAD
) -> bytes:
    """Send one request and return the body of its answer.

    :param expected: what the caller needs, for the error.
    :raises RemoteFailureError: without an answer, or with another status than 200.
    """
    try:
        status, answer = ask(api, method, path, timeout_s, body)
    except socket.timeout:
        raise RemoteFailureError(f"{expected} within {timeout_s:g} seconds", "none", remedy) from None
    except (OSError, http.client.HTTPException) as error:
        raise RemoteFailureError(expected, reason_of(error), remedy) from error
    if status != 200:
        raise RemoteFailureError(expected, _refusal(status, answer), remedy)
    return answer


def complete(api: Api, timeout_s: float) -> float:
    """Request one token and return the seconds that it took."""
    began = time.monotonic()
    body = {"prompt": "ping", "n_predict": 1, "cache_prompt": False}
    # A router requires a model; a head serves its own, whatever the name.
    if api.model:
        body["model"] = api.model
    expected = f"a token from {api.endpoint}"
    answer = answer_of(api, "POST", "/completion", timeout_s, body, expected)
    if not api_answers.read(answer).has_token:
        raise RemoteFailureError(
            expected, f"status 200 without a token: {plain(answer[:200].decode(errors='replace'))}", LOOK_AT_HEAD
        )
    return time.monotonic() - began


def token(api: Api | None, timeout_s: float) -> str:
    """Request one token and describe the time that it took.

    :raises ValueError: without an address.
    """
    if api is None:
        raise ValueError("its command line names no port")
    return f"{complete(api, timeout_s):.2f} seconds"


def chat(
    api: Api, prompt: str, max_tokens: int, timeout_s: float, whole: api_answers.Answer | None = None
) -> Iterator[str]:
    """Ask a question and return the pieces of the answer as they come.

    :param whole: gets the answer, with the counts of the engine.
    """
    connection = connect(api, timeout_s)
    found = whole or api_answers.Answer()
    body = {
        "model": api.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    }
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), api.headers())
        answer = connection.getresponse()
        if answer.status != 200:
            raise RemoteFailureError(
                f"an answer from {api.endpoint}", _refusal(answer.status, answer.read(300)), LOOK_AT_HEAD
            )
        for event in api_answers.events(answer):
            if text := found.feed(event):
                yield text
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RemoteFailureError(f"a whole answer from {api.endpoint}", reason_of(error), LOOK_AT_HEAD) from error
    finally:
        connection.close()
