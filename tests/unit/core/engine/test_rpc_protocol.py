# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of the RPC protocol, both kinds of greeting."""

from __future__ import annotations

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.engine import rpc_protocol
from ansible_collections.herd.inference.plugins.module_utils.core.engine.rpc_protocol import Version
from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError


@pytest.mark.parametrize(
    ("major", "request_bytes", "answer_size"),
    [(3, b"\x0e" + bytes(8), 3), (7, b"\x0e\x18" + bytes(7) + bytes(24), 28)],
)
def test_hello_depends_on_major_version(major: int, request_bytes: bytes, answer_size: int) -> None:
    assert rpc_protocol.hello(major) == (request_bytes, answer_size)


def test_responses_are_decoded() -> None:
    assert str(rpc_protocol.decode_hello(bytes([7, 0, 0, 0]) + bytes(24))) == "7.0.0"
    assert rpc_protocol.decode_hello(bytes([3, 6, 0])) == Version(3, 6, 0)
    assert rpc_protocol.decode_device_count(b"\x02\x00\x00\x00") == 2
    memory = rpc_protocol.decode_device_memory((5).to_bytes(8, "little") + (9).to_bytes(8, "little"))
    assert (memory.free, memory.total) == (5, 9)
    assert rpc_protocol.device_memory_request(1) == b"\x0b\x04" + bytes(7) + b"\x01\x00\x00\x00"


def test_response_of_wrong_size_is_rejected() -> None:
    with pytest.raises(HerdError, match="expected 28 bytes in answer to HELLO, found 3"):
        rpc_protocol.decode_length((3).to_bytes(8, "little"), 28, "HELLO")


@pytest.mark.parametrize("text", ["", "7", "7.0", "7.0.x", "7.0.0.0", "-1.0.0"])
def test_version_needs_three_numbers(text: str) -> None:
    with pytest.raises(HerdError):
        rpc_protocol.parse_version(text)
