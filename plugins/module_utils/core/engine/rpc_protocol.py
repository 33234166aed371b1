# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of llama.cpp's RPC protocol that the worker readiness check needs (ggml/src/ggml-rpc/ggml-rpc.cpp).

A request is one byte of command, the request's size as a little-endian u64, and the request. A response
is its size as u64, and the response. HELLO differs between majors: up to 3.x it carries nothing and the
response is the bare version; since 7.0 both carry 24 bytes of transport capabilities. Capabilities of
zero ask for plain TCP, as the check wants: an RDMA upgrade would change the socket under it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import InvalidInputError, RemoteFailureError

HELLO = 0x0E
DEVICE_COUNT = 0x0F
GET_DEVICE_MEMORY = 0x0B

CAPABILITIES_SIZE = 24
FIRST_MAJOR_WITH_CAPABILITIES = 4
LENGTH_SIZE = 8


@dataclass(frozen=True)
class Version:
    """A protocol version; it compares by number and prints as C(7.0.0)."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a worker's device, in bytes."""

    free: int
    total: int


def parse_version(text: str) -> Version:
    """Parse a version such as C(7.0.0)."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise InvalidInputError(
            "an RPC protocol version of three numbers such as 7.0.0",
            repr(text),
            "correct rpc_protocol in the release's manifest or catalogue entry",
        )
    return Version(*map(int, parts))


def request(command: int, payload: bytes = b"") -> bytes:
    """Frame a request."""
    return struct.pack("<BQ", command, len(payload)) + payload


def hello(major: int) -> tuple[bytes, int]:
    """Build the HELLO that a server of this major accepts, and compute the size of its response."""
    if major >= FIRST_MAJOR_WITH_CAPABILITIES:
        return request(HELLO, bytes(CAPABILITIES_SIZE)), 4 + CAPABILITIES_SIZE
    return request(HELLO), 3


def decode_length(data: bytes, expected: int, what: str) -> int:
    """Decode a response's size and check it against the size of this message."""
    (length,) = struct.unpack("<Q", data)
    if length != expected:
        raise RemoteFailureError(
            f"{expected} bytes in answer to {what}",
            f"{length}",
            "look at what listens on that port; it is no RPC worker of this release",
        )
    return int(length)


def decode_hello(payload: bytes) -> Version:
    """Decode the version in a response to HELLO of either kind."""
    return Version(*payload[:3])


def decode_device_count(payload: bytes) -> int:
    """Decode the response to DEVICE_COUNT."""
    return int(struct.unpack("<I", payload)[0])


def device_memory_request(device: int) -> bytes:
    """Build the request for a device's memory."""
    return request(GET_DEVICE_MEMORY, struct.pack("<I", device))


def decode_device_memory(payload: bytes) -> DeviceMemory:
    """Decode the response to GET_DEVICE_MEMORY."""
    return DeviceMemory(*struct.unpack("<QQ", payload))
