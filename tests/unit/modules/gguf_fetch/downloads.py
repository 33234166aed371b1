# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model in two parts, and helpers for tests of its download."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.herd.inference.plugins.module_utils.core.download.retry import (
    Pace,
)
from tests.models.random_weights import gguf_bytes
from tests.unit.model_server import ModelServer

WHOLE = gguf_bytes(700_006, 7)
CUT = 300_007
PARTS = (WHOLE[:CUT], WHOLE[CUT:])
SECRET = "hf_tokenOfATest"
SMALL_PACE = partial(
    Pace,
    smallest=20_000,
    largest=60_000,
    checkpoint=60_000,
    unsafe=220_000,
    ahead=400_000,
    block=10_000,
    progress=10_000,
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


Run = Callable[..., dict[str, Any]]


def parts(server: ModelServer, *sums: str | None) -> list[dict[str, Any]]:
    return [
        {"url": server.url(f"/m.gguf.part{number}of2"), "sha256": value}
        for number, value in enumerate(sums or (sha256(PARTS[0]), sha256(PARTS[1])), 1)
    ]


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}
