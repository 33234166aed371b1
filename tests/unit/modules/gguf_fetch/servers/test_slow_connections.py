# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of a few KiB/s: the others take their last bytes, so that none holds up the end."""

from __future__ import annotations

import hashlib
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import Pace
from ansible_collections.herd.inference.plugins.modules import gguf_fetch
from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer, Served
from tests.unit.modules.gguf_fetch.servers.misbehaviour import Run, answer

LARGE = gguf_bytes(2_000_000, 5)
#: Bytes of the first requests: half a minute at 8 KiB/s, four minutes at 1 KiB/s.
RANGE = 250_000
#: Pieces of a slow response in a second.
BEATS = 8


class SlowLine:
    """Some responses that send a few KiB/s; all others are as fast as they can be.

    :param rate: bytes per second.
    :param count: how many responses are slow, after the first one.
    """

    def __init__(self, rate: int, count: int) -> None:
        self._step = rate // BEATS
        self._left = count
        self._lock = threading.Lock()
        #: Requested and sent bytes of each slow response.
        self.slow: list[list[int]] = []

    def __call__(self, handler: Any) -> bool:
        first, last = handler.headers.get("Range", "bytes=0-0").removeprefix("bytes=").split("-")
        start, end = int(first), int(last) + 1
        if handler.command != "GET" or not start:
            return False
        with self._lock:
            if not self._left:
                return False
            self._left -= 1
            sent = [end - start, 0]
            self.slow.append(sent)
        answer(handler, 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(LARGE)}", "Content-Length": end - start})
        handler.close_connection = True
        for at in range(start, end, self._step):
            try:
                handler.wfile.write(LARGE[at : min(end, at + self._step)])
            except OSError:
                break
            sent[1] += self._step
            time.sleep(1 / BEATS)
        return True


@pytest.mark.parametrize(
    ("rate", "count"),
    [(1024, 1), (2048, 1), (4096, 2), (8192, 1), (8192, 3)],
    ids=["1 KiB/s", "2 KiB/s", "two of 4 KiB/s", "8 KiB/s", "all but one of 8 KiB/s"],
)
def test_last_bytes_are_taken_from_a_slow_connection(
    server: ModelServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, count: int
) -> None:
    steps = partial(Pace, smallest=20_000, largest=RANGE, checkpoint=500_000, unsafe=900_000, block=10_000)
    monkeypatch.setattr(gguf_fetch, "Pace", steps)
    line = SlowLine(rate, count)
    server.files["/m.gguf"] = Served(LARGE, act=line)
    began = time.monotonic()
    result = run(url=server.url("/m.gguf"), sha256=hashlib.sha256(LARGE).hexdigest(), timeout=60.0)
    seconds = time.monotonic() - began
    assert "msg" not in result, result["msg"]
    assert (tmp_path / "m.gguf").read_bytes() == LARGE
    assert len(line.slow) == count
    for asked, sent in line.slow:
        assert asked > RANGE // 2 and sent < asked / 2, "others took most of its bytes"
        assert seconds < asked / rate, "the end does not wait for it"
