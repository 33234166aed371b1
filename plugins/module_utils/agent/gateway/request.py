# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a request's body within the limits, and the few fields of it that the gateway needs."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...core import values
from ...core.gateway import multipart
from ...core.gateway.api_errors import ApiError
from ...core.gateway.usage.counts import BYTES_PER_TOKEN
from .exchange import Exchange
from .limits import MemoryReservation

#: Prompts of the longest list of them.
MOST_PROMPTS = 1000

with suppress(ImportError):
    # Only the gateway's own environment has it.
    import msgspec

    class _Fields(msgspec.Struct):
        """The fields of a JSON body that the gateway needs. Others make no objects, however many there are."""

        model: msgspec.Raw = msgspec.Raw()
        stream: msgspec.Raw = msgspec.Raw()
        max_tokens: msgspec.Raw = msgspec.Raw()
        max_completion_tokens: msgspec.Raw = msgspec.Raw()
        max_output_tokens: msgspec.Raw = msgspec.Raw()
        n_predict: msgspec.Raw = msgspec.Raw()
        n: msgspec.Raw = msgspec.Raw()
        best_of: msgspec.Raw = msgspec.Raw()
        prompt: msgspec.Raw = msgspec.Raw()

    # Types of fields bound a list before its elements become objects.
    _Prompts = msgspec.defstruct(
        "_Prompts",
        [(f"prompt_{index}", msgspec.Raw, msgspec.Raw()) for index in range(MOST_PROMPTS)],
        array_like=True,
        forbid_unknown_fields=True,
    )


#: Bytes that are sent to an engine at once. A frozen engine keeps at most a few of them in a transport's buffer.
PIECE = 64 * 1024
#: Tokens that an answer is estimated at without a limit in the request.
ANSWER_TOKENS = 512
_MOST_TOKENS = 1 << 20
#: JSON values of the largest body, counted by its commas. Parsing them takes about 50 milliseconds.
MOST_VALUES = 2_000_000
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_BOM = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS


class InferenceRequest:
    """A request with its body.

    :ivar model: C(model) of the body, of any type; None without one.
    :ivar stream: whether the client asks for a stream.
    :ivar content_type: the body's type.
    :ivar completions: completions that the engine computes, at the same time if it has the slots.
    :ivar estimated_tokens: tokens that prompt and answers will probably take.
    """

    def __init__(self, body: bytearray, content_type: str, reservation: MemoryReservation) -> None:
        self.content_type = content_type
        self._body = body
        self._reservation = reservation
        self._boundary = multipart.boundary(content_type)
        fields = self._multipart_fields() if self._boundary else self._json_fields()
        self.model, self.stream = fields.get("model"), fields.get("stream") is True
        # The engine's rule for several limits differs between its paths.
        limits = [_count(fields[name], 0, ANSWER_TOKENS) for name in _LIMITS if fields.get(name) is not None]
        copies = max(_count(fields.get(name), 1, 1) for name in ("n", "best_of"))
        self.completions = fields.get("prompts", 1) * copies
        answers = max(limits, default=ANSWER_TOKENS) * self.completions
        self.estimated_tokens = answers + len(body) // BYTES_PER_TOKEN

    def _json_fields(self) -> dict[str, Any]:
        _check_complexity(self._body)
        found = _decode(self._body)
        # A model that is a list or an object is an error, whatever it contains.
        fields = {name: _simple(getattr(found, name)) for name in ("model", "stream", "n", "best_of", *_LIMITS)}
        return {**fields, "prompts": _prompts(found.prompt)}

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
        else:
            # The last of several equal keys counts, here and in the engine. An object without a quote has no key.
            comma = b"," if b'"' in self._body else b""
            self._body[self._body.rindex(b"}") :] = b'%s"model":%s}' % (comma, msgspec.json.encode(model))
        self._reservation.resize(len(self._body))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body for an engine. It can be sent only once: its memory is released meanwhile."""
        body, self._body = self._body, bytearray()
        view = memoryview(body)
        for begin in range(0, len(body), PIECE):
            # Bytes, not a view: a view that waits in a transport would hold the whole body.
            yield bytes(view[begin : begin + PIECE])
        del view, body
        self._reservation.resize(0)


def _check_complexity(body: bytearray) -> None:
    """Refuse a body with so many values that parsing it would delay other requests."""
    if body.count(b",") > MOST_VALUES:
        message = f"Request body is too complex (limit {MOST_VALUES:,} JSON values)."
        raise ApiError(400, message, "body_too_complex")


@contextmanager
def _json_errors() -> Iterator[None]:
    """Make the user's mistakes of a body errors of the API."""
    try:
        yield
    except RecursionError:
        raise ApiError(400, "The request body has too many nested lists or objects.", "body_too_complex") from None
    except (msgspec.MsgspecError, UnicodeError):
        raise ApiError(400, "The request body is not a JSON object.", "invalid_json") from None


def _decode(body: bytearray) -> _Fields:
    with _json_errors():
        return msgspec.json.decode(memoryview(body)[3:] if body.startswith(_BOM) else body, type=_Fields)


def _simple(raw: msgspec.Raw) -> Any:
    """Decode a text, number or constant; None for nothing, False for a list or an object."""
    begin = memoryview(raw)[:1].tobytes()
    with _json_errors():
        return False if begin in (b"[", b"{") else msgspec.json.decode(raw) if begin else None


def _count(value: Any, least: int, default: int) -> int:
    """Return a limit or number of completions; the default if it is absurd or no number."""
    found = values.finite(value, least, _MOST_TOKENS)
    return default if found is None else int(found)


def _prompts(raw: msgspec.Raw) -> int:
    """Return the number of prompts. A list that begins with a number is the tokens of one.

    :raises ApiError: for a list that is too long.
    """
    if not re.match(rb"\[\s*[\"\[{]", memoryview(raw)):
        return 1
    try:
        found = msgspec.json.decode(raw, type=_Prompts)
    except msgspec.ValidationError:
        message = f"Request body is too complex (limit {MOST_PROMPTS:,} prompts)."
        raise ApiError(400, message, "body_too_complex") from None
    return sum(1 for name in found.__struct_fields__ if memoryview(getattr(found, name)))


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The body is larger than {most // (1 << 20)} MiB.", "request_too_large")


async def read_body(exchange: Exchange, reservation: MemoryReservation, most: int) -> bytearray:
    """Read a request's body, and unpack it if it is compressed. The memory is reserved before it is used.

    :param most: bytes of the largest body, before and after it is unpacked.
    :raises ApiError: if it is larger, is compressed otherwise, or finds no memory.
    :raises ClientLeftError: if the client has left.
    """
    length = exchange.request.content_length or 0
    if length > most:
        raise _too_large(most)
    coding = exchange.request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise ApiError(415, f"The content coding {coding[:32]!r} is not supported. Use gzip.", "unsupported_encoding")
    reservation.resize(length)
    pieces = exchange.body()
    body = bytearray()
    async for piece in _unpacked(pieces) if "gzip" in coding else pieces:
        if len(body) + len(piece) > most:
            raise _too_large(most)
        reservation.resize(max(reservation.size, len(body) + len(piece)))
        body += piece
    reservation.resize(len(body))
    return body


async def _unpacked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack gzip data in parts of bounded size, between which other requests run."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        async for piece in pieces:
            rest = piece
            while rest and not unpacker.eof:
                yield unpacker.decompress(rest, PIECE)
                rest = unpacker.unconsumed_tail
                await asyncio.sleep(0)
            if rest or unpacker.unused_data:
                message = "The request body has data after the end of its gzip data. Send it as one gzip member."
                raise ApiError(400, message, "invalid_encoding")
    except zlib.error as error:
        raise ApiError(400, "The request body is not gzip data.", "invalid_encoding") from error
    if not unpacker.eof:
        raise ApiError(400, "The request body is not complete gzip data.", "invalid_encoding")
