# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a download at random moments: the module runs as a process and gets SIGKILL."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer, Served

ROOT = Path(__file__).parents[2]
#: A rate of about 6 MB/s over eight connections.
PIECE, PAUSE = 8 << 10, 0.01

LAUNCHER = textwrap.dedent(
    """
    import json, sys
    from ansible.module_utils.testing import patch_module_args
    from ansible_collections.herd.inference.plugins.modules import gguf_fetch
    with patch_module_args(json.load(sys.stdin)):
        gguf_fetch.main()
    """
)


@dataclass(frozen=True)
class Killed:
    """The result.

    :ivar kills: number of processes that were killed.
    :ivar sent: bytes that the server sent.
    """

    kills: int
    sent: int
    size: int


def launch(arguments: dict[str, Any]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
    )
    assert process.stdin
    process.stdin.write(json.dumps(arguments).encode())
    process.stdin.close()
    process.stdin = None
    return process


def kill_often(folder: Path, size: int, kills: int, longest: float) -> Killed:
    """Fetch a file in two parts; kill each process within C(longest) seconds after its first request."""
    seed = time.time_ns()
    chance = random.Random(seed)
    whole = gguf_bytes(size, seed)
    cut = chance.randrange(1, len(whole))
    dest = folder / "m.gguf"
    with ModelServer("127.0.0.1").running() as server:
        for number, data in enumerate((whole[:cut], whole[cut:]), 1):
            served = Served(data, etag=f'"{number}"', pause=PAUSE, piece=PIECE)
            server.files[f"/m.gguf.part{number}of2"] = served
        arguments = {
            "dest": str(dest),
            "parts": [{"url": server.url(f"/m.gguf.part{number}of2")} for number in (1, 2)],
            "sha256": hashlib.sha256(whole).hexdigest(),
        }
        hits = 0
        while hits < kills:
            server.requests.clear()
            process = launch(arguments)
            while not server.requests and process.poll() is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, longest))
            process.kill()
            ended = process.wait(10)
            assert ended == -signal.SIGKILL, f"seed {seed}: it ended after {hits} kills: {process.stdout!r}"
            assert not dest.exists(), f"seed {seed}"
            hits += 1
        process = launch(arguments)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, f"seed {seed}: {output!r}"
        assert dest.read_bytes() == whole, f"seed {seed}"
        return Killed(hits, server.sent, len(whole))
