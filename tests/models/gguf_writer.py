# Copyright: (c) 2026, herd.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pieces of a GGUF file as bytes, with the standard library only.

The lab's model, the engine's tests and the reader's tests use it. Version 3, little endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
F32, F16 = 0, 1

# Number, weights in a block and bytes of a block, by ggml's name of the type.
TENSOR_TYPES: Mapping[str, tuple[int, int, int]] = {
    "f32": (0, 1, 4),
    "f16": (1, 1, 2),
    "q4_0": (2, 32, 18),
    "q4_1": (3, 32, 20),
    "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24),
    "q8_0": (8, 32, 34),
    "q4_K": (12, 256, 144),
    "q5_K": (13, 256, 176),
    "q6_K": (14, 256, 210),
    "iq4_nl": (20, 32, 18),
    "bf16": (30, 1, 2),
    "mxfp4": (39, 32, 17),
}

Value = str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float] | Sequence[bool]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to write: dimensions innermost first, as in the file."""

    name: str
    dims: tuple[int, ...]
    type: str = "f32"

    @property
    def size(self) -> int:
        _number, block, size = TENSOR_TYPES[self.type]
        if self.dims[0] % block:
            raise ValueError(f"{self.name}: rows of {self.dims[0]} weights are no whole blocks of {self.type}")
        return math.prod(self.dims) // block * size


def string(text: str) -> bytes:
    """Encode a length and the bytes."""
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(value: str | int | float | bool) -> tuple[int, bytes]:
    """Encode the type's number and the bytes of one value."""
    if isinstance(value, str):
        return STRING, string(value)
    if isinstance(value, bool):
        return BOOL, struct.pack("<B", value)
    if isinstance(value, int):
        return (INT32, struct.pack("<i", value)) if value < 0 else (UINT32, struct.pack("<I", value))
    return FLOAT32, struct.pack("<f", value)


def field(key: str, value: Value) -> bytes:
    """Encode a key with its value; a sequence becomes an array of its first entry's type."""
    if isinstance(value, (str, int, float)):
        kind, raw = scalar(value)
        return string(key) + struct.pack("<I", kind) + raw
    entries = [scalar(entry) for entry in value]
    kinds = {kind for kind, _raw in entries}
    if len(kinds) != 1:
        raise ValueError(f"{key}: an array has entries of one type, not of {sorted(kinds)}")
    return string(key) + struct.pack("<IIQ", ARRAY, kinds.pop(), len(entries)) + b"".join(raw for _kind, raw in entries)


def signed_array(key: str, values: Sequence[int]) -> bytes:
    """Encode an array of signed numbers, such as token types."""
    return string(key) + struct.pack(f"<IIQ{len(values)}i", ARRAY, INT32, len(values), *values)


def padding(size: int, alignment: int = ALIGNMENT) -> bytes:
    """Return the padding after so many bytes up to the next boundary."""
    return bytes(-size % alignment)


def tensor_info(spec: TensorSpec, offset: int) -> bytes:
    """Encode one entry of the tensor table."""
    head = string(spec.name) + struct.pack("<I", len(spec.dims)) + struct.pack(f"<{len(spec.dims)}Q", *spec.dims)
    return head + struct.pack("<IQ", TENSOR_TYPES[spec.type][0], offset)


def header(fields: Sequence[bytes], tensors: Sequence[TensorSpec]) -> bytes:
    """Encode the part of the file before the first tensor's bytes."""
    table, offset = [], 0
    for spec in tensors:
        table.append(tensor_info(spec, offset))
        offset += spec.size + len(padding(spec.size))
    raw = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields) + b"".join(table)
    return raw + padding(len(raw))


def data_size(tensors: Sequence[TensorSpec]) -> int:
    """Return the bytes of all tensors with their padding."""
    return sum(spec.size + len(padding(spec.size)) for spec in tensors)
