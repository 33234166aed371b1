# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build GGUF files as bytes, valid and broken, in any version and byte order."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.herd.inference.plugins.module_utils.core.errors import HerdError
from ansible_collections.herd.inference.plugins.module_utils.core.models import gguf, gguf_cursor
from ansible_collections.herd.inference.plugins.module_utils.core.models.gguf_summary import describe

STRING, ARRAY = 8, 9


@dataclass
class Maker:
    """Write values in one byte order."""

    order: str = "<"

    def pack(self, codes: str, *values: object) -> bytes:
        return struct.pack(self.order + codes, *values)

    def text(self, text: str, length: int | None = None) -> bytes:
        raw = text.encode()
        return self.pack("Q", len(raw) if length is None else length) + raw

    def field(self, key: str, kind: int, raw: bytes) -> bytes:
        return self.text(key) + self.pack("I", kind) + raw

    def number(self, key: str, value: int) -> bytes:
        return self.field(key, 4, self.pack("I", value))

    def word(self, key: str, value: str) -> bytes:
        return self.field(key, STRING, self.text(value))

    def texts(self, key: str, values: Sequence[str]) -> bytes:
        return self.field(key, ARRAY, self.pack("IQ", STRING, len(values)) + b"".join(map(self.text, values)))

    def numbers(self, key: str, values: Sequence[int]) -> bytes:
        return self.field(key, ARRAY, self.pack("IQ", 5, len(values)) + self.pack(f"{len(values)}i", *values))

    def tensor(self, name: str, dims: Sequence[int], kind: int, offset: int) -> bytes:
        return self.text(name) + self.pack(f"I{len(dims)}Q", len(dims), *dims) + self.pack("IQ", kind, offset)


@dataclass
class File:
    """A small model: two layers of one tensor each, an embedding and an output; 32 weights a row.

    Every field can be replaced by a wrong value.
    """

    order: str = "<"
    version: int = 3
    magic: bytes = b"GGUF"
    fields: list[bytes] | None = None
    more: list[bytes] = field(default_factory=list)
    tensors: list[bytes] | None = None
    tensor_count: int | None = None
    field_count: int | None = None
    data: int = 4 * 512 * 4
    alignment: int = 32

    def maker(self) -> Maker:
        return Maker(self.order)

    def head(self) -> bytes:
        make = self.maker()
        fields = self.fields
        if fields is None:
            fields = [
                make.word("general.architecture", "llama"),
                make.word("general.name", "Two Layers"),
                make.number("llama.block_count", 2),
                make.number("llama.context_length", 4096),
                make.number("llama.embedding_length", 32),
                make.number("llama.attention.head_count", 4),
                make.numbers("llama.attention.head_count_kv", [2, 2]),
                make.numbers("llama.feed_forward_length", [64, 96]),
                make.word("tokenizer.ggml.model", "llama"),
                make.texts("tokenizer.ggml.tokens", ["a", "b", "", "dd"]),
            ]
        fields = [*fields, *self.more]
        tensors = self.tensors
        if tensors is None:
            names = ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight", "output.weight")
            # f16, 16 rows of 32: 1024 bytes each.
            tensors = [make.tensor(name, (32, 16), 1, 1024 * number) for number, name in enumerate(names)]
        counts = (
            len(tensors) if self.tensor_count is None else self.tensor_count,
            len(fields) if self.field_count is None else self.field_count,
        )
        return self.magic + make.pack("IQQ", self.version, *counts) + b"".join(fields) + b"".join(tensors)

    def bytes(self) -> bytes:
        head = self.head()
        return head + bytes(-len(head) % self.alignment) + bytes(4096)


def mutants(seed: int, count: int, orders: str = "<>") -> list[bytes]:
    """Build files with changed bytes, extreme numbers, and removed, repeated or truncated pieces."""
    chance = random.Random(seed)
    wholes = [File(order=order, version=version).bytes() for order in orders for version in (2, 3)]
    found = []
    for _each in range(count):
        data = chance.choice(wholes)
        found.append(mutant(data, len(data) - 4096, chance))
    return found


NUMBERS = (
    0, 1, 2, 3, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip


def mutant(whole: bytes, head: int, chance: random.Random) -> bytes:
    """Change bytes, write extreme numbers, and remove, repeat or truncate pieces.

    :param head: bytes of the header, in which the changes are.
    """
    data = bytearray(whole)
    for _change in range(chance.choice((1, 1, 1, 2, 4))):
        if len(data) < 32:
            break
        place = chance.randrange(4, head)
        how = chance.randrange(6)
        if how == 0:
            data[place] = chance.randrange(256)
        elif how == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif how == 2:
            data[place : place + 8] = struct.pack(chance.choice("<>") + "Q", chance.choice(NUMBERS))
        elif how == 3:
            del data[place : place + chance.randrange(1, 16)]
        elif how == 4:
            data[place:place] = data[place : place + chance.randrange(1, 64)]
        else:
            del data[chance.randrange(24, len(data)) :]
        head = max(5, min(head, len(data)))
    return bytes(data)


class Bytes:
    """A source in memory that counts the bytes read. Its size may be larger than its data."""

    name = "m.gguf"

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        data = self.data[offset : offset + length]
        # Zeros follow the data.
        data += bytes(min(length, max(0, self.size - offset)) - len(data))
        self.read_bytes += len(data)
        return data


def is_read(data: bytes, size: int | None = None) -> bool:
    """Read a header; False if it is refused. Other exceptions and too many read bytes fail the test."""
    source = Bytes(data, size)
    try:
        header = gguf.read_header(source)
        facts_found = describe([header], gguf.join_shards([header]) if gguf.shard_count(header) == 1 else header)
    except HerdError:
        return False
    finally:
        assert source.read_bytes <= gguf_cursor.MAX_READ
    assert facts_found["parameters"] >= 0
    return True
