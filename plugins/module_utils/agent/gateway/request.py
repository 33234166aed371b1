# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a request's body within the limits, and the few fields of it that the gateway needs."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from aiohttp import web

from ...core.gateway import multipart
from ...core.gateway.api_errors import ApiError
from .limits import MemoryReservation

#: Bytes that are sent to an engine at once. A frozen engine keeps at most a few of them in a transport's buffer.
PIECE = 64 * 1024
#: Tokens that an answer is estimated at without a limit in the request, and bytes of a body for each token.
ANSWER_TOKENS, BYTES_PER_TOKEN = 512, 4
_MOST_TOKENS = 1 << 20
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_BOM = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS
_FIELDS = dict[str, msgspec.Raw]


class InferenceRequest:
    """A request with its body.

    :ivar model: C(model) of the body, of any type; None without one.
    :ivar stream: whether the client asks for a stream.
    :ivar content_type: the body's type.
    :ivar estimated_tokens: tokens that prompt and answer will probably take.
    """

    def __init__(self, body: bytearray, content_type: str, reservation: MemoryReservation) -> None:
        self.content_type = content_type
        self._body: bytes | bytearray = body
        self._reservation = reservation
        self._boundary = multipart.boundary(content_type)
        fields = self._multipart_fields() if self._boundary else self._json_fields()
        self.model, self.stream = fields.get("model"), fields.get("stream") is True
        limits = [fields[name] for name in _LIMITS if isinstance(fields.get(name), int)]
        answer = limits[0] if limits and 0 <= limits[0] <= _MOST_TOKENS else ANSWER_TOKENS
        self.estimated_tokens = int(answer) + len(body) // BYTES_PER_TOKEN

    def _json_fields(self) -> dict[str, Any]:
        raw = _decode(self._body)
        wanted = ("model", "stream", *_LIMITS)
        # A model that is a list or an object is an error, whatever it contains.
        return {name: _simple(raw[name]) for name in wanted if name in raw}

    def _multipart_fields(self) -> dict[str, Any]:
        fields = multipart.fields(self._body, self._boundary, ("model", "stream"))
        return {**fields, "stream": fields.get("stream") == "true"}

    @property
    def size(self) -> int:
        """Return the body's size in bytes."""
        return len(self._body)

    def set_model(self, model: str) -> None:
        """Replace the model in the body."""
        if self._boundary:
            self._body = multipart.with_field(self._body, self._boundary, "model", model)
            return
        fields = _decode(self._body)
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        self._body = msgspec.json.encode(fields)
        self._reservation.resize(len(self._body))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body for an engine. It can be sent only once: its memory is released meanwhile."""
        body, self._body = self._body, b""
        view = memoryview(body)
        for begin in range(0, len(body), PIECE):
            # Bytes, not a view: a view that waits in a transport would hold the whole body.
            yield bytes(view[begin : begin + PIECE])
        del view, body
        self._reservation.resize(0)


def _decode(body: bytes | bytearray) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(memoryview(body)[3:] if body.startswith(_BOM) else body, type=_FIELDS)
    except RecursionError:
        raise ApiError(400, "The request body has too many nested lists or objects.", "body_too_complex") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ApiError(400, "The request body is not a JSON object.", "invalid_json") from None


def _simple(raw: msgspec.Raw) -> Any:
    """Decode a text, number or constant; False for a list or an object."""
    return False if memoryview(raw)[:1].tobytes() in b"[{" else msgspec.json.decode(raw)


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The body is larger than {most // (1 << 20)} MiB.", "request_too_large")


async def read_body(request: web.BaseRequest, reservation: MemoryReservation, most: int) -> bytearray:
    """Read a request's body, and unpack it if it is compressed. The memory is reserved before it is used.

    :param most: bytes of the largest body, before and after it is unpacked.
    :raises ApiError: if it is larger, is compressed otherwise, or finds no memory.
    """
    if (request.content_length or 0) > most:
        raise _too_large(most)
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise ApiError(415, f"The content coding {coding[:32]!r} is not supported. Use gzip.", "unsupported_encoding")
    reservation.resize(request.content_length or 0)
    body = bytearray()
    unpacker = zlib.decompressobj(_GZIP) if "gzip" in coding else None
    async for piece in request.content.iter_any():
        for part in _unpacked(unpacker, piece) if unpacker else (piece,):
            if len(body) + len(part) > most:
                raise _too_large(most)
            reservation.resize(max(reservation.size, len(body) + len(part)))
            body += part
            if unpacker:
                await asyncio.sleep(0)
    if unpacker and not unpacker.eof:
        raise ApiError(400, "The request body is not complete gzip data.", "invalid_encoding")
    reservation.resize(len(body))
    return body


def _unpacked(unpacker: Any, piece: bytes) -> Iterator[bytes]:
    """Yield unpacked parts of bounded size."""
    try:
        while piece:
            yield unpacker.decompress(piece, PIECE)
            piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise ApiError(400, "The request body is not gzip data.", "invalid_encoding") from error
