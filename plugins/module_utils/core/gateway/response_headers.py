# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what of an engine's response head reaches the client.

An engine is not trusted: only a few headers pass, and only with plain values. Lengths, transfer codings and all other
headers of the connection are the gateway's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

#: Media types that pass. Any other becomes C(application/octet-stream), which no browser displays.
_MEDIA_TYPES = ("application/json", "text/event-stream", "text/plain", "text/vtt", "audio/wav", "audio/mpeg")
_OTHER_TYPE = "application/octet-stream"
_CONTENT_TYPE = re.compile(r"([a-z]+/[a-z0-9.+-]+)[ -~]{0,100}", re.IGNORECASE)
_SECONDS = re.compile(r"\d{1,6}")
#: Errors of the engine that are the user's mistake, although their status is 500 or 501.
_USERS_MISTAKES = re.compile(r"is not supported|does not support|not supported by this model", re.IGNORECASE)


def media_type(value: str) -> str:
    """Return the media type of a C(Content-Type); C(application/octet-stream) for one that may not pass."""
    match = _CONTENT_TYPE.fullmatch(value.strip())
    found = match[1].lower() if match else ""
    return found if found in _MEDIA_TYPES else _OTHER_TYPE


def allowed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an engine's response that reach the client.

    :param headers: a mapping that ignores case.
    """
    found = {"Content-Type": media_type(headers.get("Content-Type", ""))}
    if found["Content-Type"].startswith("text/"):
        found["Content-Type"] += "; charset=utf-8"
    if _SECONDS.fullmatch(headers.get("Retry-After", "")):
        found["Retry-After"] = headers["Retry-After"]
    return found


def failure(status: int, headers: Mapping[str, str]) -> str:
    """Say why a response's head shows that the engine failed; empty if the response can pass.

    :param headers: a mapping that ignores case.
    """
    if status == 401:
        return "its engine does not accept the gateway's key"
    if status == 503:
        return "its engine is loading a model"
    if not 200 <= status <= 599 or 300 <= status < 400:
        return f"its engine answered with the status {status}"
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return "its engine answered in a compressed form"
    return ""


def client_status(status: int, body: bytes) -> int:
    """Return the status for the client: 400 for errors 500 and 501 that are the user's mistake.

    The engine answers so to an image for a text model, or to embeddings of a chat model.
    """
    if status not in (500, 501):
        return status
    try:
        error = json.loads(body)["error"]
        message, kind = str(error["message"]), error.get("type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return status
    return 400 if kind == "not_supported_error" or _USERS_MISTAKES.search(message) else status
