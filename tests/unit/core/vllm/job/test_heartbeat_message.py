# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heartbeats between ranks: what an attacker on the network may send changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job import heartbeat_message as message
from ansible_collections.herd.inference.plugins.module_utils.core.vllm.job.heartbeat_message import (
    BadFrameError,
    Heartbeat,
)

KEY = message.connection_key(b"s" * 32, 1, 0, b"a" * 16, b"b" * 16)
BEAT = Heartbeat(1, "ready", 100)


def opened(frame: bytes, key: bytes = KEY, sequence: int = 0, rank: int = 1) -> Heartbeat:
    head, body = frame[: message.HEAD], frame[message.HEAD :]
    assert message.body_length(head) == len(body)
    return message.open_frame(key, sequence, rank, head, body)


def test_heartbeat_arrives_as_it_was_sent() -> None:
    beat = Heartbeat(1, "failed", 40, "failed", "rank 1: ü " + "x" * 280)
    assert opened(message.seal(KEY, 0, beat)) == beat


def test_frame_of_another_connection_rank_direction_or_moment_is_refused() -> None:
    frame = message.seal(KEY, 0, BEAT)
    others = [
        message.connection_key(b"t" * 32, 1, 0, b"a" * 16, b"b" * 16),
        message.connection_key(b"s" * 32, 0, 1, b"a" * 16, b"b" * 16),
        message.connection_key(b"s" * 32, 1, 0, b"c" * 16, b"b" * 16),
        message.connection_key(b"s" * 32, 1, 0, b"a" * 16, b"c" * 16),
    ]
    for key in others:
        with pytest.raises(BadFrameError):
            opened(frame, key)
    with pytest.raises(BadFrameError, match="order"):
        opened(frame, sequence=1)
    with pytest.raises(BadFrameError, match="another rank"):
        opened(frame, rank=2)


@given(st.integers(0, 400), st.integers(1, 255))
def test_changed_byte_is_refused(position: int, change: int) -> None:
    frame = bytearray(message.seal(KEY, 0, BEAT))
    frame[position % len(frame)] ^= change
    head, body = bytes(frame[: message.HEAD]), bytes(frame[message.HEAD :])
    with pytest.raises(BadFrameError):
        message.body_length(head)
        message.open_frame(KEY, 0, 1, head, body)


@given(st.binary(min_size=message.HEAD, max_size=message.HEAD))
def test_length_is_limited_before_anything_is_read(head: bytes) -> None:
    try:
        assert 0 < message.body_length(head) <= message.LARGEST
    except BadFrameError:
        assert not 0 < int.from_bytes(head[:2], "big") <= message.LARGEST


@given(st.binary(max_size=100))
def test_greeting_and_introduction_of_strangers_are_refused(raw: bytes) -> None:
    for read in (message.read_greeting, message.read_introduction):
        with pytest.raises(BadFrameError):
            read(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"percent": 101},
        {"percent": -1},
        {"percent": "5"},
        {"percent": True},
        {"rank": 2},
        {"phase": "sleeping"},
        {"end": "perhaps"},
        {"reason": "x" * 301},
        {"reason": "a\nb"},
        {"reason": 5},
        {"unknown": 1},
        {"ports": [0]},
        {"ports": [65536]},
        {"ports": ["22"]},
        {"ports": [True]},
        {"ports": 8000},
        {"ports": [20000] * 257},
    ],
)
def test_heartbeat_with_a_wrong_value_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadFrameError):
        message.read(json.dumps({**vars(BEAT), **change}).encode(), 1)


@given(st.binary(max_size=200))
def test_body_that_is_no_heartbeat_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrameError):
        message.read(body, 1)


def test_longest_reason_and_all_ports_fit_into_a_frame() -> None:
    ports = tuple(range(65536 - message.MOST_PORTS, 65536))
    beat = replace(BEAT, end="failed", reason="\u00fc" * 300, ports=ports)
    assert opened(message.seal(KEY, 0, beat)) == beat
