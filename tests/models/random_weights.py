# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A readable GGUF file of a given size with random weights, for tests of downloads."""

from __future__ import annotations

import random

from tests.models import gguf_writer

#: The smallest file: a header and a few weights.
SMALLEST = 512


def opening(size: int, name: str = "random") -> bytes:
    """Return the header of a file with one tensor, which ends at the last byte.

    :param size: bytes of the file, an even number.
    """
    if size < SMALLEST or size % 2:
        raise ValueError(f"an even size of at least {SMALLEST}, not {size}")
    fields = [gguf_writer.field("general.architecture", "llama"), gguf_writer.field("general.name", name)]
    # The dimensions do not change the length of the table.
    start = len(gguf_writer.header(fields, [gguf_writer.TensorSpec("token_embd.weight", (1,), "f16")]))
    return gguf_writer.header(fields, [gguf_writer.TensorSpec("token_embd.weight", ((size - start) // 2,), "f16")])


def gguf_bytes(size: int, seed: int) -> bytes:
    """Return a whole file of an even size."""
    head = opening(size, f"seed {seed}")
    return head + random.Random(seed).randbytes(size - len(head))
