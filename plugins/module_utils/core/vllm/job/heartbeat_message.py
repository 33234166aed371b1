# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write and read the heartbeats between the ranks of a vLLM job.

A heartbeat comes over a network that other users share. So each frame has a fixed head, a length limit and an
authentication code with a key of the connection. The key follows from the job's secret and a random number of each
side: a recorded frame is of no use on another connection, and a frame cannot be repeated on its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from ...text import CONTROL, LONGEST
from .. import job_status

MAGIC = b"herdvr01"
NONCE = 16
#: Bytes of the greeting of each side. The sender adds its rank.
GREETING, INTRODUCTION = len(MAGIC) + NONCE, len(MAGIC) + 2 + NONCE
#: Bytes of a frame before its body: length, sequence number, code.
_HEAD = struct.Struct("!HQ")
_CODE = hashlib.sha256().digest_size
HEAD = _HEAD.size + _CODE
#: Limit of a body in bytes. A reason of 300 characters has less than half of it, escaped.
LARGEST = 4096
MOST_RANKS = 64
#: Most ports of a rank. A worker has about 14.
MOST_PORTS = 256
#: How a rank ended: it was asked to, or it failed.
DONE, FAILED = "done", "failed"


class BadFrameError(Exception):
    """A frame is malformed, too long, out of order, or its code is wrong."""


@dataclass(frozen=True)
class Heartbeat:
    """What a rank reports.

    :param phase: a phase of the job's status.
    :param end: empty while the rank runs, then C(done) or C(failed).
    :param reason: why it ended.
    :param ports: ports on which its processes listen, where a port guard closes them to others.
    """

    rank: int
    phase: str = job_status.STARTING
    percent: int = 0
    end: str = ""
    reason: str = ""
    ports: tuple[int, ...] = ()


def greeting(nonce: bytes) -> bytes:
    """Write what the receiver of heartbeats sends first."""
    return MAGIC + nonce


def introduction(rank: int, nonce: bytes) -> bytes:
    """Write what the sender of heartbeats sends first."""
    return MAGIC + struct.pack("!H", rank) + nonce


def read_greeting(raw: bytes) -> bytes:
    """Return the nonce of a receiver's greeting."""
    if len(raw) != GREETING or not raw.startswith(MAGIC):
        raise BadFrameError("no greeting of a rank")
    return raw[len(MAGIC) :]


def read_introduction(raw: bytes) -> tuple[int, bytes]:
    """Return the rank and the nonce of a sender's introduction."""
    if len(raw) != INTRODUCTION or not raw.startswith(MAGIC):
        raise BadFrameError("no introduction of a rank")
    (rank,) = struct.unpack_from("!H", raw, len(MAGIC))
    return rank, raw[len(MAGIC) + 2 :]


def connection_key(secret: bytes, sender: int, receiver: int, receiver_nonce: bytes, sender_nonce: bytes) -> bytes:
    """Derive the key of one connection, which works in one direction between two ranks only."""
    text = b"".join((MAGIC, struct.pack("!HH", sender, receiver), receiver_nonce, sender_nonce))
    return hmac.new(secret, text, hashlib.sha256).digest()


def _code(key: bytes, head: bytes, body: bytes) -> bytes:
    return hmac.new(key, head + body, hashlib.sha256).digest()


def seal(key: bytes, sequence: int, heartbeat: Heartbeat) -> bytes:
    """Write a frame. The sequence numbers of a connection count from 0."""
    body = json.dumps(asdict(heartbeat), separators=(",", ":")).encode()
    head = _HEAD.pack(len(body), sequence)
    return head + _code(key, head, body) + body


def body_length(head: bytes) -> int:
    """Return the bytes that follow the head of a frame."""
    length = int(_HEAD.unpack_from(head)[0])
    if not 0 < length <= LARGEST:
        raise BadFrameError(f"a frame of {length} bytes")
    return length


def open_frame(key: bytes, sequence: int, rank: int, head: bytes, body: bytes) -> Heartbeat:
    """Check a frame and read its heartbeat.

    :param sequence: the number that the frame must have.
    :param rank: the rank that must have sent it.
    """
    if not hmac.compare_digest(head[_HEAD.size :], _code(key, head[: _HEAD.size], body)):
        raise BadFrameError("a frame without the job's secret")
    if _HEAD.unpack_from(head)[1] != sequence:
        raise BadFrameError("a frame out of order")
    return read(body, rank)


def _ports(data: Any) -> tuple[int, ...]:
    if not isinstance(data, list) or len(data) > MOST_PORTS:
        raise BadFrameError("a heartbeat with a wrong list of ports")
    for port in data:
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise BadFrameError("a heartbeat with a wrong port")
    return tuple(data)


def read(body: bytes, rank: int) -> Heartbeat:
    """Read a heartbeat by types and ranges. Unknown fields are an error: all ranks run the same program."""
    try:
        data = json.loads(body)
        found = Heartbeat(**{**data, "ports": _ports(data.get("ports", []))})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadFrameError(f"no heartbeat: {type(error).__name__}") from error
    numbers = (found.rank, found.percent)
    if any(not isinstance(one, int) or isinstance(one, bool) for one in numbers) or not 0 <= found.percent <= 100:
        raise BadFrameError("a heartbeat with a wrong number")
    if found.rank != rank:
        raise BadFrameError("a heartbeat of another rank")
    if found.phase not in job_status.PHASES or found.end not in ("", DONE, FAILED):
        raise BadFrameError("a heartbeat with an unknown phase or end")
    if not isinstance(found.reason, str) or len(found.reason) > LONGEST or CONTROL.search(found.reason):
        raise BadFrameError("a heartbeat with a wrong reason")
    return found
